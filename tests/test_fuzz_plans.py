"""Plan mode under any context, question and plan: the program is sound, and runs to an end."""

from __future__ import annotations

import ast
import json
import sys
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from outcore.ask import as_json, show
from outcore.engine.budget import Usage
from outcore.engine.context.card import card
from outcore.engine.context.corpus import Corpus, stage
from outcore.engine.context.layout import layout_of
from outcore.engine.plans.count import Count
from outcore.engine.plans.find import Find
from outcore.engine.plans.gather import Gather, Summarize
from outcore.engine.plans.measure import Measure
from outcore.engine.plans.pairs import Pairs
from outcore.engine.plans.plan import NoPlan
from outcore.engine.plans.planner import offered
from outcore.engine.plans.scene import Scene
from outcore.engine.plans.wording import number_of
from outcore.engine.result import Citation, Completion
from outcore.kernel_sandbox.inside.answer import Desk
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.dates import as_date
from outcore.kernel_sandbox.inside.dry_run.rehearsal import Rehearsal
from outcore.kernel_sandbox.inside.layout import Layout
from outcore.kernel_sandbox.inside.listing import Listing
from outcore.kernel_sandbox.inside.look import Look
from outcore.kernel_sandbox.inside.numbers import as_number
from outcore.kernel_sandbox.inside.ordering import in_order
from outcore.kernel_sandbox.inside.pairing import group, pairs
from outcore.kernel_sandbox.inside.queries import Queries
from outcore.kernel_sandbox.inside.record_list import Records
from outcore.kernel_sandbox.inside.search import Search
from outcore.kernel_sandbox.inside.tally import tally
from outcore.kernel_sandbox.inside.texts import clean
from outcore.kernel_sandbox.inside.typed import Typed
from outcore.terminal import commands

MAKERS = (Find(), Count(), Measure(), Pairs(), Gather(), Summarize())
# What would run if a name or a text could leave its quotes.
BREAKING = [
    "']; pwned(); ['",
    '"); pwned() #',
    "\\'); pwned() #",
    "\n    pwned()\n",
    "'''\npwned()\n'''",
    "{pwned()}",
    "x', pwned(), 'y",
    "r'] or pwned() or r['",
    "\\",
    "\u2028pwned()",
    "class",
    "None",
    "label",
    "month",
    "none",
    "rows",
    "_pwned.X",
    "__class__",
    "%s",
    "\x00",
    "\u202egnp",
    "\ud800",
    "\u00e9\U0001f642",
]
PLAIN = ["User", "Date", "Text", "kind", "a", "bug report", "praise", "7", "2021-02-01", "March"]
NAMES = st.sampled_from(BREAKING + PLAIN) | st.text(max_size=6)
VALUES = (
    st.sampled_from(["x", "7", "2021-02-01", "2021-03-09", "praise", "bug report", ""])
    | NAMES
    | st.none()
    | st.integers()
    | st.booleans()
    | st.floats()
    | st.lists(st.integers(), max_size=2)
    | st.sampled_from(["two words of it", "9" * 5_000, "\u00b2", "NaN", "1e999"])
)
SAID = st.sampled_from(
    [
        "How many",
        "List all pairs of",
        "where one has at least two",
        "and the other has no",
        "exactly three times",
        "all",
        "before 2021-02-11",
        "after March 2021",
        "between 2020 and 2022",
        "more common than",
        "most frequent",
        "in which month",
        "before or after",
        "labels: ",
        "(a|b|c)",
        "summarize",
        "each",
        "the class",
        "9" * 5_000,
        "other",
        "?",
        ".",
        "\n",
    ]
)


@dataclass(frozen=True)
class Case:
    """A context, a question over it, and the names that both of them have."""

    context: Any
    question: str
    names: list[str]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Records of one form or another, whose names and values may be anything."""
    names = draw(st.lists(NAMES, min_size=4, max_size=4))
    labels = draw(st.lists(NAMES, min_size=1, max_size=3))
    # A time, a label, a number and a text; now and then something else.
    columns = (
        st.sampled_from(["2021-02-01", "2021-02-11", "2022-03-09"]),
        st.sampled_from(labels),
        st.sampled_from([7, 8, "07", "9" * 5_000]),
        st.sampled_from(["two words of it", "a longer text than any of the other ones has", ""]),
    )
    odd = draw(st.booleans())
    rows = draw(
        st.lists(
            st.tuples(*((one | VALUES if odd else one) for one in columns)), min_size=1, max_size=9
        )
    )
    listed = " or ".join(f"'{one}'" for one in labels)
    wording = SAID | st.sampled_from([*names, *labels, listed, f"labels: {', '.join(labels)}"])
    kinds = ["How many", "Which is the most common", f"List all pairs of {names[2]} where one has"]
    question = " ".join(
        (draw(st.sampled_from(kinds)), *draw(st.lists(wording, min_size=1, max_size=8)))
    )
    before = draw(st.sampled_from(["", f"Each is labelled {listed}.\n"]))
    context = _written(draw(st.sampled_from(FORMS)), before, names, rows)
    return Case(context, clean(question), [*names, *labels])


FORMS = ["json", "json", "objects", "pairs", "pairs", "csv", "text", "empty"]


def _written(form: str, before: str, names: list[str], rows: list[tuple[Any, ...]]) -> Any:
    objects = [json.dumps(dict(zip(names, row, strict=True))) for row in rows]
    match form:
        case "objects":
            return [json.loads(one.replace("\\ud", "?")) for one in objects]
        case "json":
            lines = objects
        case "pairs":
            lines = [
                " || ".join(f"{name}: {value}" for name, value in zip(names, row, strict=True))
                for row in rows
            ]
        case "csv":
            lines = [",".join(map(str, row)) for row in (names, *rows)]
        case "text":
            lines = [str(value) for row in rows for value in row]
        case _:
            lines = ["{}"] * len(rows)
    return clean(before + "\n".join(lines)) or "."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


def admitted(schema: dict[str, Any], case: Case) -> st.SearchStrategy[Any]:
    """What the grammar of a plan lets a root write."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "object":
            fields = schema["properties"].items()
            return st.fixed_dictionaries({name: admitted(one, case) for name, one in fields})
        case "array":
            return st.lists(admitted(schema["items"], case), max_size=4)
        case "string":
            return st.sampled_from([*case.names, *case.question.split(), case.question]) | NAMES
    raise AssertionError(schema)


class Bridge:
    """The host's side of the sandbox, with a model that says what it was made to say."""

    def __init__(self, says: list[Any]) -> None:
        self.says = says
        self.asked = 0
        self.answers: list[str] = []

    def call(self, op: str, params: dict[str, Any]) -> Any:
        json.dumps(params)
        self.asked += 1
        match op:
            case "llm_query":
                said = self.says[self.asked % len(self.says)]
                if params["choices"]:
                    return params["choices"][self.asked % len(params["choices"])]
                return [str(said)] if params["schema"] else str(said)
            case "answer":
                self.answers.append(params["content"])
                return {"missing": []}
            case "search":
                return {"passages": [], "note": "nothing"}
        raise AssertionError(op)

    def submit(self, op: str, params: dict[str, Any]) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(self.call(op, params))
        return future


class NothingFound(Exception):
    """`done` was given nothing, and did not take it."""


def _done(desk: Desk, value: Any) -> None:
    try:
        desk.done(value)
    except ValueError:
        raise NothingFound from None


def run(program: str, corpus: Corpus, layout: Layout, says: list[Any]) -> list[str]:
    """Run a program with the tools of a cell; the answers that it gave.

    A refusal of `done` to take an empty answer is an end too.
    """
    host = Bridge(says)
    bridge: Any = host
    names: dict[str, Any] = {}
    hints = {"speculate": False, "slice_tokens": 50, "chars_per_token": 3}
    opened = open_context(corpus.folder)
    queries = Queries(bridge, Rehearsal(bridge, hints))
    typed = Typed(queries)
    look = Look(opened, hints)
    names |= {
        "llm_query": queries.llm_query,
        "llm_map": typed.llm_map,
        "llm_classify": typed.llm_classify,
        "search": Search(bridge).search,
        "grep": look.grep,
        "slices": look.slices,
        "llm_list": Listing(typed, opened, look).llm_list,
        "records": Records(opened, Layout.from_dict(json.loads(json.dumps(layout.as_dict())))),
        "as_date": as_date,
        "as_number": as_number,
        "tally": tally,
        "group": group,
        "pairs": pairs,
        "done": partial(_done, Desk(bridge, names, set())),
        "print": lambda *some: [str(one) for one in some],
        "pwned": lambda *_: pytest.fail("a text has become code"),
    }
    with suppress(NothingFound):
        exec(compile(program, "<plan>", "exec"), names)
    return host.answers


# Names of the tools, of what they give and of what the programs make of it.
_LISTED = """
list records rows r d g as_date as_number n x key value told end each line items values max min
round default dict tied isoformat strftime month str casefold labels llm_classify tally
counts print compare shares sole groups leaders total most least each label zip group one other
sum all found len pairs done search grep hits within entries unread answer llm_map llm_list
join split slices some values task parts told shorter whole map summary llm_query
None True False
"""
VOCABULARY = frozenset(_LISTED.split())


def check(program: str) -> None:
    """That a program has no names but those that a plan writes, whatever its texts are."""
    program.encode()
    for node in ast.walk(ast.parse(program)):
        match node:
            case ast.Name(name) | ast.Attribute(attr=name) | ast.FunctionDef(name) | ast.arg(name):
                assert name in VOCABULARY, program
            case ast.keyword(name):
                assert name in {"by", "task", "schema", "k", "flags", "text", "max_tokens"} | {
                    "comma",
                    "day_first",
                    "default",
                }, program
            case ast.Import() | ast.ImportFrom() | ast.Lambda() | ast.JoinedStr():
                pytest.fail(program)


@given(cases(), st.data())
@examples(250)
def test_any_plan_is_a_program_that_ends(
    tmp_path_factory: pytest.TempPathFactory, case: Case, data: st.DataObject
) -> None:
    corpus = stage(case.context, tmp_path_factory.mktemp("any") / "context")
    layout = layout_of(corpus)
    told = card(corpus, layout, 1)
    told.encode()
    scene = Scene(case.question, told, corpus, layout)
    assert offered(scene)
    says = data.draw(st.lists(NAMES, min_size=1, max_size=3))
    for maker in MAKERS:
        schema = maker.schema(scene)
        filled: dict[str, Any] = {}
        if schema is not None:
            admits = admitted(schema, case)
            filled = data.draw(
                admits | st.dictionaries(st.sampled_from([*schema["properties"]]), JSON)
            )
        try:
            plan = maker.plan(scene, filled)
        except NoPlan:
            continue
        json.dumps(plan.as_dict())
        check(plan.program)
        run(plan.program, corpus, layout, says)


PLACES = ("date", "user", "kind", "text")
ASKED = [
    "How many are 'praise'?",
    "How many are 'praise' before 2021-02-11?",
    "How many of {user} 7 are 'praise'?",
    "Is 'praise' more common than 'bug report'?",
    "Is 'praise' more common before or after 2021-02-11?",
    "Which {user} has the most praise?",
    "Which {kind} is the most common?",
    "How often is {kind} 'A-1'?",
    "How many with a {kind} of A-1 are 'praise'?",
    "How many of the {user} 1, 2 are 'praise'?",
    "List all pairs of {user} where all praise is before 2021-02-11 and the other has none.",
    "In which month is 'praise' the most common?",
    "List all pairs of {user} where one has praise before 2021-02-11 and the other a bug report.",
]


@pytest.mark.parametrize("name", ["']; pwned(); ['", "x', pwned(), 'y", "\\", "{pwned()}", "a\nb"])
@pytest.mark.parametrize("place", PLACES)
def test_the_name_of_a_field_is_no_code_wherever_it_stands(
    tmp_path: Path, name: str, place: str
) -> None:
    called = {one: name if one == place else one for one in PLACES}
    rows = [
        {
            called["date"]: f"2021-02-{10 + number}",
            called["user"]: number % 3,
            called["kind"]: "AB"[number % 2] + "-1",
            called["text"]: f"a longer text of some words, the {number}th of them all",
        }
        for number in range(9)
    ]
    lines = "\n".join(map(json.dumps, rows))
    corpus = stage(f"The labels are 'praise' or 'bug report'.\n{lines}", tmp_path / "context")
    layout = layout_of(corpus)
    written = 0
    for asked in ASKED:
        scene = Scene(asked.format(**called), "", corpus, layout)
        for maker in (Count(), Pairs(), Find()):
            filled = {"per": called["kind"], "member": called["user"], "values": [name]}
            filled |= {"labels": ["praise", "bug report"], "one": "praise", "other": "bug report"}
            with suppress(NoPlan):
                plan = maker.plan(scene, filled)
                check(plan.program)
                written += repr(name) in plan.program
                run(plan.program, corpus, layout, [name])
    assert written


# Questions and lines on which patterns took exponential time, or grew with a power of the length.
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("before", "piece"),
    [
        ("labels: ", "a,"),
        ("labels:", " "),
        ("one of (", "a, "),
        ("", "a "),
        ("", ","),
        ("'a'", ",/"),
        ("", "before "),
        ("", "in 2021 "),
        ("", "before May "),
        ("praise ", " "),
        ("praise or", " "),
        ("praise", " , "),
        ("", "a."),
        ("1", "."),
        ("", " \n"),
        ("between 2020", " "),
        ("", "'praise' "),
        ("", "of a, "),
        ("all praise ", "before "),
        ("praise", " three times"),
        ("x", " | "),
        ("pairs where praise", "; "),
        ("", "and "),
        ("above ", "1,"),
        ("", "above 1 "),
        ("between 1 and ", "1 "),
        ("have? How often is ", "the "),
        ("have? How often is the ", "a, "),
        ("are there? ", "How many chapters "),
        ("", "unit_"),
        ("not ", "Number7 "),
    ],
)
@pytest.mark.parametrize("tail", ["!", " praise and"])
def test_no_question_takes_long(shop: Scene, before: str, piece: str, tail: str) -> None:
    size = 15_000 if "2021" in piece else 100_000
    asked = f"How many pairs {before}{piece * (size // len(piece))}{tail}"
    scene = replace(shop, question=asked)
    for maker in MAKERS:
        maker.schema(scene)
        with suppress(NoPlan):
            maker.plan(
                scene, {"labels": ["praise"], "member": "User", "one": asked, "other": asked}
            )
    assert offered(scene)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A question over records with a date, a user and a text."""
    rows = (f"Date: 2021-02-0{1 + n} || User: {n % 3} || Text: it was {n} times" for n in range(9))
    corpus = stage("\n".join(rows), tmp_path_factory.mktemp("shop") / "context")
    return Scene("How many?", "", corpus, layout_of(corpus))


def scene_of(folder: Path, question: str, context: Any) -> Scene:
    corpus = stage(context, folder / "context")
    layout = layout_of(corpus)
    return Scene(question, card(corpus, layout, 1), corpus, layout)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "line", ["9" * 60_000 + "x", " " * 60_000 + '"x'], ids=["digits", "blanks"]
)
def test_no_line_takes_long(tmp_path: Path, line: str) -> None:
    layout_of(stage("\n".join([f"a: 1 || b: {line}", "a: 1 || b: 2"] * 9), tmp_path / "pairs"))
    layout_of(stage("\n".join([line] * 9), tmp_path / "lines"))


def test_a_very_long_question_is_a_search(shop: Scene) -> None:
    assert "count" in offered(replace(shop, question="How many users are most common?"))
    asked = "How many users are most common?" + " It goes on." * 2_000
    assert offered(replace(shop, question=asked)) == ("find",)


def test_the_choices_of_a_plan_are_bounded(tmp_path: Path) -> None:
    rows = [{f"field{n}": n for n in range(3_000)} | {"x" * 5_000: 1, "\ud800": 2}] * 3
    context = "\n".join(map(json.dumps, rows))
    scene = scene_of(tmp_path, "How many have field400?", context)
    assert len(scene.card) < 3_000
    for maker, name in ((Count(), "per"), (Pairs(), "member")):
        offers = maker.schema(scene)["properties"][name]["enum"]
        assert len(offers) < 70
        assert "field400" in offers
        assert max(map(len, offers)) < 300
    scene = scene_of(tmp_path / "2", "How many?", json.dumps({"\ud800": 1, "x" * 5_000: 2}))
    scene.card.encode()
    assert scene.fields == ()


def test_no_choice_of_a_plan_comes_twice(tmp_path: Path) -> None:
    scene = scene_of(tmp_path, "How many?", '{"month": 1, "none": 2}\n' * 9)
    for maker, name in ((Count(), "per"), (Pairs(), "member")):
        offers = maker.schema(scene)["properties"][name]["enum"]
        assert len(offers) == len(set(offers))


def counted(folder: Path, question: str, context: Any, says: list[Any], **filled: Any) -> str:
    """The program of a count; it has to run."""
    scene = scene_of(folder, question, context)
    plan = Count().plan(scene, {"labels": [], "values": [], "per": "none"} | filled)
    run(plan.program, scene.corpus, scene.layout, says)
    return plan.program


def test_texts_that_are_null_are_counted(tmp_path: Path) -> None:
    said = [f"The {n}. of them came to us at once." if n % 3 else None for n in range(9)]
    context = "\n".join(json.dumps({"id": n, "said": one}) for n, one in enumerate(said))
    program = counted(tmp_path, "How many are sad?", context, ["sad"], labels=["sad"])
    assert "llm_classify([r['said'] or '' for r in rows], ['sad', 'other'])" in program


def test_labels_are_two_at_least(tmp_path: Path) -> None:
    context = "\n".join(f"Date: 2021-02-0{1 + n} || Text: it was {n} of it" for n in range(9))
    program = counted(tmp_path, "How many are other?", context, ["x"], labels=["other"])
    assert "['other', 'none of these']" in program
    program = counted(tmp_path / "2", "How many of label 'bad', 'bad' are bad?", context, ["x"])
    assert "['bad', 'other']" in program


def test_numbers_that_nothing_has(tmp_path: Path) -> None:
    assert number_of("9" * 5_000) is None
    assert number_of("1,000") == 1_000


def test_keys_that_no_dict_holds_are_told_apart() -> None:
    rows = [{"k": [1]}, {"k": [1]}, {"k": {"a": 1}}, {"k": None}]
    assert {key: len(some) for key, some in group(rows, "k").items()} == {
        None: 1,
        "[1]": 2,
        "{'a': 1}": 1,
    }
    assert len(tally(["a", "b"], by=[[1], [2]]).groups) == 2


def test_keys_of_thousands_of_digits_have_an_order() -> None:
    long = "9" * 5_000
    assert in_order([long, "10", "9", None, "a\u00b2"])[1:] == ["9", "10", long, "a\u00b2"]


def test_a_record_without_a_date_lies_on_no_side(tmp_path: Path) -> None:
    days = ["2021-02-01"] * 30 + ["soon"]
    context = "\n".join(
        f"Date: {day} || User: {n % 2 if day != 'soon' else 5} || Kind: red || Text: it was so {n}"
        for n, day in enumerate(days)
    )
    asked = "List all pairs of users where both have a red, and all red must be after 2020-01-01."
    scene = scene_of(tmp_path, asked, context)
    plan = Pairs().plan(scene, {"member": "User", "labels": ["red"], "one": "", "other": ""})
    assert run(plan.program, scene.corpus, scene.layout, ["x"]) == ["(0, 1)"]


def test_a_terminal_is_given_no_commands(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b]52;c;YQ==\x07b\r\nc\rd\x9b2J\x7f\te"
    completion = Completion(
        answer=hostile,
        complete=True,
        citations=(Citation("x\x1b[2J", 1, hostile),),
        usage={"root": Usage(model="a"), "sub": Usage(model="b")},
        turns=1,
        seconds=0.5,
        run_dir=Path("runs"),
        sandbox="bwrap",
    )
    for terminal in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            for stream in (sys.stdout, sys.stderr):
                patch.setattr(stream, "isatty", lambda terminal=terminal: terminal)
            show(completion)
            text = as_json(completion)
        printed, told = capsys.readouterr()
        assert json.loads(text)["answer"] == hostile
        if terminal:
            assert printed == "a\\x1b]52;c;YQ==\\x07b\nc\\x0dd\\x9b2J\\x7f\te\n"
        else:
            assert printed == f"{hostile}\n"
        assert commands(printed) is not terminal
        assert commands(told) is not terminal
        assert commands(text) is not terminal
