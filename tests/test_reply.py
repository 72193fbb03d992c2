from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcore.engine.reply import Final, parse_reply
from outcore.engine.source_code import repaired, syntax_error

CELL = "hits = search('captain')\nprint(hits)"

FENCED = {
    "repl": f"```repl\n{CELL}\n```",
    "python": f"Let me look.\n\n```python\n{CELL}\n```\nThen I will see.",
    "py": f"```py\n{CELL}\n```",
    "any case": f"```Python\n{CELL}\n```",
    "upper case": f"```REPL\n{CELL}\n```",
    "bare": f"I search.\n```\n{CELL}\n```",
    "trailing info": f'```python title="look"\n{CELL}\n```',
    "braces": f"```{{python}}\n{CELL}\n```",
    "space before the language": f"``` python\n{CELL}\n```",
    "tildes": f"~~~python\n{CELL}\n~~~",
    "four backticks": f"````repl\n{CELL}\n````",
    "unclosed": f"I search.\n```repl\n{CELL}",
    "unclosed with a line end": f"```repl\n{CELL}\n",
    "indented": "1. Search:\n\n   ```python\n   hits = search('captain')\n   print(hits)\n   ```\n",
    "after prose on its line": f"I will run this: ```python\n{CELL}\n```",
    "closed on the last line of code": f"```python\n{CELL}```",
    "closed, prose on that line": f"```python\n{CELL}\n``` That finds him.",
    "code on the line of the fence": "```repl hits = search('captain')\nprint(hits)\n```",
    "code right after the fence": "```hits = search('captain')\nprint(hits)\n```",
    "carriage returns": f"```repl\r\n{CELL}\r\n```\r\n",
    "end of turn": f"```repl\n{CELL}\n```<|im_end|>",
    "end of turn in an unclosed fence": f"```repl\n{CELL}<|im_end|>\n<|im_start|>user\nNo.",
    "start of turn": f"<|im_start|>assistant\n```repl\n{CELL}\n```",
    "after thinking": f"<think>\n```python\nwrong()\n```\n</think>\n```repl\n{CELL}\n```",
    "after thinking, untagged": f"hm\n```repl\nno()\n```\n</think>\n```repl\n{CELL}\n```",
    "after output of its own": f"```output\n3\n```\n```repl\n{CELL}\n```",
    "after JSON": f'```json\n{{"a": 1}}\n```\n```repl\n{CELL}\n```',
    "after bare output": f"```\nnothing here\n```\n```repl\n{CELL}\n```",
    "empty one first": f"```repl\n```\n```repl\n{CELL}\n```",
    "stray language line": f"```\npython\n{CELL}\n```",
    "no fence": CELL,
    "no fence, blank lines around": f"\n\n{CELL}\n",
    "prompts": "```python\n>>> hits = search('captain')\n>>> print(hits)\n[...]\n```",
    "typographic quotes": "```python\nhits = search(\u2018captain\u2019)\nprint(hits)\n```",
    "stray backticks": f"```python\n`\n{CELL}\n`\n```",
    "first line not indented": "```python\nhits = search('captain')\n    print(hits)\n```",
    "no-break spaces": "```python\nhits\u00a0= search('captain')\nprint(hits)\n```",
}


@pytest.mark.parametrize("text", FENCED.values(), ids=FENCED.keys())
def test_finds_the_cell_however_it_is_fenced(text: str) -> None:
    reply = parse_reply(text)
    assert reply.code is not None
    assert ast.dump(ast.parse(reply.code)) == ast.dump(ast.parse(CELL))
    assert reply.syntax_error is None
    assert reply.extra_blocks == 0


OPENINGS = ["```python\n", "```repl\n", "```python\n# The output shows that"]


@pytest.mark.parametrize("opening", OPENINGS[:2])
@pytest.mark.parametrize(
    "text",
    [
        f"{CELL}\n```",
        f"{CELL}\n```\nThis finds him.",
        CELL,
        f"{CELL}\n```<|im_end|>",
        f"```python\n{CELL}\n```",
        f"Let me look.\n```python\n{CELL}\n```",
        f"python\n{CELL}\n```",
        f"<think>hm</think>\n{CELL}\n```",
    ],
)
def test_reads_a_reply_that_was_started_in_a_fence(text: str, opening: str) -> None:
    reply = parse_reply(text, opening=opening)
    assert reply.code == CELL
    assert reply.syntax_error is None


def test_a_reply_that_begins_again_is_read_from_its_own_fence() -> None:
    text = f" he knew.\n```python\n{CELL}\n```"
    assert parse_reply(text, opening=OPENINGS[2]).code == CELL


@pytest.mark.parametrize(
    "code",
    [
        'text = """\n```python\nx = 1\n```\n"""\nprint(text)',
        "parts = re.findall(r'```(.*?)```', context)\nprint(parts)",
        'p = "```json"\nq = f"""Answer in\n```json\n{x}\n```\n"""\nllm_query(p + q)',
        "x = 1  # ends with ```\nprint(x)",
        "print('<think>', '</think>')",
        'tag = "<|im_end|>"\nprint(tag)',
    ],
)
def test_what_stands_in_a_string_ends_nothing(code: str) -> None:
    assert parse_reply(f"Look:\n```python\n{code}\n```\nDone.").code == code
    assert parse_reply(f"```python\n{code}").code == code


def test_the_first_of_several_blocks_counts() -> None:
    reply = parse_reply("A\n```repl\na = 1\n```\nB\n```python\nb = 2\n```\n```\nc = f()\n```\nC")
    assert reply.code == "a = 1"
    assert reply.extra_blocks == 2
    assert reply.thought == "A\n\nB\n\nC"


def test_a_fence_that_was_not_closed_ends_at_the_next() -> None:
    reply = parse_reply("```repl\na = 1\n\n```python\nb = 2\n```")
    assert reply.code == "a = 1"
    assert reply.extra_blocks == 1


@pytest.mark.parametrize(
    ("text", "thought"),
    [
        ("The captain was betrayed by Pip.", "The captain was betrayed by Pip."),
        ("<think>I could run\n```repl\nx()\n```", ""),
        ("<think>hm</think>\nIt was Pip.", "It was Pip."),
        ("hm, hm\n</think>\nIt was Pip.", "It was Pip."),
        ("It was Pip.\n<think>\nor not", "It was Pip."),
        ("Paris (France)", "Paris (France)"),
        ("42", "42"),
        ("Result: 5", "Result: 5"),
        ("", ""),
        ("```", ""),
        ("```json\n{}\n```", ""),
    ],
)
def test_a_reply_without_code(text: str, thought: str) -> None:
    reply = parse_reply(text)
    assert reply.code is None
    assert reply.thought == thought
    assert reply.syntax_error is None


@pytest.mark.parametrize(
    ("text", "final"),
    [
        ("FINAL(Pip)", Final("Pip", False)),
        ('FINAL("Pip, the cabin boy")', Final("Pip, the cabin boy", False)),
        ("I am done.\nFINAL(It was Pip (a boy) and no one else)", None),
        ("FINAL(He left :) and won)", Final("He left :) and won", False)),
        ("FINAL(two\nlines)", Final("two\nlines", False)),
        ("**FINAL(Pip)**", Final("Pip", False)),
        ("FINAL(cut off", Final("cut off", False)),
        ("FINAL_VAR(result)", Final("result", True)),
        ('FINAL_VAR("result")', Final("result", True)),
        ("FINAL_VAR('result').", Final("result", True)),
        ("FINAL_VAR(not a name)", Final("not a name", False)),
        ("I would call FINAL(x) later", "nothing"),
        ("<think>\nFINAL(no)\n</think>\nFINAL(yes)", Final("yes", False)),
    ],
)
def test_an_answer_outside_of_code(text: str, final: object) -> None:
    expected = Final("It was Pip (a boy) and no one else", False) if final is None else final
    reply = parse_reply(text)
    assert reply.final == (None if expected == "nothing" else expected)
    assert reply.code is None


def test_final_in_code_is_the_code_s_own_affair() -> None:
    reply = parse_reply("```repl\nx = 'Pip'\nFINAL(x)\n```")
    assert reply.final is None
    assert reply.code == "x = 'Pip'\nFINAL(x)"
    assert parse_reply("x = 'Pip'\nFINAL(x)").code == "x = 'Pip'\nFINAL(x)"


def test_an_answer_after_a_block_is_kept_beside_it() -> None:
    reply = parse_reply("```repl\nx = 1\n```\nFINAL_VAR(x)")
    assert (reply.code, reply.final) == ("x = 1", Final("x", True))


def test_tells_where_code_is_broken() -> None:
    reply = parse_reply("```repl\nx = 1\nfor y in x\n    print(y)\n```")
    assert reply.code == "x = 1\nfor y in x\n    print(y)"
    assert reply.syntax_error == "line 2: expected ':'\n    for y in x"


@pytest.mark.parametrize("code", ["return 1", "x = 'a\x00'", "x = '\ud800'", "(" * 5_000, "!ls"])
def test_whatever_can_not_run_has_a_reason(code: str) -> None:
    assert syntax_error(code)


def test_await_may_stand_at_the_top() -> None:
    assert syntax_error("x = await allm_query('a')") is None


@pytest.mark.parametrize("code", ["print 'a'", "if x\n  y()", "x = [1, 2", "for"])
def test_a_repair_that_is_in_doubt_is_not_made(code: str) -> None:
    assert repaired(code) == code


def test_code_that_runs_is_never_changed() -> None:
    code = "\n\nx = 'it\u2019s'  # `here`\n\n\n"
    assert repaired(code) == code


TOKENS = st.sampled_from(
    [
        "```",
        "~~~",
        "```python",
        "\n",
        "x = 1",
        "<think>",
        "</think>",
        "FINAL(",
        ")",
        '"""',
        "a",
        " ",
    ]
)


@given(st.lists(TOKENS | st.text(max_size=5), max_size=25).map("".join), st.sampled_from(OPENINGS))
def test_no_reply_breaks_it(text: str, opening: str) -> None:
    reply = parse_reply(text, opening=opening)
    assert (reply.syntax_error is None) == (reply.code is None or syntax_error(reply.code) is None)


def test_a_long_reply_is_read_quickly() -> None:
    many = "```python\nprint('a'\n```\n" * 2_000
    assert parse_reply(many).extra_blocks == 1_999
    assert parse_reply("(" * 100_000).code is None
    assert parse_reply("FINAL(" + ")a" * 100_000).final is not None
