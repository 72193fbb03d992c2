"""Numbers that a question bounds a field by, and the records that are meant then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from planning import planned, scene_of

from outcore.engine.plans.bounds import bounds
from outcore.engine.plans.limits import Limits
from outcore.engine.plans.plan import NoPlan
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.dates import as_date
from outcore.kernel_sandbox.inside.numbers import as_number
from outcore.kernel_sandbox.inside.record_list import Records

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ORDERS = "city,unit_price,items,opened\n" + "".join(
    f"Town{n % 3},{n}.5,{n % 7},2024-0{1 + n % 9}-11\n" for n in range(60)
)
ROWS = [(f"Town{n % 3}", n + 0.5, n % 7, 1 + n % 9) for n in range(60)]
CHOSEN = [price for _, price, items, _ in ROWS if 2 <= items <= 4]
AMOUNTS = "name,amount\n" + "".join(f"Bob{n},{n * 7}\n" for n in range(60))


@pytest.mark.parametrize(
    ("words", "low", "high"),
    [
        ("above 15", (">", 15), None),
        ("more than 1,000.50", (">", 1000.5), None),
        ("at least 3", (">=", 3), None),
        ("no less than 3", (">=", 3), None),
        ("greater than or equal to 3", (">=", 3), None),
        ("not over 7", None, ("<=", 7)),
        ("no more than 7", None, ("<=", 7)),
        ("under $20", None, ("<", 20)),
        ("below -4", None, ("<", -4)),
        ("<= 4", None, ("<=", 4)),
        ("> 4", (">", 4), None),
        ("5 or more", (">=", 5), None),
        ("5 kg or less", None, ("<=", 5)),
        ("between 2 and 4", (">=", 2), ("<=", 4)),
        ("at most thirty", None, ("<=", 30)),
        ("between 4 and 2", (">=", 2), ("<=", 4)),
        ("from $2 to $4.5", (">=", 2), ("<=", 4.5)),
        ("above 2,5", (">", 2.5), None),
        ("above 1.234,50", (">", 1234.5), None),
        ("above 12,345", (">", 12345), None),
        ("between 2,5 and 3,75", (">=", 2.5), ("<=", 3.75)),
        ("0,75 or less", None, ("<=", 0.75)),
    ],
)
def test_bounds(words: str, low: tuple[str, float] | None, high: tuple[str, float] | None) -> None:
    [bound] = bounds(f"Which have a price {words}?")
    assert (bound.low, bound.high) == (low, high)
    assert f"Which have a price {words}?"[bound.start : bound.end] == words


@pytest.mark.parametrize(
    "words",
    ["of 15", "over the hills", "in 2024", "moreover 5", "above all", "number 7", "over 3,4,5"],
)
def test_what_bounds_nothing(words: str) -> None:
    assert bounds(f"Which have a price {words}?") == ()


def meant(question: str, context: str, tmp_path: Path) -> tuple[str, ...]:
    return Limits.of(scene_of(tmp_path, question, context), ("15", "3")).fields


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        ("How many have a unit price above 15?", ("unit_price",)),
        ("How many have more than 3 items?", ("items",)),
        ("How many have items that are at least 3 with a unit price under 15?",
         ("items", "unit_price")),
        ("Which cities have more than 3 rows?", ()),
        ("How many rows opened more than 15 days ago?", ()),
    ],
)  # fmt: skip
def test_the_field_that_is_meant(tmp_path: Path, question: str, fields: tuple[str, ...]) -> None:
    assert meant(question, ORDERS, tmp_path) == fields


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        ("How many are over $100?", ("amount",)),
        ("How many over 100 are there?", ("amount",)),
        ("How many have been here for more than 5 years?", ()),
    ],
)
def test_the_only_field_need_not_be_named(
    tmp_path: Path, question: str, fields: tuple[str, ...]
) -> None:
    assert meant(question, AMOUNTS, tmp_path) == fields


@pytest.mark.parametrize(
    ("question", "kind", "output"),
    [
        (
            "How many rows have a unit price above 15?",
            "count",
            f"{sum(price > 15 for _, price, *_ in ROWS)} is the number asked for",
        ),
        (
            "How many rows of Town1 opened after 2024-03-30 have at most 3 items?",
            "count",
            f"{sum(c == 'Town1' and m > 3 and i <= 3 for c, _, i, m in ROWS)} is the number",
        ),
        (
            "What is the average unit price of rows with items between 2 and 4?",
            "measure",
            f"average of unit_price: {round(sum(CHOSEN) / len(CHOSEN), 4)}",
        ),
        (
            "List all rows whose unit price is not more than 3.5.",
            "gather",
            f"{sum(price <= 3.5 for _, price, *_ in ROWS)} records",
        ),
    ],
)
async def test_plans(tmp_path: Path, question: str, kind: str, output: str) -> None:
    asked = await planned(
        tmp_path, question, ORDERS, kind, {"values": [], "labels": [], "per": "none"}
    )
    assert asked.plan["kind"] == kind
    assert asked.output.startswith(output)


GRADED = "id,opened,minutes,grade\n" + "".join(
    f"T{n},{2020 + n % 5}-03-11,{10 + n},{1 + n % 5}\n" for n in range(60)
)
GRADES = [(2020 + n % 5, 10 + n, 1 + n % 5) for n in range(60)]
CHOICES: list[tuple[str, Callable[[int, int, int], bool]]] = [
    ("How many were opened after 2021?", lambda y, m, g: y > 2021),
    ("How many did not take more than 30 minutes?", lambda y, m, g: m <= 30),
    ("How many took at most thirty minutes?", lambda y, m, g: m <= 30),
    ("How many are of grade 5?", lambda y, m, g: g == 5),
    ("How many are not of grade 5?", lambda y, m, g: g != 5),
    ("How many with 30 minutes or more?", lambda y, m, g: m >= 30),
    ("How many of grade 5 took less than 40 minutes?", lambda y, m, g: g == 5 and m < 40),
    ("How many took less than 20 minutes or over 60 minutes?", lambda y, m, g: m < 20 or m > 60),
]


@pytest.mark.parametrize(("question", "chosen"), CHOICES, ids=[one for one, _ in CHOICES])
def test_numbers_are_meant_as_they_are_said(
    tmp_path: Path, question: str, chosen: Callable[[int, int, int], bool]
) -> None:
    scene = scene_of(tmp_path, question, GRADED)
    names: dict[str, Any] = {
        "records": Records(open_context(scene.corpus.folder), scene.layout),
        "as_number": as_number,
        "as_date": as_date,
    }
    exec("\n".join(Limits.sure(scene, ()).code()), names)
    assert len(names["rows"]) == sum(chosen(*one) for one in GRADES)


def test_the_year_of_a_date_bounds_no_number(tmp_path: Path) -> None:
    scene = scene_of(
        tmp_path, "How many were opened after 2021?", GRADED.replace(",grade", ",note")
    )
    assert not scene.bounds


def test_a_number_that_is_said_of_no_field_is_not_guessed_at(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, "What is the total of what is above 50, in minutes?", GRADED)
    with pytest.raises(NoPlan, match="said of no field"):
        Limits.sure(scene, ())


KINDS = ["private", "public", "self-pay"]
VISITS = "visit_id,patient,visit_date,wait_minutes,fee_eur,insurance,follow_up\n" + "".join(
    f"V{n},Ann{n % 37} Lee,2024-0{1 + n % 9}-1{n % 10},{'' if n % 6 == 0 else n * 7 % 120},"
    f"{n * 13 % 400}.5,{KINDS[n % 3]},{['yes', 'no', ''][n % 3]}\n"
    for n in range(90)
)
WAITS = [n * 7 % 120 for n in range(90) if n % 6]
FEES = [n * 13 % 400 + 0.5 for n in range(90)]


@pytest.mark.parametrize(
    ("question", "worded"),
    [
        ("What is the total of fees?", "What is the total of fee_eur?"),
        ("Who waited over 60 minutes?", "Who waited over 60 wait_minutes?"),
        ("What was the wait in minutes?", "What was the wait_minutes in minutes?"),
        ("How many visits have a waiting room?", None),
        ("How many fees are there?", None),
        ("What is the average fee_eur of all fees?", None),
        ("On which date was it?", None),
    ],
)
def test_fields_named_by_a_part_of_their_name(
    tmp_path: Path, question: str, worded: str | None
) -> None:
    assert scene_of(tmp_path, question, VISITS).worded == (worded or question)


@pytest.mark.parametrize(
    ("question", "kind", "output"),
    [
        (
            "How many visits waited at least 60 minutes?",
            "count",
            f"{sum(wait >= 60 for wait in WAITS)} is the number asked for",
        ),
        (
            "How many visits were insured privately or self-pay?",
            "count",
            "60 is the number asked for",
        ),
        ("How many visits have no wait time recorded?", "count", "15 is the number asked for"),
        ("How many visits are without a wait?", "count", "15 is the number asked for"),
        ("In how many visits is the wait not known?", "count", "15 is the number asked for"),
        ("How many visits have no follow-up?", "count", "30 is the number asked for"),
        (
            "What is the average fee per insurance?",
            "measure",
            "average of fee_eur for each insurance: "
            f"{ {kind: round(sum(FEES[at::3]) / 30, 4) for at, kind in enumerate(KINDS)} }",
        ),
        (
            "Which patient paid the highest fee, and on what date?",
            "measure",
            f"highest fee_eur: {max(FEES)} of 90 records; it stands in\n"
            f"{{'visit_id': 'V{FEES.index(max(FEES))}', 'patient': ",
        ),
    ],
)
async def test_plans_over_fields_with_long_names(
    tmp_path: Path, question: str, kind: str, output: str
) -> None:
    filled = {"values": [], "labels": [], "per": "none"}
    asked = await planned(tmp_path, question, VISITS, kind, filled)
    assert asked.plan["kind"] == kind
    assert asked.output.startswith(output)
