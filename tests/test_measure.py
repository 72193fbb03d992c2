"""Averages, totals and extremes of a field, rows that are meant, and numbers out of text."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from planning import planned, scene_of

from outcore.engine.plans.count import Count
from outcore.engine.plans.gather import Gather
from outcore.engine.plans.measure import Measure, measured
from outcore.engine.plans.plan import NoPlan
from outcore.engine.plans.planner import offered
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.dates import as_date
from outcore.kernel_sandbox.inside.numbers import as_number
from outcore.kernel_sandbox.inside.pairing import group
from outcore.kernel_sandbox.inside.record_list import Records
from outcore.kernel_sandbox.inside.tally import tally

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.engine.plans.plan import Maker

CITIES, STATES, URGENCIES = ["Oslo", "Turin", "Porto"], ["open", "closed"], ["low", "urgent"]
ROWS = [
    {
        "id": str(1000 + n),
        "opened": f"2024-{1 + n % 12:02}-{1 + n % 27:02}",
        "customer": f"C{100 + n * n % 23}",
        "city": CITIES[n % 3],
        "state": STATES[n % 2],
        "priority": URGENCIES[n % 5 == 0],
        "minutes": str(10 + n * 7 % 90),
        "text": f"The lamp that I bought went out again after {n} days, and nobody answers me.",
    }
    for n in range(60)
]


def table() -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, [*ROWS[0]])
    writer.writeheader()
    writer.writerows(ROWS)
    return file.getvalue()


def ran(
    folder: Path, maker: Maker, question: str, filled: dict[str, Any], context: str = ""
) -> tuple[str, Any]:
    """What the program of a question's plan prints, and the answer it gives."""
    scene = scene_of(folder, question, context or table())
    program = maker.plan(scene, filled).program
    printed: list[str] = []
    given: list[Any] = []
    names: dict[str, Any] = {
        "records": Records(open_context(scene.corpus.folder), scene.layout),
        "as_date": as_date,
        "as_number": as_number,
        "group": group,
        "tally": tally,
        "done": given.append,
        "print": lambda *some: printed.append(" ".join(map(str, some))),
    }
    exec(program, names)
    return "\n".join(printed), given[0] if given else None


MINUTES = [int(row["minutes"]) for row in ROWS]


def of(city: str) -> list[int]:
    return [int(row["minutes"]) for row in ROWS if row["city"] == city]


MEASURED = [
    ("What is the average of minutes?", round(sum(MINUTES) / 60, 4)),
    ("How many minutes were spent in total?", sum(MINUTES)),
    ("What is the mean of minutes of those in Oslo?", round(sum(of("Oslo")) / 20, 4)),
    ("What is the highest number of minutes?", max(MINUTES)),
    ("What are the lowest minutes of a ticket?", min(MINUTES)),
    (
        "Which city has the highest average of minutes?",
        round(max(sum(of(city)) / 20 for city in CITIES), 4),
    ),
]


@pytest.mark.parametrize(("question", "value"), MEASURED)
def test_numbers_are_worked_out(tmp_path: Path, question: str, value: float) -> None:
    assert offered(scene_of(tmp_path / "offered", question, table())) == ("measure",)
    said, _ = ran(tmp_path, Measure(), question, {})
    assert any(as_number(word) == value for word in said.split()), said


def test_groups_are_told_with_their_numbers(tmp_path: Path) -> None:
    said, _ = ran(tmp_path, Measure(), "What is the total of minutes in each city?", {})
    for city in CITIES:
        assert f"'{city}': {sum(of(city)):.1f}" in said or f"'{city}': {sum(of(city))}" in said


@pytest.mark.parametrize(
    "question", ["What is the average of hours?", "What are the minutes of ticket 1004?"]
)
def test_what_has_no_number_is_not_measured(tmp_path: Path, question: str) -> None:
    assert "measure" not in offered(scene_of(tmp_path / "a", question, table()))
    if "hours" in question:
        with pytest.raises(NoPlan):
            ran(tmp_path, Measure(), question, {})


LATE = [row for row in ROWS if row["opened"] > "2024-10-01"]
URGENT = [row for row in ROWS if row["priority"] == "urgent" and row["state"] == "open"]


@pytest.mark.parametrize(
    ("question", "filled", "count"),
    [
        ("How many urgent tickets are open?", {"labels": ["urgent", "open"]}, len(URGENT)),
        ("How many urgent tickets are open?", {"values": ["urgent", "open"]}, len(URGENT)),
        ("How many were opened after 1 October 2024?", {}, len(LATE)),
        ("How many rows were opened after 1 October 2024?", {"labels": ["rows"]}, len(LATE)),
    ],
)
def test_rows_that_are_meant_are_counted(
    tmp_path: Path, question: str, filled: dict[str, Any], count: int
) -> None:
    assert offered(scene_of(tmp_path / "offered", question, table())) == ("count",)
    said, _ = ran(tmp_path, Count(), question, filled)
    assert said.split()[0] == str(count), said


def test_who_has_the_most_is_counted(tmp_path: Path) -> None:
    question = "Which city has the most urgent tickets?"
    assert offered(scene_of(tmp_path / "offered", question, table())) == ("count",)
    said, _ = ran(tmp_path, Count(), question, {"values": ["urgent"], "per": "city"})
    assert all(city in said for city in CITIES), said


def test_keys_are_counted_too(tmp_path: Path) -> None:
    question = "Which customer has the most tickets?"
    assert offered(scene_of(tmp_path / "offered", question, table())) == ("count",)
    said, _ = ran(tmp_path, Count(), question, {"per": "customer"})
    counts = Counter(row["customer"] for row in ROWS)
    best = [name for name, count in counts.items() if count == max(counts.values())]
    assert all(name in said for name in best), said
    assert str(max(counts.values())) in said


def test_a_list_has_the_rows_that_are_meant_and_all_of_them(tmp_path: Path) -> None:
    question = "List all urgent tickets that are open."
    assert offered(scene_of(tmp_path / "offered", question, table())) == ("gather",)
    said, given = ran(tmp_path, Gather(), question, {})
    assert said == f"{len(URGENT)} records"
    assert [line.split(",")[0] for line in given] == [row["id"] for row in URGENT]


PROSE = "Anna met Bert at the harbour.\n\nThey went home late.\n"


@pytest.mark.parametrize(
    ("question", "kinds"),
    [
        ("List all the persons named.", ("gather",)),
        ("List the three rules.", ("find", "gather")),
        ("Name the captain.", ("find",)),
    ],
)
def test_lists_of_a_text_are_gathered(
    tmp_path: Path, question: str, kinds: tuple[str, ...]
) -> None:
    assert offered(scene_of(tmp_path, question, PROSE)) == kinds


async def test_counts_of_each_label_are_the_answer(tmp_path: Path) -> None:
    question = "Classify each text as praise or complaint, and count each."
    text = "".join(f"id: {n} || text: {'well' if n % 3 else 'bad'} done {n}\n" for n in range(12))
    filled = {"labels": ["praise", "complaint"], "values": [], "per": "none"}
    run = await planned(tmp_path, question, text, "count", filled, sub=lambda request: "praise")
    assert run.completion.complete
    assert "12" in run.completion.answer


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1,234.50 EUR", 1234.5),
        ("1.234,50", 1234.5),
        ("1 234,5", 1234.5),
        ("1\u202f234\u202f567", 1234567.0),
        ("$12", 12.0),
        ("-7%", -7.0),
        ("\u22123.5 C", -3.5),
        ("3,5 km", 3.5),
        ("12,345", 12345.0),
        (".5", 0.5),
        ("-$12.50", -12.5),
        ("- \u20ac5", -5.0),
        ("\u2212\u00a31,000", -1000.0),
        ("(1,234.50)", -1234.5),
        ("12.50-", -12.5),
        ("Ann (12)", 12.0),
        ("from 3 - 5", 3.0),
        ("0,125", 0.125),
        ("1e400", None),
        ("1e3", 1000.0),
        (7, 7.0),
        (2.5, 2.5),
        (True, None),
        (None, None),
        ("none", None),
        ("", None),
        (float("nan"), None),
        (10**400, None),
        ("9" * 500, 9.99e199),
    ],
)
def test_numbers_out_of_text(value: Any, number: float | None) -> None:
    found = as_number(value)
    assert found == number or (number is not None and found == pytest.approx(number, rel=0.01))


REGIONS = ["North", "South", "West"]
SOLD = [
    (
        f"A{1000 + n}",
        ["North", "South", "West"][n % 3],
        n * 5 % 19 + 1,
        f"C{n % 11}",
        str(70 + n % 4),
    )
    for n in range(60)
]
SALES = "order,region,units,customer,user\n" + "".join(
    f"{','.join(map(str, one))}\n" for one in SOLD
)
UNITS = {name: [one[2] for one in SOLD if one[1] == name] for name in REGIONS}


@pytest.mark.parametrize(
    ("question", "kind", "filled", "output"),
    [
        # Labels that a root made up: of a key, nothing is read.
        (
            "How many orders were placed in the North region with at least 15 units?",
            Count(),
            {"labels": ["15 units", "orders"], "values": ["15", "North"], "per": "region"},
            f"{(n := sum(x >= 15 for x in UNITS['North']))} different order in {n} records",
        ),
        (
            "How many orders are in the table?",
            Count(),
            {"labels": ["orders"]},
            "60 different order",
        ),
        ("How many customers are there?", Count(), {}, "11 different customer in 60 records"),
        ("How many different users bought in the West?", Count(), {}, "4 different user in 20"),
        (
            "How many units were sold in the South?",
            Measure(),
            {},
            f"total of units: {sum(UNITS['South'])}",
        ),
        (
            "What is the average number of units of North orders?",
            Measure(),
            {},
            f"average of units: {round(sum(UNITS['North']) / 20, 4)}",
        ),
        (
            "Which region has the highest total units?",
            Measure(),
            {},
            f"highest total of units: {max(map(sum, UNITS.values()))}",
        ),
    ],
)
def test_what_is_counted_and_what_is_added_up(
    tmp_path: Path, question: str, kind: Maker, filled: dict[str, Any], output: str
) -> None:
    printed, _ = ran(tmp_path, kind, question, filled, SALES)
    assert printed.startswith(output)
    assert offered(scene_of(tmp_path / "again", question, SALES)) == (kind.kind,)


def test_a_tie_is_the_answer(tmp_path: Path) -> None:
    printed, answer = ran(tmp_path, Count(), "Which region has the most orders?", {}, SALES)
    assert printed.startswith("North, South, West tie for the most common region with 20 of 60")
    assert answer == "North, South, West tie, with 20 each"


LOG = "".join(
    f"2025-06-{1 + n % 28:02}T{n % 24:02}:00:00 {'ERROR' if n % 3 else 'INFO'} "
    f"[{'auth' if n % 5 else 'mail'}] request {n} took {n * 7 % 90} ms\n"
    for n in range(60)
)


def test_a_word_that_is_asked_for_is_no_label(tmp_path: Path) -> None:
    filled = {"labels": ["component", "error"], "values": ["ERROR"], "per": "time"}
    printed, _ = ran(tmp_path, Count(), "Which component has the most errors?", filled, LOG)
    assert "groups with the most ERROR: auth 32, mail 8" in printed


@pytest.mark.parametrize(
    "form", ["<{level}> {name}: ", "{level} [{name}] ", "[{level}] ({name}): "]
)
def test_fields_of_logs(tmp_path: Path, form: str) -> None:
    log = "".join(
        f"2025-06-0{1 + n % 9} 00:00:{n:02} "
        + form.format(level=["INFO", "ERROR"][n % 2], name=["mailer", "auth", "ingest"][n % 3])
        + f"request: {n} took {n * 7 % 90} ms\n"
        for n in range(60)
    )
    printed, _ = ran(
        tmp_path, Count(), "How many ERROR lines are there from the auth component?", {}, log
    )
    assert printed == "10 is the number asked for"


def test_what_is_not_asked_how_many_there_are_is_not_counted(tmp_path: Path) -> None:
    with pytest.raises(NoPlan, match="neither labels"):
        ran(
            tmp_path, Count(), "Which service fails the most in June?", {"labels": ["service"]}, LOG
        )


@pytest.mark.parametrize(
    ("value", "number"),
    [("1,250", 1.25), ("1.250", 1250.0), ("1.234.567,5 kg", 1234567.5), ("-,5", -0.5), ("", None)],
)
def test_numbers_with_a_decimal_comma(value: str, number: float | None) -> None:
    assert as_number(value, comma=True) == number


@pytest.mark.parametrize(
    ("written", "total"),
    [
        (["$100.00", "-$40.00", "$25.50"], 85.5),
        (["0,125", "12,5", "1,250"], 13.875),
        (["1.250,00", "2.000", "7,5"], 3257.5),
        (["1,250", "2,000", "7.5"], 3257.5),
    ],
)
def test_a_column_is_added_up_as_it_is_written(
    tmp_path: Path, written: list[str], total: float
) -> None:
    lines = [f"A{n};{one};note {n}" for n, one in enumerate(written * 8)]
    scene = scene_of(tmp_path, "What is the total amount?", "id;amount;note\n" + "\n".join(lines))
    program = Measure().plan(scene, {}).program
    printed: list[Any] = []
    names = {
        "records": Records(open_context(scene.corpus.folder), scene.layout),
        "as_number": as_number,
        "print": lambda *some: printed.extend(some),
    }
    exec(program, names)
    assert total * 8 in printed


GRADED = "grade,minutes,note\n" + "".join(f"{1 + n % 5},{10 + n},note {n}\n" for n in range(60))


@pytest.mark.parametrize(
    ("question", "field"),
    [
        ("What is the average of minutes of all grades?", "minutes"),
        ("How many minutes in total, over every grade?", "minutes"),
        ("What is the lowest grade of those with minutes?", "grade"),
    ],
)
def test_the_field_that_is_asked_for_is_measured(tmp_path: Path, question: str, field: str) -> None:
    found = measured(scene_of(tmp_path, question, GRADED))
    assert found is not None
    assert found.name == field


@pytest.mark.parametrize(
    "question", ["What is the average of minutes for each grade?", "Minutes in total by grade?"]
)
def test_numbers_group_where_they_are_names(tmp_path: Path, question: str) -> None:
    program = Measure().plan(scene_of(tmp_path, question, GRADED), {}).program
    assert "groups = group(rows, 'grade')" in program


KEYED = "id,buyer,amount\n" + "".join(f"S-{n},Ann Lee-{n % 40},{n}\n" for n in range(80))


@pytest.mark.parametrize(
    ("question", "total"),
    [
        ("What is the total amount of S-12?", 12),
        ("What is the sum of amount for Ann Lee-7.", 7 + 47),
        ("What is the total amount, in EUR, of Ann Lee-7 and Ann Lee-8?", 7 + 47 + 8 + 48),
    ],
)
def test_keys_and_names_limit_too(tmp_path: Path, question: str, total: int) -> None:
    scene = scene_of(tmp_path, question, KEYED)
    printed: list[Any] = []
    names = {
        "records": Records(open_context(scene.corpus.folder), scene.layout),
        "as_number": as_number,
        "print": lambda *some: printed.extend(some),
    }
    exec(Measure().plan(scene, {}).program, names)
    assert total in printed


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("0,125", 0.125),
        ("-0,250 kg", -0.25),
        ("0,123,456", 123_456),
        ("1,234", 1_234),
        ("x" * 198 + " 12345", 12_345),
        ("x" * 500 + " -7", -7),
        ("2022 500 units", 2_022),
        ("3.5 200 units", 3.5),
        ("12 345,5", 12_345.5),
        ("1 234 567", 1_234_567),
        ("1e999", None),
    ],
)
def test_the_first_number_is_read_whole(value: str, number: float | None) -> None:
    assert as_number(value) == number
