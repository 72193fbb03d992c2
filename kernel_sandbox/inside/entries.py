"""A context line by line: each line a record or not, in order, nothing left out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .lines import lines
from .quotes import joined
from .shapes import object_of, parser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .corpus import Documents
    from .layout import Layout
    from .text import Text

Place = tuple[int, int]


class Entry(NamedTuple):
    """A line, or the lines of one record.

    Attributes:
        document: number of the document.
        offset: its first character there.
        text: as it stands there, without the line end.
        values: the fields of a record, or None where it is none.
        end: document and character where to go on reading.
    """

    document: int
    offset: int
    text: str
    values: dict[str, Any] | None
    end: Place


class Entries:
    """Reads a context by its layout.

    Args:
        documents: the texts.
        layout: how they are laid out.
    """

    def __init__(self, documents: Documents, layout: Layout) -> None:
        self.documents = documents
        self._shape = layout.shape
        self._start = layout.start
        self._parse = parser(layout.shape)
        self._held: tuple[int, str | Text] | None = None

    def read(self, place: Place = (0, 0)) -> Iterator[Entry]:
        """Entries from a place on: the context's start or the end of an entry."""
        first, offset = place
        for number in range(first, len(self.documents)):
            yield from self._read(number, offset)
            offset = 0

    def _read(self, number: int, offset: int) -> Iterator[Entry]:
        text = self._text(number)
        form = self._shape.form if self._shape else None
        if form == "documents":
            found = None if offset else _whole(number, text)
            if found is not None:
                value = self._parse(found.text)
                yield found._replace(values=value)
                return
        parse, start = self._parse, self._start
        early = start[1] if number == start[0] else len(text) if number < start[0] else 0
        source = lines(text, offset)
        if form == "csv":
            source = joined(source, text, parse, early)
        plain = form == "documents"
        for at, line, end, whole in source:
            values = None if plain or at < early or not whole else parse(line)
            yield Entry(number, at, line, values, (number, end))

    def _text(self, number: int) -> str | Text:
        # Blocks of records are mostly read in order, and a long document is slow to decode anew.
        if self._held is None or self._held[0] != number:
            self._held = number, self.documents[number][1]
        return self._held[1]


def _whole(number: int, text: str | Text) -> Entry | None:
    """A document that is one JSON object."""
    if not isinstance(text, str):
        return None
    bare = text.lstrip("\ufeff \t\r\n")
    offset = len(text) - len(bare)
    bare = bare.rstrip()
    if object_of(bare) is None or not bare.endswith("}"):
        return None
    return Entry(number, offset, bare, None, (number + 1, 0))
