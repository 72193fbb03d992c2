from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcore.kernel_sandbox.inside.dates import as_date, dates_in, day_first_of, is_date, month_of

DAY = date(2022, 6, 29)
FORMS = (
    "2022-06-29",
    "2022/06/29",
    "2022.6.29",
    "2022-06-29T10:00:00Z",
    "2022-06-29 10:00:00,123",
    "2022-06-29T10:00:00.5+02:00",
    "Jun 29, 2022",
    "June 29th 2022",
    "Jun. 29, 2022",
    "JUNE 29, 2022",
    "29 June 2022",
    "29th of June, 2022",
    "29-Jun-22",
    "29/Jun/2022:13:55:36 -0700",
    "Wed, 29 Jun 2022 10:00:00 GMT",
    "Wed Jun 29 10:00:00 2022",
    "Wednesday, June 29, 2022 at 3:05 pm",
    "2022-Jun-29",
    "06/29/2022",
    "6/29/22",
    "29/06/2022",
    "29.06.2022",
    "29-06-2022",
    "2022\u5e746\u670829\u65e5",
    "[2022-06-29]",
)


@pytest.mark.parametrize("text", FORMS)
def test_a_date_in_many_forms(text: str) -> None:
    assert as_date(text) == DAY
    assert is_date(text)
    assert as_date(f"It was seen ({text}), they say.") == DAY
    assert not is_date(f"It was seen {text}")


@pytest.mark.parametrize("text", ["June 2022", "Jun 2022", "June of 2022", "2022-06"])
def test_a_month_is_its_first_day(text: str) -> None:
    assert as_date(text) == date(2022, 6, 1)
    assert is_date(text)


def test_day_and_month_that_could_be_either() -> None:
    assert as_date("06/07/2022") == as_date("06-07-2022") == date(2022, 6, 7)
    assert as_date("06.07.2022") == date(2022, 7, 6)
    assert as_date("06/07/2022", day_first=True) == date(2022, 7, 6)
    assert as_date("06.07.2022", day_first=False) == date(2022, 6, 7)
    assert as_date("06/29/2022", day_first=True) == DAY


def test_the_century_of_two_digits() -> None:
    assert as_date("1/2/69") == date(2069, 1, 2)
    assert as_date("1/2/70") == date(1970, 1, 2)


@pytest.mark.parametrize(
    "value",
    [
        DAY,
        datetime(2022, 6, 29, 23, 59, tzinfo=UTC),
        20220629,
        "20220629",
        1656460800,
        1656460800.5,
        "1656460800",
        "1656460800.25",
        1656460800_000,
        "1656460800000",
        1656460800_000_000,
    ],
)
def test_objects_and_numbers(value: Any) -> None:
    assert as_date(value) == DAY
    assert not is_date(str(value)) or isinstance(value, date)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        True,
        "2022",
        2022,
        "12",
        "1.5",
        "version 1.2.33",
        "192.168.10.22",
        "31/31/2022",
        "2022-02-30",
        "June 29",
        "marched 2020 miles",
        "99999999",
        -5,
        float("nan"),
        float("inf"),
        10**400,
        "9" * 400,
        [],
    ],
)
def test_what_is_no_date(value: Any) -> None:
    assert as_date(value) is None
    assert not is_date(str(value))


def test_the_first_of_several() -> None:
    assert as_date("5 Mar 2021 and 2020-01-01") == date(2021, 3, 5)
    assert as_date("from 2020-01-01 to 5 Mar 2021") == date(2020, 1, 1)
    assert as_date("Date: Jun 29, 2022 || User: 44436") == DAY


@given(st.dates(date(1000, 1, 1)))
def test_reads_what_python_writes(day: date) -> None:
    assert as_date(day.isoformat()) == day
    for form in ("%d %B %Y", "%B %d, %Y", "%b %d %Y", "%Y/%m/%d", "%m/%d/%Y", "%d.%m.%Y"):
        assert as_date(day.strftime(form)) == day
        assert is_date(day.strftime(form))


@given(st.text())
def test_any_text_is_read_or_not(text: str) -> None:
    assert as_date(text) is None or isinstance(as_date(text), date)
    assert not is_date(text) or as_date(text) is not None


def test_other_dates_tell_which_is_the_day() -> None:
    assert day_first_of(["06/07/2022", "13/07/2022"]) is True
    assert day_first_of(["06.07.2022", "06.13.2022"]) is False
    assert day_first_of(["06/07/2022", "Jun 29, 2022", ""]) is None
    assert day_first_of(["13/07/2022", "07/13/2022", "13/13/2022"]) is None


def test_months_that_are_named_alone() -> None:
    named = ("May", "sept.", " mar ", "JUNE", "ma", "March 2021", "Decembers", "")
    assert [month_of(one) for one in named] == [5, 9, 3, 6, None, None, None, None]


@pytest.mark.parametrize("text", ["29 Jun 10:15:00 host: up", "12 May 14:30", "29-Jun 10:15"])
def test_a_time_of_day_is_no_year(text: str) -> None:
    assert as_date(text) is None
    assert dates_in(text) == []


@pytest.mark.parametrize("text", ["29 Jun 22 10:15", "29/Jun/22:10:15:00", "29 Jun '22"])
def test_a_short_year_may_stand_before_a_time(text: str) -> None:
    assert as_date(text) == DAY


@pytest.mark.timeout(30)
def test_many_dates_are_found_in_a_time_that_grows_with_them() -> None:
    many = 40_000
    found = dates_in("2022-06-29, June 2022\n" * many)
    assert len(found) == 2 * many
    assert found[:2] == [(0, 10, DAY), (12, 21, date(2022, 6, 1))]
    assert found == sorted(found)
