"""Limits worked out from a question's words: which times, and which values of fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from planning import scene_of

from outcore.engine.plans.labelling import Labelling
from outcore.engine.plans.limits import Limits
from outcore.engine.plans.plan import NoPlan
from outcore.engine.plans.planner import offered
from outcore.kernel_sandbox.inside.dates import as_date

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcore.engine.plans.plan import Kind

DAYS = [
    "2020-12-31",
    "2021-01-05",
    "2021-01-20",
    "2021-02-11",
    "2021-03-02",
    "2021-05-09",
    "2021-11-30",
    "2022-03-15",
]
CITIES = ["Oslo", "Bergen"]
TYPES = ["delivery", "return", "exchange"]
# Parcels of a depot: a code, a city, the type that a clerk chose, and what was written down.
ROWS = [
    {
        "received": day,
        "code": f"PX-{100 + n % 3}",
        "city": CITIES[n % 2],
        "type": TYPES[n % 3],
        "remark": f"The box was standing by the gate when I came, for the {n + 2}th time now.",
    }
    for n, day in enumerate(DAYS)
]
# Often enough for types and cities to be told from texts.
TIMES_EACH = 5
PARCELS = TIMES_EACH * "".join(json.dumps(row) + "\n" for row in ROWS)
# The same with the day first, as nothing but a day above 12 tells.
DAY_FIRST = TIMES_EACH * "".join(
    json.dumps(row | {"received": "/".join(reversed(str(row["received"]).split("-")))}) + "\n"
    for row in ROWS
)


def kept(limits: Limits, context: str = PARCELS) -> list[str]:
    """The days of the records that pass, in ISO form, as the program would choose them."""
    names: dict[str, Any] = {"records": map(json.loads, context.splitlines()), "as_date": as_date}
    exec("\n".join(limits.code()), names)
    found = (as_date(row["received"], day_first=context is DAY_FIRST) for row in names["rows"])
    return list(dict.fromkeys(day.isoformat() for day in found if day is not None))


TIMES = {
    "How many parcels are there?": DAYS,
    "How many came on 2021-02-11?": DAYS[3:4],
    "How many came on February 11, 2021?": DAYS[3:4],
    "How many came before 2021-01-20?": DAYS[:2],
    "How many came until 2021-01-20?": DAYS[:3],
    "How many came on or before 2021-01-20?": DAYS[:3],
    "How many came after 2021-05-09?": DAYS[6:],
    "How many came since 2021-05-09?": DAYS[5:],
    "How many came no earlier than the 9th of May, 2021?": DAYS[5:],
    "How many came between 2021-01-20 and 2021-03-02?": DAYS[2:5],
    "How many came from 2021-03-02 to 2021-01-20?": DAYS[2:5],
    "How many came in January 2021?": DAYS[1:3],
    "How many came before February 2021?": DAYS[:3],
    "How many came after February 2021?": DAYS[4:],
    "How many came from January 2021 to March 2021?": DAYS[1:5],
    "How many came in March?": [DAYS[4], DAYS[7]],
    "How many came in January or March?": [*DAYS[1:3], DAYS[4], DAYS[7]],
    "How many came between January and March?": [*DAYS[1:5], DAYS[7]],
    "How many came from November to January?": [*DAYS[:3], DAYS[6]],
    "How many came after March?": [DAYS[0], *DAYS[5:7]],
    "How many came in 2021?": DAYS[1:7],
    "How many came in 2020 or 2022?": [DAYS[0], DAYS[7]],
    "How many came between 2020 and 2021?": DAYS[:7],
    "How many came before 2021?": DAYS[:1],
    "How many came since 2022?": DAYS[7:],
    "How many of the parcels came in March 2021, and in Oslo?": DAYS[4:5],
    "May I know how many came in 1,200 boxes?": DAYS,
    "How many came on 2021-01-05 or 2021-03-02?": [DAYS[1], DAYS[4]],
    "How many came in January 2021 or March 2021?": [*DAYS[1:3], DAYS[4]],
    "How many came in January and March 2021?": [*DAYS[1:3], DAYS[4]],
    "How many came between January and March 2021?": DAYS[1:5],
    "How many came after 2021-01-05 and before 2021-03-02?": DAYS[2:4],
    "How many came after 2021-01-05 until 2021-03-02?": DAYS[2:5],
    "How many came before 2021-01-20 or after 2021-05-09?": [*DAYS[:2], *DAYS[6:]],
    "How many came in November 2021 or later?": DAYS[6:],
    "How many came in 2021 and before?": DAYS[:7],
    "How many came from March 2021 onwards?": DAYS[4:],
    "How many came from March 2021 to 2022?": DAYS[4:],
    "How many came between 2020 and 5 January 2021?": DAYS[:2],
    "How many did not come in 2021?": [DAYS[0], DAYS[7]],
    "How many came, except for January 2021?": [DAYS[0], *DAYS[3:]],
    "How many did not come between 2021-01-20 and 2021-03-02?": [*DAYS[:2], *DAYS[5:]],
    "How many did not come in March?": [*DAYS[:4], *DAYS[5:7]],
    "How many came before February or after October?": [*DAYS[:3], DAYS[6]],
}


@pytest.mark.parametrize("question", TIMES)
@pytest.mark.parametrize("context", [PARCELS, DAY_FIRST], ids=["iso", "day first"])
def test_times(tmp_path: Path, question: str, context: str) -> None:
    limits = Limits.of(scene_of(tmp_path, question, context), ())
    assert kept(limits, context) == TIMES[question]
    assert limits.split is None


def test_a_date_of_the_question_reads_as_those_of_the_records_do(tmp_path: Path) -> None:
    question = "How many came before 03/02/2021?"
    assert kept(Limits.of(scene_of(tmp_path / "1", question, DAY_FIRST), ()), DAY_FIRST) == DAYS[:3]
    assert kept(Limits.of(scene_of(tmp_path / "2", question, PARCELS), ())) == DAYS[:4]


@pytest.mark.parametrize(
    ("when", "split"),
    [("2021-02-11", "2021-02-11"), ("February 2021", "2021-02-01"), ("2021", "2021-01-01")],
)
def test_both_sides_of_a_time_are_compared(tmp_path: Path, when: str, split: str) -> None:
    question = f"Was the depot busier before {when}, or after {when}?"
    limits = Limits.of(scene_of(tmp_path, question, PARCELS), ())
    assert limits.split == split
    assert kept(limits) == DAYS


ORDERS = "ordered,delivery_date,state,note\n" + "".join(
    f"2021-0{1 + n % 6}-10,2022-0{1 + n % 6}-10,{('closed', 'open')[n % 2]},note number {n}\n"
    for n in range(60)
)


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("How many orders were delivered after 2022-03-01?", "delivery_date"),
        ("How many orders were ordered after 2021-03-01?", "ordered"),
        ("How many were there after 2021-03-01?", "ordered"),
        ("How many orders delivered had been ordered in March 2021?", "ordered"),
    ],
)
def test_of_several_dates_the_one_that_is_named_is_meant(
    tmp_path: Path, question: str, name: str
) -> None:
    [test] = Limits.of(scene_of(tmp_path, question, ORDERS), ()).tests
    assert f"as_date(r['{name}'])" in test


@pytest.mark.parametrize(
    ("question", "state"),
    [("How many were delivered after 2022-03-01?", False), ("How many are delivered?", True)],
)
def test_a_date_s_name_that_is_a_value_too(tmp_path: Path, question: str, state: bool) -> None:
    context = ORDERS.replace("delivery_date", "delivered").replace("closed", "delivered")
    limits = Limits.of(scene_of(tmp_path, question, context), ())
    assert (limits.fields == ("state",)) is state


VALUES: list[tuple[str, tuple[str, ...], list[str]]] = [
    ("How many parcels of PX-101 came?", (), DAYS[1::3]),
    ("How many parcels came to oslo?", (), DAYS[::2]),
    ("How many parcels came to Oslo or Bergen?", (), DAYS),
    ("How many parcels of PX-100 came to Bergen?", (), [DAYS[3]]),
    ("How many parcels came to PX-999?", ("PX-999", "Rome"), DAYS),
    ("How many parcels are there?", ("Oslo", "PX-100"), DAYS),
]


# Whoever is asked for has a state, and the codes of states are words of any sentence.
PEOPLE = [
    {
        "home": ["New York", "York", "Rome"][n % 3],
        "work": ["Rome", "New York", "York"][n % 4 % 3],
        "state": ["open", "closed"][n % 2],
        "priority": ["low", "urgent"][n % 5 == 0],
        "code": ["IN", "CA", "OR", "NO"][n % 4],
        "note": f"What was said to them on the day number {n}, word for word.",
    }
    for n in range(60)
]
CONTEXT = "".join(json.dumps(row) + "\n" for row in PEOPLE)
CHOSEN: list[tuple[str, Callable[[dict[str, str]], bool]]] = [
    ("How many are not closed?", lambda r: r["state"] != "closed"),
    ("How many aren't closed?", lambda r: r["state"] != "closed"),
    ("How many, except for those that are urgent?", lambda r: r["priority"] != "urgent"),
    ("How many have a priority other than low?", lambda r: r["priority"] != "low"),
    (
        "How many not urgent ones are open?",
        lambda r: (r["priority"], r["state"]) == ("low", "open"),
    ),
    ("How many are not only urgent?", lambda r: r["priority"] == "urgent"),
    ("How many have the home New York?", lambda r: r["home"] == "New York"),
    ("How many have the home Rome or York?", lambda r: r["home"] != "New York"),
    ("How many have York for their work?", lambda r: r["work"] == "York"),
    ("How many are in CA?", lambda r: r["code"] == "CA"),
    ("How many are of the code NO or in IN?", lambda r: r["code"] in ("NO", "IN")),
    ("How many are urgent or open?", lambda r: r["priority"] == "urgent" or r["state"] == "open"),
    ("How many urgent and open?", lambda r: r["priority"] == "urgent" and r["state"] == "open"),
]


@pytest.mark.parametrize(("question", "meant"), CHOSEN, ids=[one for one, _ in CHOSEN])
def test_values_are_meant_as_they_are_said(
    tmp_path: Path, question: str, meant: Callable[[dict[str, str]], bool]
) -> None:
    limits = Limits.of(scene_of(tmp_path, question, CONTEXT), ())
    names: dict[str, Any] = {"records": PEOPLE}
    exec("\n".join(limits.code()), names)
    assert limits.tests
    assert names["rows"] == [row for row in PEOPLE if meant(row)]


@pytest.mark.parametrize(
    "question", ["How many are of Rome?", "How many are urgent or open, and of the code CA?"]
)
def test_what_is_not_clear_limits_nothing(tmp_path: Path, question: str) -> None:
    scene = scene_of(tmp_path, question, CONTEXT)
    assert not Limits.of(scene, ()).tests
    with pytest.raises(NoPlan):
        Limits.sure(scene, ())


@pytest.mark.parametrize(("question", "guessed", "days"), VALUES)
def test_values(tmp_path: Path, question: str, guessed: tuple[str, ...], days: list[str]) -> None:
    assert kept(Limits.of(scene_of(tmp_path, question, PARCELS), guessed)) == days


def test_values_of_what_is_counted_limit_nothing(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, "Is delivery more common than return in Oslo?", PARCELS)
    labelling = Labelling.of(scene, ("delivery", "return"))
    assert labelling is not None
    assert (labelling.field.name, labelling.named) == ("type", ("delivery", "return"))
    limits = Limits.of(scene, (), apart=labelling.field)
    assert limits.fields == ("city",)
    assert kept(limits) == DAYS[::2]


def test_without_dates_a_year_is_a_value(tmp_path: Path) -> None:
    films = "".join(f"title={'abcdefgh'[n]} year={1999 + n % 2}\n" for n in range(8))
    limits = Limits.of(scene_of(tmp_path, "How many titles are of 1999, or in March?", films), ())
    assert limits.tests == ("str(r['year']).casefold() in ['1999']",)


VOYAGES = "".join(
    f"ship: {name} | log: {text}\n"
    for name, text in [
        ("Ada", "The sea was calm and we made good way all day."),
        ("Bo", "A mast broke in the night and two men were hurt."),
        ("Ada", "We traded wool for oil with the people of the bay."),
        ("Cy", "Calm again, and no wind for the third day in a row."),
        ("Bo", "The surgeon says that the fever is gone from the crew."),
    ]
)
REVIEWS = "product,stars,comment\n" + "".join(
    f'lamp{n % 2},{1 + n % 5},"It came late, but I like the {word} of it very much."\n'
    for n, word in enumerate(["colour", "shape", "weight", "light", "price", "switch"])
)
DOMAINS: list[tuple[str, str, tuple[str, ...], Any]] = [
    # Labels that the question lists have to be judged from the text.
    (
        VOYAGES,
        "Sort the entries into the categories: calm, damage, trade. How many are damage?",
        (),
        ("log", ("calm", "damage", "trade"), ("damage",)),
    ),
    # What the root alone sees: a label that nothing lists, and so another for the rest.
    (VOYAGES, "How many entries tell of illness?", ("illness",), ("log", ("illness", "other"))),
    # A guess that the question does not say is none.
    (VOYAGES, "How many entries tell of illness?", ("piracy",), None),
    # The name of a field is no label.
    (REVIEWS, "Which product has the most comments?", ("product",), None),
    (REVIEWS, "How many complain of the noise?", ("noise",), ("comment", ("noise", "other"))),
    # What a field holds needs no judging.
    (PARCELS, "Is exchange rarer than return?", ("exchange", "return"), ("type", ())),
]


@pytest.mark.parametrize(("context", "question", "guessed", "found"), DOMAINS)
def test_where_labels_of_other_domains_come_from(
    tmp_path: Path, context: str, question: str, guessed: tuple[str, ...], found: Any
) -> None:
    labelling = Labelling.of(scene_of(tmp_path, question, context), guessed)
    told = labelling and (labelling.field.name, labelling.labels, labelling.named)
    assert (told and told[: len(found or ())]) == found


PROSE = "No records.\n\nNothing but prose, in short."
KINDS: list[tuple[str, str, tuple[Kind, ...]]] = [
    # Where labels or values of a field are counted, there is no choice.
    (PARCELS, "How many parcels are of type return?", ("count",)),
    (PARCELS, "Which type is the most common?", ("count",)),
    (PARCELS, "Is delivery more common than return?", ("find", "count")),
    (PARCELS, "Who stood by the gate?", ("find",)),
    (PARCELS, "Find pairs of cities that had a return.", ("find", "pairs")),
    (PARCELS, "How many pairs of one type are there?", ("find", "count", "pairs")),
    (PARCELS, "List the remarks.", ("find", "gather")),
    (PARCELS, "Summarize the remarks.", ("find", "summarize")),
    # Without records nothing is counted or paired.
    (PROSE, "How many pairs of shoes?", ("find",)),
    (PROSE, "Give an overview of every chapter.", ("find", "gather", "summarize")),
]


@pytest.mark.parametrize(("context", "question", "kinds"), KINDS)
def test_the_kinds_that_a_question_can_be_of(
    tmp_path: Path, context: str, question: str, kinds: tuple[Kind, ...]
) -> None:
    assert offered(scene_of(tmp_path, question, context)) == kinds
