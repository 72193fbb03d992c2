"""Replies of any kind: none raises, none takes long, and a block comes out as it was written."""

from __future__ import annotations

import ast

import pytest
from fuzzing import examples, mutated, rounds
from hypothesis import given
from hypothesis import strategies as st

from outcore.engine.reply import parse_reply
from outcore.engine.source_code import syntax_error

PIECES = st.sampled_from(
    [
        "```",
        "````",
        "~~~",
        "```python",
        "```repl\n",
        "```json\n",
        "\n",
        "\r\n",
        "\u2028",
        "\x00",
        "\ud800",
        "x = 1\n",
        "print('a')\n",
        ">>> x\n",
        "<think>",
        "</think>",
        "<think>\n",
        "<|im_start|>assistant\n",
        "<|im_end|>",
        "</s>",
        "FINAL(",
        "FINAL_VAR(",
        ")",
        "((((",
        '"""',
        "'",
        "\\",
        "#",
        "    ",
        "\t",
    ]
)
OPENING = "```repl\n"
ANYTHING = st.lists(PIECES | st.text(max_size=8), max_size=40).map("".join)
NAMES = st.sampled_from(["x", "answer", "rows", "caf\u00e9"])
# What stands in a string of the code is written by repr, so that no fence in it begins a line.
EXPRESSIONS = (
    st.text(max_size=20).map(repr)
    | st.integers().map(str)
    | NAMES.map("print({})".format)
    | st.just("[n for n in range(3)]")
)
LINES = (
    st.tuples(NAMES, EXPRESSIONS).map(" = ".join)
    | EXPRESSIONS
    | st.just("for n in range(3):\n    print(n)\n    # a remark")
    | st.just("def f(a):\n    return a\n")
    | st.just("with open('x') as f:\n    pass")
)
CODE = st.lists(LINES, min_size=1, max_size=6).map("\n".join)
PROSE = st.sampled_from(["", "Let me look.\n\n", "First, I search.\nThen I print.\n"])


@given(ANYTHING, st.booleans())
@examples(300)
def test_no_text_raises(text: str, started: bool) -> None:
    reply = parse_reply(text, opening=OPENING if started else "")
    assert (reply.syntax_error is None) == (reply.code is None or syntax_error(reply.code) is None)


@given(CODE, st.sampled_from(["repl", "python", "py", ""]), PROSE, st.sampled_from(["```", "~~~"]))
@examples(150)
def test_a_well_formed_block_comes_out_as_it_was_written(
    code: str, language: str, prose: str, fence: str
) -> None:
    ast.parse(code)
    code = f"x = 0\n{code}"  # so that no block without a language is taken for prose
    reply = parse_reply(f"{prose}{fence}{language}\n{code}\n{fence}\nDone.")
    assert reply.code == code.strip("\n")
    assert reply.syntax_error is None
    assert reply.extra_blocks == 0
    started = parse_reply(f"{code}\n```\nDone.", opening=OPENING)
    assert started.code == code.strip("\n")


@given(st.text(alphabet="thoug \n", max_size=30), CODE, st.sampled_from(["", "\n", " \n\n"]))
@examples(60)
def test_thoughts_take_no_code_with_them(thought: str, code: str, before: str) -> None:
    text = f"{before}<think>{thought}</think>\n```repl\nx = 0\n{code}\n```"
    assert parse_reply(text).code == f"x = 0\n{code}".strip("\n")


def test_spoilt_replies() -> None:
    whole = (
        b"<think>\nIt says so.\n</think>\nI look.\n\n```repl\nfor hit in grep('a'):\n    "
        b"print(hit)\ndone('16', quotes=[\"it's\"])\n```\nFINAL(16)<|im_end|>\n"
    )
    for chance in rounds(400):
        text = mutated(chance, whole).decode("utf-8", chance.choice(["replace", "surrogateescape"]))
        parse_reply(text, opening=chance.choice(["", OPENING]))


# Each is gone through a fixed number of times; with the square of their length it would be hours.
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "x\n" + "<think>x\n" * 50_000,
        "x\n" + "  <think> \t x\n" * 50_000,
        "</think>" * 50_000,
        "`" * 400_000,
        "a ``` b\n" * 50_000,
        " " * 400_000 + "~~~",
        "FINAL(" * 50_000,
        "FINAL(" + "(" * 200_000,
        ">" * 400_000 + "FINAL",
        "```python\n" + "[" * 200_000,
        "```python\n" + "-" * 200_000 + "1\n```",
        "```python\nx = " + "1+" * 20_000 + "1\n```",
        "```python\n" + '"""\n' * 20_000,
        "```python\nprint(1\n" + "x\n" * 50_000 + "```",
        "```python\nx=1" + (" ```" + " " * 50) * 5_000 + "y",
        "<|im_end|>" * 50_000,
        "\n" * 400_000 + "<think>",
        "x = " + "9" * 200_000,
    ],
    ids=lambda text: text[:16],
)
def test_long_replies_end(text: str) -> None:
    for started in (False, True):
        parse_reply(text, opening=OPENING if started else "")
