"""How results are printed and answers said."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from outcore.kernel_sandbox.inside.excerpts import Mark, excerpt, numbered
from outcore.kernel_sandbox.inside.hits import Part
from outcore.kernel_sandbox.inside.languages import definitions, is_code
from outcore.kernel_sandbox.inside.manual import Manual
from outcore.kernel_sandbox.inside.results import Results
from outcore.kernel_sandbox.inside.saying import as_answer
from outcore.kernel_sandbox.inside.tally import tally


def test_results_are_a_list_that_prints_a_cut() -> None:
    many = Results(f"answer {number}" for number in range(120))
    assert many == [f"answer {number}" for number in range(120)]
    assert json.loads(json.dumps(many)) == many
    assert pickle.loads(pickle.dumps(many)) == many
    shown = repr(many)
    assert shown.startswith("120 results:\n[0] 'answer 0'\n")
    assert "\n... 100 more, not printed ...\n" in shown
    assert shown.endswith("[119] 'answer 119'")
    assert repr(many[:2]) == "['answer 0', 'answer 1']"
    assert len(repr(Results(["x" * 9_000] * 3))) < 700


def test_results_stand_whole_in_a_prompt() -> None:
    many = Results(range(200))
    assert f"{many}" == repr(list(range(200)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, ""),
        ("as it is ", "as it is "),
        (3, "3"),
        (3.0, "3"),
        (0.1 + 0.2, "0.3"),
        (Decimal("1.50"), "1.50"),
        (True, "True"),
        (["b", "a"], "b\na"),
        (Results(["b", "a"]), "b\na"),
        ({"b", "a"}, "a\nb"),
        ({10, 9}, "9\n10"),
        ([("1", "2"), ("3", "4")], "(1, 2)\n(3, 4)"),
        (("Ann", 3.0), "Ann, 3"),
        ({"a": 1.0, 2: {"x"}}, '{"a": 1, "2": ["x"]}'),
        ([{"a": 1}], '[{"a": 1}]'),
        ({}.keys(), ""),
        ({"k": 1}.keys(), "k"),
        ((n for n in (1, 2)), "1\n2"),
        (Counter("a"), '{"a": 1}'),
        (b"\xff", "\ufffd"),
        (Part("text", "doc", 3), "text"),
        ([], ""),
    ],
)
def test_answers_are_said_in_plain_text(value: Any, said: str) -> None:
    assert as_answer(value) == said


def test_a_tally_is_said_as_it_prints() -> None:
    counts = tally(["a"])
    assert as_answer(counts) == repr(counts)


def test_an_excerpt_is_the_sentences_with_the_words() -> None:
    text = (
        "Nothing is said here. " * 20 + "The key is under the mat. " + "Words go on and on. " * 20
    )
    at = text.index("key")
    shown = excerpt(text, [Mark(0, at, at + 3, 2.0)])
    assert "The key is under the mat." in shown
    assert shown.startswith("... ")
    assert shown.endswith(" ...")
    assert len(shown) < 320
    assert excerpt("short", []) == "short"
    assert len(excerpt(text, [])) < 320


@given(
    st.lists(st.text("ab .\n", min_size=1, max_size=60), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 900), st.floats(0.1, 9)), max_size=12),
)
@example(pieces=["\n"] * 6, places=[])
def test_the_rarest_word_is_always_shown(
    pieces: list[str], places: list[tuple[int, int, float]]
) -> None:
    text = "".join(pieces) + "ab" * 60
    weights = {word: weight for word, _, weight in places}
    marks = [
        Mark(word, min(at, len(text) - 2), min(at, len(text) - 2) + 1, weights[word])
        for word, at, _ in places
    ]
    shown = excerpt(text, marks)
    assert len(shown) < 1_000
    assert numbered(text, marks, 1)
    if marks:
        at = max(marks, key=lambda one: one.weight).start
        marked = f"{text[:at]}\u25c6{text[at + 1 :]}"
        best = max(marks, key=lambda one: one.weight).word
        if sum(one.word == best for one in marks) == 1 and not text[at].isspace():
            assert "\u25c6" in excerpt(marked, marks)


def test_code_is_shown_in_whole_lines() -> None:
    code = "\n".join(f"line_{number} = {number}" for number in range(100))
    at = code.index("line_50 =")
    shown = numbered(code, [Mark(0, at, at + 7, 1.0)], 11)
    assert shown.splitlines()[:2] == ["60: line_49 = 49", "61: line_50 = 50"]


def test_what_lines_define() -> None:
    text = (
        "class Engine(Base):\n    LIMIT: int = 3\n    async def start(self):\n"
        "        self.port = 1\n"
        "export const size = 2\npub(crate) fn run() {\nfunc (s *Server) Serve() error {\n"
        "#define WIDTH 30\nstatic int cmp(const void *a) {\nname: outcore\nif x == y:\n    f(a=1)\n"
    )
    names = ["Engine", "LIMIT", "start", "port", "size", "run", "Serve", "WIDTH", "cmp", "name"]
    assert [one.name for one in definitions(text)] == names
    assert all(text[one.start : one.end] == one.name for one in definitions(text))
    assert [one.name for one in definitions(text) if not one.sure] == [
        "LIMIT",
        "port",
        "size",
        "name",
    ]


@pytest.mark.parametrize(
    ("name", "code"),
    [("a/b.py", True), ("Makefile", True), ("x.YAML", True), ("novel.txt", False), (3, False)],
)
def test_code_is_told_by_its_name(name: str | int, code: bool) -> None:
    assert is_code(name) is code


def test_help_prints_a_tool_without_its_types(capsys: pytest.CaptureFixture[str]) -> None:
    manual = Manual({"tally": tally})
    manual(tally)
    manual("tally")
    first, second = capsys.readouterr().out.split("tally(labels, by=None)\n\nCount labels")[1:]
    assert first == second
    manual()
    assert capsys.readouterr().out == "tally: Count labels, in all or by group.\n"
    manual(tally(["a"]))
    assert "t.compare" in capsys.readouterr().out
    manual(len)
    assert "built-in function len" in capsys.readouterr().out
