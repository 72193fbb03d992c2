"""A root's reply, read tolerantly: the one cell it asks for, or its final answer.

Roots write fences of every kind, several at a time, in thoughts, unclosed, or none at all.
What counts is the first block of code outside `<think>`; the rest is reported, not run.
"""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass

_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.S | re.I)
_THOUGHT_END = re.compile(r"\A.*</think(?:ing)?>", re.S | re.I)
_TEMPLATE_MARK = re.compile(r"<\|(?:im_start|im_end|endoftext|eot_id|end)\|>(?:assistant\n)?")
_OPEN = re.compile(r"^(?P<indent>[ \t]*)(?P<fence>`{3,}|~{3,})[ \t]*(?P<info>[^\n`]*)", re.M)
_INLINE = re.compile(r"(`{3,})[ \t]*(?:repl|python3?|py)\b[ \t]+([^\n]+?)\1", re.I)
_LANGUAGES = {"", "repl", "python", "python3", "py", "ipython", "pycon", "tool_code", "code"}
_FINAL = re.compile(r"^[ \t]*(FINAL|FINAL_VAR)\((.*)\)[ \t]*$", re.M | re.S)
_QUOTES = str.maketrans({"\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'"})


@dataclass(frozen=True, slots=True)
class Final:
    """An answer given in prose, as roots trained on rlms give it.

    Attributes:
        text: the answer, or the name of the variable that holds it.
        variable: whether it is such a name.
    """

    text: str
    variable: bool


@dataclass(frozen=True, slots=True)
class Reply:
    """What a reply says.

    Attributes:
        code: the cell to run, or None.
        thought: the prose beside it.
        extra_blocks: how many further blocks it held.
        final: an answer outside code, where there is no code.
        syntax_error: why the code can't run, with the line it is about; None if it can.
    """

    code: str | None
    thought: str
    extra_blocks: int = 0
    final: Final | None = None
    syntax_error: str | None = None


def parse_reply(text: str, *, started_in_fence: bool = False) -> Reply:
    """Read a reply.

    Args:
        text: what the root wrote.
        started_in_fence: whether the reply was begun for it inside a block of code.
    """
    text = _TEMPLATE_MARK.sub("", text)
    if started_in_fence:
        code, rest = _until_close(text, "```")
        return _cell(code, rest.strip(), len(_blocks(rest)[0]))
    text = _THOUGHT.sub("", text)
    text = _THOUGHT_END.sub("", text)
    blocks, prose = _blocks(text)
    if blocks:
        return _cell(blocks[0], prose.strip(), len(blocks) - 1)
    found = _FINAL.search(text)
    if found:
        return Reply(None, text[: found.start()].strip(), final=_final(found))
    if _is_bare_code(text):
        return _cell(text, "", 0)
    return Reply(None, text.strip())


def _cell(code: str, thought: str, extra: int) -> Reply:
    for candidate in _repairs(code):
        if candidate.strip() and _error(candidate) is None:
            return Reply(candidate.strip("\n"), thought, extra)
    code = code.strip("\n")
    if not code.strip():
        return Reply(None, thought, extra)
    return Reply(code, thought, extra, syntax_error=_error(code))


def _repairs(code: str) -> list[str]:
    """The code, and ways to read it that change nothing but how it is written down."""
    ways = [code, textwrap.dedent(code)]
    ways.append(re.sub(r"^[ \t]*(?:>>>|\.\.\.)[ ]?", "", code, flags=re.M))
    ways.append(re.sub(r"^[ \t]*`+[ \t]*$", "", code, flags=re.M))
    ways.append(code.translate(_QUOTES))
    return ways


def _error(code: str) -> str | None:
    """Why the code can't be parsed, or None."""
    try:
        # Cells may await at the top level.
        compile(code, "cell", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except SyntaxError as error:
        line = (error.text or "").strip()
        return f"{error.msg} (line {error.lineno}: {line[:120]})"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error)
    return None


def _blocks(text: str) -> tuple[list[str], str]:
    """The blocks of Python in a reply, and the prose around them."""
    blocks: list[str] = []
    prose: list[str] = []
    at = 0
    while True:
        inline = _INLINE.search(text, at)
        opened = _OPEN.search(text, at)
        if inline and (not opened or inline.start() <= opened.start()):
            prose.append(text[at : inline.start()])
            blocks.append(inline.group(2))
            at = inline.end()
            continue
        if not opened:
            break
        prose.append(text[at : opened.start()])
        words = opened["info"].split()
        language = words[0].lower().strip("{}.") if words else ""
        code, rest = _until_close(text[opened.end() :].removeprefix("\n"), opened["fence"])
        if language in _LANGUAGES:
            blocks.append(code)
        else:
            prose.append(code)
        text, at = rest, 0
    prose.append(text[at:])
    return blocks, "".join(prose)


def _until_close(text: str, fence: str) -> tuple[str, str]:
    """Code up to the fence that closes it, and what follows; all of it where none does.

    A fence inside a string of the code closes nothing: where the code up to the first fence
    can't be parsed, and up to a later one it can, the later one counts.
    """
    mark = rf"{re.escape(fence[0])}{{{len(fence)},}}[ \t]*"
    closes = list(re.finditer(rf"^[ \t]*{mark}$", text, re.M))
    last = re.search(rf"{mark}\Z", text)
    if not closes:
        if last:
            return text[: last.start()], ""
        return text, ""
    for close in closes:
        if _error(text[: close.start()]) is None:
            return text[: close.start()], text[close.end() :]
    return text[: closes[0].start()], text[closes[0].end() :]


def _final(found: re.Match[str]) -> Final:
    inside = found.group(2).strip()
    if found.group(1) == "FINAL_VAR":
        return Final(inside.strip("\"'` "), variable=True)
    try:
        value = ast.literal_eval(inside)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return Final(inside, variable=False)
    return Final(str(value), variable=False)


def _is_bare_code(text: str) -> bool:
    """Whether a reply without a fence is code: it parses, and it does something."""
    try:
        tree = ast.parse(text.strip("\n"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    acts = (ast.Call, ast.Assign, ast.AugAssign, ast.Import, ast.ImportFrom, ast.FunctionDef)
    return any(isinstance(node, acts) for node in ast.walk(tree))
