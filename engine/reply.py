"""One reply of the root: the cell it wants run, or the answer it gives in words."""

from __future__ import annotations

import ast
import re
from bisect import bisect_left
from dataclasses import dataclass

from outcore.engine.fences import Block, blocks
from outcore.engine.source_code import blank, is_code, syntax_error

_TURN_ENDS = re.compile(
    r"(?:<\|(?:im_end|eot_id|eom_id|end_of_text|endoftext|end|return)\|>|</s>|<end_of_turn>"
    r"|<\uff5cend\u2581of\u2581sentence\uff5c>)[ \t]*(?:\n|$)"
)
_TURN_STARTS = re.compile(r"\s*<\|im_start\|>\s*assistant[ \t]*\n?")
_THOUGHT_STARTS = re.compile(r"(?:\A\s*|^[ \t]*)<think(?:ing)?>(?P<alone>[ \t]*\n)?", re.MULTILINE)
_THOUGHT_CLOSES = re.compile(r"</think(?:ing)?>")
# Not in quotes, as in code that handles such tags.
_THOUGHT_ENDS = re.compile(r"(?<![\"'`|*/])</think(?:ing)?>(?![\"'`|])")
_LINE_ENDS = re.compile(r"[ \t]*[*_.`]*[ \t]*(?:\n|$)")
_FINAL = re.compile(r"^[ \t>*_#]*(?P<name>FINAL_VAR|FINAL)\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Final:
    """An answer given outside of code, as roots trained on rlms give it.

    Attributes:
        text: the answer, or the name of the variable that holds it.
        variable: whether it is a variable's name.
    """

    text: str
    variable: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply holds.

    Attributes:
        code: the first block of Python, mended where a slip left no doubt; None without one.
        thought: the prose around the blocks, without what is marked as thinking.
        extra_blocks: further blocks of Python, which are not to be run.
        final: the answer, where one is given outside of code.
        syntax_error: why `code` can't run: line, message and the line itself.
    """

    code: str | None
    thought: str
    extra_blocks: int = 0
    final: Final | None = None
    syntax_error: str | None = None


def parse_reply(text: str, *, opening: str = "") -> Reply:
    """Read a reply, however its fences were written; it never raises.

    Args:
        text: what the model wrote.
        opening: what the reply was begun with for the model, an opening fence say; `text` goes
            on from there, or begins again with a fence of its own.
    """
    whole = _parsed(_spoken(opening + text))
    if opening and (whole.code is None or whole.syntax_error is not None or blank(whole.code)):
        alone = _parsed(_spoken(text))
        if alone.code is not None and alone.syntax_error is None and not blank(alone.code):
            return alone
    return whole


def _parsed(text: str) -> Reply:
    found = list(blocks(text))
    filled = [block for block in found if block.code.strip()]
    python = [block for block in filled if block.is_python or _bare_code(block)]
    python = python or [block for block in filled if not block.language][:1]
    prose = _outside(text, found)
    final = _final(prose)
    if python:
        code = python[0].code.strip("\n")
        return Reply(code, prose, len(python) - 1, final, syntax_error(code))
    if is_code(text) and not _is_final(text):
        return Reply(text.strip("\n"), "")
    return Reply(None, prose, final=final)


def _bare_code(block: Block) -> bool:
    return not block.language and is_code(block.code)


def _spoken(text: str) -> str:
    """`text` without the template's own marks and without what is marked as thinking."""
    start = _TURN_STARTS.match(text)
    text = text[start.end() :] if start else text
    end = _TURN_ENDS.search(text)
    text = text[: end.start()] if end else text
    text = _without_thoughts(text)
    ends = list(_THOUGHT_ENDS.finditer(text))
    return text[ends[-1].end() :] if ends else text


def _without_thoughts(text: str) -> str:
    """`text` without thoughts that begin a line; one that is left open goes to the end.

    Where none closes, an opening amid the text must have its line to itself to count.
    """
    parts, at = [], 0
    closes = [found.end() for found in _THOUGHT_CLOSES.finditer(text)]
    for start in _THOUGHT_STARTS.finditer(text):
        if start.start() < at:
            continue
        close = bisect_left(closes, start.end() + 1)
        if close < len(closes):
            parts.append(text[at : start.start()])
            at = closes[close]
        elif start.start() == 0 or start["alone"]:
            return "".join([*parts, text[at : start.start()]])
    return "".join([*parts, text[at:]])


def _outside(text: str, found: list[Block]) -> str:
    parts, at = [], 0
    for block in found:
        parts.append(text[at : block.start].strip())
        at = block.end
    parts.append(text[at:].strip())
    return "\n\n".join(part for part in parts if part)


def _final(prose: str) -> Final | None:
    found = _FINAL.search(prose)
    if found is None:
        return None
    inner = _enclosed(prose[found.end() :]).strip()
    literal = _literal(inner)
    if found["name"] == "FINAL":
        return Final(literal if literal is not None else inner, variable=False)
    name = (literal if literal is not None else inner).strip()
    return Final(name, variable=True) if name.isidentifier() else Final(name, variable=False)


def _enclosed(text: str) -> str:
    """What stands before the parenthesis that closes one opened before `text`.

    Answers hold parentheses of their own, sometimes single ones; so the closing one must end
    its line, and where none fits, the last one closes.
    """
    depth = 1
    for at, char in enumerate(text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if depth == 0 and _LINE_ENDS.match(text, at + 1):
            return text[:at]
    last = text.rfind(")")
    return text[:last] if last >= 0 else text


def _literal(text: str) -> str | None:
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, str) else None


def _is_final(text: str) -> bool:
    """Whether code without a fence is a lone FINAL(...), which is an answer in words."""
    statements = ast.parse(text).body
    return len(statements) == 1 and _FINAL.match(text.lstrip()) is not None
