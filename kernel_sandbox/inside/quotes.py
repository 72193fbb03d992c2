"""Values of CSV that hold line ends: several lines that are one record."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from .lines import Line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .shapes import Parse
    from .text import Text

# A quote that is not closed within so many lines, or characters, opens no value.
_LINES = 1_000
_CHARS = 1 << 20


def joined(source: Iterator[Line], text: str | Text, parse: Parse, early: int) -> Iterator[Line]:
    """Lines, those that one quoted value spans made one where that is a record.

    Args:
        source: the lines of `text`.
        text: the text.
        parse: reads a record, or says that it is none.
        early: character before which nothing is joined.
    """
    ahead: deque[Line] = deque()
    while (line := ahead.popleft() if ahead else next(source, None)) is not None:
        if line.offset < early or line.text.count('"') % 2 == 0:
            yield line
            continue
        count = _closing(line, ahead, source)
        last = ahead[count - 1] if count else line
        whole = str(text[line.offset : last.offset + len(last.text)])
        if count and parse(whole) is not None:
            for _ in range(count):
                ahead.popleft()
            line = Line(line.offset, whole, last.end, whole=True)
        yield line


def _closing(first: Line, ahead: deque[Line], source: Iterator[Line]) -> int:
    """How many lines on the quote that `first` opens is closed; 0 where it is not."""
    for count in range(1, _LINES):
        if len(ahead) < count:
            ahead.extend(islice(source, 1))
        if len(ahead) < count or ahead[count - 1].end - first.offset > _CHARS:
            return 0
        if ahead[count - 1].text.count('"') % 2:
            return count
    return 0
