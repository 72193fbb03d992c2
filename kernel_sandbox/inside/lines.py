"""The lines of a text of any size, with where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .text import Text

# Held at a time; a window without a line end grows until it has the longest line.
_WINDOW = 1 << 17
LONGEST = 1 << 22


class Line(NamedTuple):
    """A line that is not blank.

    Attributes:
        offset: its first character, in the text.
        text: the line without its end, and without a byte order mark.
        end: first character after it and its end.
        whole: whether it is a line, or a part of one that is too long.
    """

    offset: int
    text: str
    end: int
    whole: bool


def lines(text: str | Text, start: int = 0) -> Iterator[Line]:
    """The lines that are not blank from character `start` on, where one begins.

    Lines end with `\\n` or `\\r\\n`. One of more than 4 million characters comes in parts.
    """
    at, size, length, whole = start, _WINDOW, len(text), True
    while at < length:
        window = str(text[at : at + size])
        last = at + len(window) >= length
        low = 0
        while (high := window.find("\n", low)) >= 0:
            line = window[low:high]
            if line and not _blank(line, at + low):
                yield _line(at + low, line, at + high + 1, whole=whole)
            low, whole = high + 1, True
        if last:
            if (line := window[low:]) and not _blank(line, at + low):
                yield _line(at + low, line, length, whole=whole)
            return
        if low == 0 and size < LONGEST:
            size = min(size * 8, LONGEST)
            continue
        if low == 0:
            whole, low = False, len(window)
            if not window.isspace():
                yield Line(at, window, at + low, whole=False)
        at, size = at + low, _WINDOW


def _blank(line: str, offset: int) -> bool:
    return line.isspace() or (offset == 0 and not line.removeprefix("\ufeff").strip())


def _line(offset: int, line: str, end: int, *, whole: bool) -> Line:
    if line[-1] == "\r":
        line = line[:-1]
    if offset == 0 and line[:1] == "\ufeff":
        return Line(1, line[1:], end, whole)
    return Line(offset, line, end, whole)
