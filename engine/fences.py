"""Code fences, as models write them rather than as Markdown has them."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from outcore.engine.source_code import is_code, repaired, syntax_error

if TYPE_CHECKING:
    from collections.abc import Iterator

_LANGUAGES = frozenset(
    {
        "repl",
        "python",
        "py",
        "python3",
        "py3",
        "ipython",
        "ipython3",
        "jupyter",
        "pycon",
        "tool_code",
        "code",
    }
)
_OPEN = re.compile(r"(?P<fence>`{3,}|(?:^|(?<=\n))[ \t]*~{3,})(?P<info>[^\n]*)\n?")
_LANGUAGE = re.compile(r"[ \t]*\{?\.?(?P<word>[A-Za-z][\w+#-]*)\}?(?![\w(.=\[])")
_MOST_ENDS = 40


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        code: what it holds, repaired where that makes it run.
        start: where its opening fence begins in the reply.
        end: where the text after it begins.
        language: the word at the opening fence in lower case; "" where there is none.
    """

    code: str
    start: int
    end: int
    language: str

    @property
    def is_python(self) -> bool:
        """Whether its fence says that it is Python."""
        return self.language in _LANGUAGES


class _End(NamedTuple):
    body: int
    after: int


def blocks(text: str) -> Iterator[Block]:
    """The blocks in order, closed or not, empty ones among them."""
    at = 0
    while (opening := _OPEN.search(text, at)) is not None:
        block = _block(text, opening)
        yield block
        at = max(block.end, opening.start() + 1)


def _block(text: str, opening: re.Match[str]) -> Block:
    fence, info = opening["fence"].strip(), opening["info"]
    closing = info.find(fence)
    written = info if closing < 0 else info[:closing]
    language, rest = _language(written)
    if closing >= 0:
        # Opened and closed on one line.
        after = opening.start("info") + closing + len(fence)
        return Block(repaired(rest.strip()), opening.start(), after, language)
    start = opening.end()
    ends = _ends(text, start, fence)
    if language and language not in _LANGUAGES:
        return Block(text[start : ends[0].body], opening.start(), ends[0].after, language)
    first = _first_line(rest)
    for run in (ends, _tails(text, start, fence)):
        for end in run:
            code = first + text[start : end.body]
            error = syntax_error(code)
            if error is None:
                return Block(_without_language(code), opening.start(), end.after, language)
            # A fence within a string ends nothing. Whatever else is wrong stays so further on.
            if "triple-quoted" not in error:
                break
    code = repaired(_without_language(first + text[start : ends[0].body]))
    return Block(code, opening.start(), ends[0].after, language)


def _language(info: str) -> tuple[str, str]:
    """The language at an opening fence, in lower case, and what follows it."""
    found = _LANGUAGE.match(info)
    if found is None:
        return "", info
    language = found["word"].lower()
    # Code right after the fence: its first word is no language.
    if language not in _LANGUAGES and is_code(info.strip()):
        return "", info
    return language, info[found.end() :]


def _first_line(rest: str) -> str:
    """Code that stands on the line of the opening fence; attributes of it are no code."""
    rest = rest.strip()
    attribute = re.fullmatch(r"[\w-]+=\S+|\{.*\}", rest)
    return f"{rest}\n" if rest and attribute is None and (rest[0] == "#" or is_code(rest)) else ""


def _without_language(code: str) -> str:
    """`code` without a first line that names its language: it would be an unknown variable."""
    line, _, rest = code.lstrip().partition("\n")
    return rest if rest.strip() and line.strip().lower() in _LANGUAGES else code


def _ends(text: str, start: int, fence: str) -> list[_End]:
    """Where a block that starts at `start` may end: at the lines that begin with a fence."""
    mark = re.escape(fence[0])
    line = re.compile(rf"^[ \t]*{mark}{{{len(fence)},}}(?P<info>[^\n]*)\n?", re.MULTILINE)
    ends = []
    for found in islice(line.finditer(text, start), _MOST_ENDS):
        word = _LANGUAGE.match(found["info"])
        # A new opening fence ends a block that was not closed, and opens the next.
        opens = word is not None and word["word"].lower() in _LANGUAGES
        ends.append(_End(found.start(), found.start() if opens else found.start("info")))
    return [*ends, _End(len(text), len(text))]


def _tails(text: str, start: int, fence: str) -> list[_End]:
    """The ends of lines that hold code and then a fence."""
    mark = re.escape(fence[0])
    tail = re.compile(rf"{mark}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
    found = islice(tail.finditer(text, start), _MOST_ENDS)
    return [_End(one.start(), one.end()) for one in found]
