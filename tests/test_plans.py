"""Plan mode: a filled plan's program, run in a real kernel, gives what a count by hand gives."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planning import judged, planned, scene_of
from scripted import ScriptedEngine, giving, said

from outcore.config import Settings
from outcore.engine.labels import ballot
from outcore.engine.plans.count import Count
from outcore.engine.plans.find import Find, _names
from outcore.engine.plans.gather import Gather, Summarize
from outcore.engine.plans.labelling import Labelling
from outcore.engine.plans.pairs import Pairs
from outcore.engine.plans.plan import NoPlan
from outcore.errors import ConfigError
from outcore.models.engine import ChatPrompt, Message, Request

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.engine.plans.plan import Maker

TICKETS = [
    ("2021-01-05", "7", "The app shows a crash when I pay by card."),
    ("2021-01-09", "8", "What lovely staff you have, they helped at once."),
    ("2021-02-01", "7", "I want my money back for the broken lamp, please."),
    ("2021-02-11", "9", "Another crash after the update of last night."),
    ("2021-03-02", "8", "It did crash twice today while I looked for shoes."),
    ("2021-03-04", "9", "Such lovely wrapping paper, thank you very much."),
    ("2021-03-20", "9", "A crash again; this is the third of this year."),
    ("2021-03-28", "12", "Where is my money back, after five weeks of waiting?"),
]
KINDS = ["bug report", "praise", "refund"]
GUIDANCE = "Each has one of the labels 'bug report', 'praise' and 'refund'."
SHOP = f"Tickets of a shop. {GUIDANCE}\n" + "".join(
    f"Date: {day} || User: {user} || Text: {text}\n" for day, user, text in TICKETS
)
JUDGE = judged(bug_report="crash", praise="lovely", refund="money back")
LOGS = "".join(
    json.dumps({"time": f"2024-0{1 + n % 3}-1{n % 10}", "level": level, "host": f"h{n % 2}"}) + "\n"
    for n, level in enumerate(["INFO", "WARN", "INFO", "ERROR", "INFO", "WARN"] * 5)
)


def count(**filled: Any) -> dict[str, Any]:
    return {"labels": KINDS, "of": [], "values": [], "per": "none"} | filled


@pytest.mark.parametrize(
    ("question", "filled", "output"),
    [
        (
            "Is bug report more common than praise?",
            count(of=["bug report", "praise"]),
            "bug report is more common than praise: 4 and 2",
        ),
        (
            "How many tickets of user 9 are a bug report?",
            count(of=["bug report"], values=["9"]),
            "bug report occurs 2 times",
        ),
        (
            "How many refund tickets came in March?",
            count(of=["refund"], values=["March"]),
            "refund occurs 1 times",
        ),
        (
            "Between 2021-01-09 and 2021-03-02, how many are praise?",
            count(of=["praise"], values=["2021-01-09", "2021-03-02"]),
            "praise occurs 1 times",
        ),
        (
            "How many bug reports are there before 2021-02-11?",
            count(of=["bug report"], values=["2021-02-11"]),
            "bug report occurs 1 times",
        ),
        (
            "Was bug report more common before 2021-02-15 or after it?",
            count(of=["bug report"], values=["2021-02-15"]),
            "bug report before: 2 of 4 (50.0%)\nbug report after: 2 of 4 (50.0%)",
        ),
        (
            "In how many months is bug report the most frequent kind?",
            count(of=["bug report"], per="month"),
            "1 of 3 months have more of bug report than of any other",
        ),
        (
            "Which label is the rarest?",
            count(),
            "least common: tie of 2: praise, refund (2 times each)",
        ),
    ],
)
async def test_counts_of_what_is_judged(
    tmp_path: Path, question: str, filled: dict[str, Any], output: str
) -> None:
    run = await planned(tmp_path, question, SHOP, "count", filled, sub=JUDGE)
    assert run.plan["kind"] == "count"
    assert output in run.output


@pytest.mark.parametrize(
    ("question", "filled", "output"),
    [
        (
            "Is WARN more frequent than ERROR?",
            count(labels=["WARN", "ERROR"], of=["WARN", "ERROR"]),
            "WARN is more common than ERROR: 10 and 5",
        ),
        (
            "How many lines of host h1 are an ERROR?",
            count(labels=["ERROR"], of=["ERROR"], values=["h1"]),
            "ERROR occurs 5 times",
        ),
        (
            "Which host has the most lines?",
            count(labels=["host"]),
            "h0, h1 tie for the most common host",
        ),
        (
            "How many lines are there per level?",
            count(labels=[], per="level"),
            "INFO (15 times)\nWARN (10 times)",
        ),
    ],
)
async def test_counts_of_what_a_field_holds(
    tmp_path: Path, question: str, filled: dict[str, Any], output: str
) -> None:
    run = await planned(tmp_path, question, LOGS, "count", filled)
    assert output in run.output
    assert not run.sub.asked


@pytest.mark.parametrize(
    ("question", "output"),
    [
        ("Which level is the most common?", "WARN is the most common level with 15 of 24 records"),
        ("In how many months is WARN the most common level?", "2 of 3 months"),
    ],
)
async def test_what_is_null_is_no_label_and_of_no_month(
    tmp_path: Path, question: str, output: str
) -> None:
    levels = [
        "WARN",
        None,
        "INFO",
        "WARN",
        "WARN",
        None,
        "INFO",
        "WARN",
        None,
        "WARN",
        "INFO",
        None,
    ]
    lines = "".join(
        json.dumps({"time": f"2024-0{1 + n % 3}-10" if n % 12 else None, "level": level}) + "\n"
        for n, level in enumerate(levels * 3)
    )
    run = await planned(tmp_path, question, lines, "count", count(labels=["WARN"]))
    assert output in run.output


PAIRS = "List all pairs of users where "


@pytest.mark.parametrize(
    ("question", "one", "other", "answer"),
    [
        (
            f"{PAIRS}one has at least two bug reports and the other has a refund.",
            "at least two bug reports",
            "a refund",
            "(7, 9)\n(9, 12)",
        ),
        (
            f"{PAIRS}both have a bug report or praise.",
            "a bug report or praise",
            "a bug report or praise",
            "(7, 8)\n(7, 9)\n(8, 9)",
        ),
        (
            f"{PAIRS}both have no refund.",
            "no refund",
            "",
            "(8, 9)",
        ),
        (
            f"{PAIRS}both have a bug report, and all bug reports must be after 2021-02-01.",
            "words that nobody wrote",
            "a bug report",
            "(8, 9)",
        ),
    ],
)
async def test_pairs(tmp_path: Path, question: str, one: str, other: str, answer: str) -> None:
    filled = {"member": "user", "labels": KINDS, "one": one, "other": other}
    run = await planned(tmp_path, question, SHOP, "pairs", filled, sub=JUDGE)
    assert run.plan["kind"] == "pairs"
    assert run.completion.answer == answer
    assert run.completion.turns == 1


async def test_gather_from_each_record(tmp_path: Path) -> None:
    filled = {"each": "record", "task": "Say in a word what it is about."}
    lines = "".join(f"id={n} text=the {word} of it\n" for n, word in enumerate("abcdefgh"))
    run = await planned(
        tmp_path,
        "Say of each record what it is about.",
        lines,
        "gather",
        filled,
        sub=lambda request: next(
            f"about {one}" for one in "abcdefgh" if f"the {one} of" in said(request)
        ),
    )
    assert run.completion.answer == "\n".join(f"about {one}" for one in "abcdefgh")


async def test_gather_keeps_what_stands_in_the_text(tmp_path: Path) -> None:
    text = (
        "We met Ada.\n" + "Nothing happened on this long day.\n" * 50 + "Then came Bo, and ada.\n"
    )
    filled = {"each": "part of the text", "task": "List the people."}
    names = json.dumps({"value": ["Ada", "Bo", "ada", "Nothing", "Eve", " "]})

    def sub(request: Request) -> str:
        told = said(request)
        if "Copy each" in told:
            return names
        return "no" if "\n\nNothing" in told else "yes"

    run = await planned(tmp_path, "List all people.", text, "gather", filled, sub=sub)
    assert run.completion.answer == "Ada\nBo"
    assert run.completion.complete


async def test_a_list_with_a_gap_is_a_draft(tmp_path: Path) -> None:
    text = "We met Ada.\n" + "Nothing happened on this long day.\n" * 200

    def sub(request: Request) -> str:
        told = said(request)
        if "Copy each" not in told:
            return "yes"
        return '{"value": ["Ada"]}' if "Ada" in told else "[["

    run = await planned(tmp_path, "List all people.", text, "gather", {}, sub=sub, last="Hm.")
    assert run.completion.answer == "Ada"
    assert not run.completion.complete


async def test_summaries_of_summaries(tmp_path: Path) -> None:
    text = "".join(f"Chapter {n}: the river rose again, and they moved on.\n" for n in range(9_000))
    run = await planned(tmp_path, "Sum it up.", text, "summarize", {"about": "the river"}, sub="ok")
    assert run.completion.answer == "ok"
    assert len(run.sub.asked) > 2
    assert "with regard to: the river." in said(run.sub.asked[0])


async def test_find_searches_the_words_and_the_question(tmp_path: Path) -> None:
    text = "Nothing here.\n" * 500 + "The keeper of Vardo is Ingrid.\n" + "Nothing there.\n" * 500
    filled = {"words": "keeper Vardo"}
    run = await planned(tmp_path, "Who keeps Vardo?", text, "find", filled, last=giving("Ingrid"))
    assert "The keeper of Vardo is Ingrid." in run.output
    assert (run.completion.answer, run.completion.turns) == ("Ingrid", 2)


CODE = {
    f"package/part_{n}.py": f"class Part{n}Config:\n    rank: int = {n}\n\n"
    f"    def grow(self, size: int = {n * 10}) -> int:\n        return size\n\n\n"
    + "\n".join(f"def step_{n}_{at}(value):\n    return value + {at}\n" for at in range(60))
    for n in range(40)
} | {
    "package/base.py": "class PartConfig:\n    rank: int = 99\n",
    "package/xl.py": "from package.base import PartConfig\n\n\nclass XL4Config(PartConfig):\n"
    "    rank: int = 1536\n\n\nclass XL5Config(\n    Plain,\n    XL4Config,\n):\n    pass\n",
}


@pytest.mark.parametrize(
    ("question", "first"),
    [
        ("What is the default of the field rank of XL4Config?", "class XL4Config(PartConfig):"),
        ("What is the default of max_rank or `rank` in XL4Config?", "rank: int = 1536"),
        ("Which class does XL4Config derive from?", "class XL4Config(PartConfig):"),
        ("What is the base class of XL4Config?", "class XL4Config(PartConfig):"),
        ("Which classes derive from XL4Config?", "class XL5Config("),
        ("By what is XL4Config extended?", "class XL4Config(PartConfig):"),
        ("Which class is XL4Config extended by?", "class XL5Config("),
        ("Name the subclasses of XL4Config.", "class XL5Config("),
        ("Which class has XL4Config as its base?", "class XL5Config("),
    ],
)
async def test_find_in_code_shows_what_is_asked_of_a_class_first(
    tmp_path: Path, question: str, first: str
) -> None:
    run = await planned(tmp_path, question, CODE, "find", {}, last=giving("1536"))
    shown = [line.partition(": ")[2] for line in run.output.splitlines() if ": " in line]
    assert next(line for line in shown if "XL" in line or "1536" in line).strip() == first


def test_names_of_a_question_are_told_from_words() -> None:
    question = "How do HYV4Config, iPhone_2, GPUs, APIs, USA and Paris share a_b of Cache.size?"
    assert _names(question) == ["HYV4Config", "iPhone_2", "a_b"]


NONSENSE = [
    ("count", count(labels=["apples", "pears"], of=["apples"], values=["1999"], per="planet")),
    ("pairs", {"member": "planet", "labels": ["apples"], "one": "", "other": ""}),
    ("pairs", {"member": None, "labels": None, "one": 3, "other": []}),
    ("count", '{"labels": ["bug rep'),
    ("count", "[1, 2]"),
    ("count", "[" * 100_000),
    ("none of the kinds", "{}"),
]


@pytest.mark.parametrize(("kind", "filled"), NONSENSE, ids=range(len(NONSENSE)))
async def test_nonsense_falls_back_to_a_search(tmp_path: Path, kind: str, filled: Any) -> None:
    question = "Who wrote of the broken lamp?"
    run = await planned(tmp_path, question, SHOP, kind, filled, last=giving("7"))
    assert run.plan["kind"] == "find"
    assert "broken lamp" in run.output
    assert run.completion.answer == "7"


def test_an_engine_without_label_tokens_is_asked_for_the_word() -> None:
    engine = ScriptedEngine(["find"])
    request = Request(ChatPrompt((Message("user", "Which?"),)), 1)
    cast = ballot(engine, request, ("find", "count"), scores=False)
    [asked] = cast.requests
    assert asked.shape is not None
    assert asked.max_tokens > 1


@pytest.mark.parametrize(
    ("mode", "profile", "plans"),
    [
        ("auto", "small", True),
        ("auto", "coder", False),
        ("plan", "coder", True),
        ("code", "small", False),
    ],
)
async def test_who_writes_the_first_program(
    tmp_path: Path, mode: str, profile: str, plans: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_run import ask

    replies = ["find", '{"words": "keeper"}'] if plans else []
    asked = await ask(
        tmp_path, *replies, f"```python\n{giving('Ingrid')}\n```", profile=profile, root_mode=mode
    )
    kinds = [event["event"] for event in asked.events]
    assert ("plan" in kinds) is plans
    assert asked.completion.answer == "Ingrid"
    assert len(asked.root.asked) == (3 if plans else 1)


def test_a_mode_there_is_not() -> None:
    with pytest.raises(
        ConfigError, match="root_mode is 'guess'; it can be one of: auto, code, plan"
    ):
        Settings(root_mode="guess")  # type: ignore[arg-type]  # what a user may write


# What breaks programs that are put together carelessly.
ODD = ['it\'s "so"', "back\\slash", "two\nlines", "Größe 東京", "{x}", "%s", "'''", "#1"]


@pytest.mark.parametrize(
    ("maker", "filled"),
    [(Count(), {"labels": ODD, "of": [one], "values": ODD, "per": "month"}) for one in ODD]
    + [
        (
            Pairs(),
            {"member": "User", "labels": ODD, "one": f"at least two {one}", "other": f"no {one}"},
        )
        for one in ODD
    ]
    + [
        (maker, {"words": one, "task": one, "about": one, "each": each})
        for maker in (Find(), Gather(), Summarize())
        for one in ODD
        for each in ("record", "part")
    ],
)
def test_programs_parse_whatever_labels_hold(
    tmp_path: Path, maker: Maker, filled: dict[str, Any]
) -> None:
    question = f"Which of: {', '.join(ODD)}; one has at least two {', no '.join(ODD)}"
    plan = maker.plan(scene_of(tmp_path, question, SHOP), filled)
    tree = ast.parse(plan.program)
    held = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert isinstance(maker, (Find, Gather, Summarize)) or held & set(ODD)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(
        ["bug report", "praise", "User", "Text", "Date", "March", "2021-02-01", "9", "none"]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=5,
)
NAMES = [
    "labels",
    "of",
    "values",
    "per",
    "member",
    "one",
    "other",
    "words",
    "task",
    "about",
    "each",
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(filled=st.dictionaries(st.sampled_from(NAMES), JSON))
def test_whatever_is_filled_in_gives_a_program_or_none(shop: Any, filled: dict[str, Any]) -> None:
    for maker in (Find(), Count(), Pairs(), Gather(), Summarize()):
        try:
            plan = maker.plan(shop, filled)
        except NoPlan:
            continue
        ast.parse(plan.program)
        json.dumps(plan.as_dict())


@pytest.fixture
def shop(tmp_path: Path) -> Any:
    """The scene of a question that names labels, values and dates of the tickets."""
    question = "Is bug report or praise more common for user 9 after 2021-02-01, or in March?"
    return scene_of(tmp_path, question, SHOP)


def test_a_scene_knows_its_fields(shop: Any) -> None:
    assert [field.name for field in shop.fields] == ["Date", "User", "Text"]
    assert shop.date_field.name == "Date"
    assert shop.text_field.name == "Text"
    assert shop.field(" user ").name == "User"
    assert shop.field("planet") is None
    for value, name in (
        ("9", "User"),
        ("2021-02-01", "Date"),
        ("Another crash after the update of last night.", "Text"),
    ):
        assert [field.name for field in shop.values.fields(value)] == [name]
    assert shop.values.fields("crash") == shop.values.fields("") == ()


def test_a_scene_says_what_labels_are_about(shop: Any, tmp_path: Path) -> None:
    assert shop.guidance(("bug report", "praise")) == GUIDANCE
    assert shop.guidance(("apples", "pears")) == ""
    long = "Sort the mails into 'a', 'b', 'c' and 'd', please: how many are 'b'?"
    assert scene_of(tmp_path / "2", long, "x").asked == (
        "Sort the mails into [...], please: how many are 'b'?"
    )


@pytest.mark.parametrize(
    ("question", "guessed", "field", "labels", "named"),
    [
        (
            "How many praise, and how many bug reports?",
            (),
            "Text",
            tuple(KINDS),
            ("praise", "bug report"),
        ),
        ("Which label is the rarest?", ("apples",), "Text", tuple(KINDS), ()),
        ("How many are sarcastic?", ("sarcastic",), "Text", ("sarcastic", "other"), ("sarcastic",)),
        ("How many are sarcastic?", ("apples", "user"), None, None, None),
    ],
)
def test_where_labels_come_from(
    tmp_path: Path,
    question: str,
    guessed: tuple[str, ...],
    field: str | None,
    labels: Any,
    named: Any,
) -> None:
    found = Labelling.of(scene_of(tmp_path, question, SHOP), guessed)
    told = found and (found.field.name, found.labels, found.named)
    assert told == (field and (field, labels, named))


def test_labels_that_a_field_holds_need_no_reading(tmp_path: Path) -> None:
    found = Labelling.of(scene_of(tmp_path, "Is warn rarer than error?", LOGS), ("warn", "error"))
    assert found is not None
    assert (found.field.name, found.labels, found.named) == ("level", (), ("WARN", "ERROR"))
    told = "labels = [None if r['level'] is None else str(r['level']) for r in rows]"
    assert found.code() == [told]
