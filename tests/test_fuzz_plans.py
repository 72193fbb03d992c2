"""Plan mode under any context, question and plan: the program is sound, and runs to an end."""

from __future__ import annotations

import ast
import json
import re
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from outcore.engine.card import card
from outcore.engine.corpus import Corpus, stage
from outcore.engine.layout import layout_of
from outcore.engine.plans.count import Count
from outcore.engine.plans.find import Find
from outcore.engine.plans.gather import Gather, Summarize
from outcore.engine.plans.pairs import Pairs
from outcore.engine.plans.plan import NoPlan
from outcore.engine.plans.planner import offered
from outcore.engine.plans.scene import Scene
from outcore.kernel_sandbox.inside.answer import Desk
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.dates import as_date
from outcore.kernel_sandbox.inside.layout import Layout
from outcore.kernel_sandbox.inside.look import Look
from outcore.kernel_sandbox.inside.pairing import group, pairs
from outcore.kernel_sandbox.inside.queries import Queries
from outcore.kernel_sandbox.inside.record_list import Records
from outcore.kernel_sandbox.inside.rehearsal import Rehearsal
from outcore.kernel_sandbox.inside.search import Search
from outcore.kernel_sandbox.inside.tally import tally
from outcore.kernel_sandbox.inside.texts import clean
from outcore.kernel_sandbox.inside.typed import Typed
from outcore.models.typed import Shape

if TYPE_CHECKING:
    from pathlib import Path

MAKERS = (Find(), Count(), Pairs(), Gather(), Summarize())
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
        st.lists(st.tuples(*((one | VALUES if odd else one) for one in columns)), min_size=1, max_size=9)
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


def run(program: str, corpus: Corpus, layout: Layout, says: list[Any]) -> list[str]:
    """Run a program with the tools of a cell; the answers that it gave.

    A refusal of `done` to take an empty answer is an end too.
    """
    bridge: Any = Bridge(says)
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
        "records": Records(opened, Layout.from_dict(json.loads(json.dumps(layout.as_dict())))),
        "as_date": as_date,
        "tally": tally,
        "group": group,
        "pairs": pairs,
        "done": Desk(bridge, names, set()).done,
        "print": lambda *some: [str(one) for one in some],
        "pwned": lambda *_: pytest.fail("a text has become code"),
    }
    try:
        exec(compile(program, "<plan>", "exec"), names)
    except ValueError as error:
        assert "the answer is empty" in str(error), program
    return bridge.answers


# Names of the tools, of what they give and of what the programs make of it.
VOCABULARY = frozenset(
    """
    list records rows r d g as_date isoformat strftime month str casefold labels llm_classify tally
    counts print compare shares sole groups leaders total most least each label zip group one other
    sum all found len pairs done search grep hits within entries llm_map join split pieces slices
    lists piece some strip setdefault values task parts told shorter whole map summary llm_query
    None True False
    """.split()
)


def check(program: str) -> None:
    """That a program has no names but those that a plan writes, whatever its texts are."""
    program.encode()
    for node in ast.walk(ast.parse(program)):
        match node:
            case ast.Name(name) | ast.Attribute(attr=name) | ast.FunctionDef(name) | ast.arg(name):
                assert name in VOCABULARY, program
            case ast.keyword(name):
                assert name in {"by", "task", "schema", "k", "flags", "text", "max_tokens"} | {
                    "day_first"
                }, program
            case ast.Import() | ast.ImportFrom() | ast.Lambda() | ast.JoinedStr():
                pytest.fail(program)


@given(cases(), st.data())
@examples(600)
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
        filled = {}
        if schema is not None:
            admits = admitted(schema, case)
            filled = data.draw(admits | st.dictionaries(st.sampled_from([*schema["properties"]]), JSON))
        try:
            plan = maker.plan(scene, filled)
        except NoPlan:
            continue
        json.dumps(plan.as_dict())
        check(plan.program)
        run(plan.program, corpus, layout, says)
