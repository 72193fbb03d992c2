"""A bounded look at a context of any size: its head, and windows spread over all of it."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from outcore.kernel_sandbox.inside.lines import lines
from outcore.kernel_sandbox.inside.staged import Staged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outcore.engine.context.corpus import Corpus

# Contexts of up to this many characters are read whole.
_WHOLE = 1 << 20
_HEAD = 1 << 16
_WINDOWS = 48
# Wider windows are for contexts whose lines are too long for the narrow ones.
_WIDE = (1 << 14, 1 << 18)
_ENOUGH = 200
_OBJECTS = 200
_OBJECT_CHARS = 1 << 18


class Piece(NamedTuple):
    """Whole lines of one document.

    Attributes:
        document: its number.
        start: first character, in the document.
        text: the lines.
    """

    document: int
    start: int
    text: str


class Spot(NamedTuple):
    """A line that is not blank.

    Attributes:
        document: number of its document.
        offset: its first character there.
        text: the line without its end.
    """

    document: int
    offset: int
    text: str


@dataclass(frozen=True)
class Sample:
    """What was looked at.

    Attributes:
        pieces: in the order of the context; the first ones are its head.
        objects: JSON documents, whole.
        chars: characters looked at.
        head: the beginning of the first document that is not blank, also where it is one long
            line.
        whole: whether the pieces are the whole context.
    """

    pieces: tuple[Piece, ...]
    objects: tuple[str, ...]
    chars: int
    head: str
    whole: bool

    @cached_property
    def lines(self) -> tuple[Spot, ...]:
        """The lines of the pieces."""
        return tuple(
            Spot(piece.document, piece.start + line.offset, line.text)
            for piece in self.pieces
            for line in lines(piece.text)
        )


def sampled(corpus: Corpus) -> Sample:
    """Look at a context; takes well under a second, for a gigabyte too."""
    staged = Staged(corpus.folder)
    total = staged.meta.chars
    whole = total <= _WHOLE
    pieces = list(_pieces(staged, 0, total if whole else _HEAD))
    head = tuple(pieces)
    for wide in () if whole else _WIDE:
        pieces = [*head]
        for start in _starts(total, wide):
            pieces.extend(_pieces(staged, start, min(start + wide, total)))
        if sum(piece.text.count("\n") + 1 for piece in pieces) >= _ENOUGH:
            break
    return Sample(
        tuple(pieces),
        tuple(_objects(staged)),
        sum(len(piece.text) for piece in pieces),
        staged.read(0, min(total, _WHOLE)).lstrip("\ufeff \t\r\n")[:_HEAD],
        whole,
    )


def _starts(total: int, wide: int) -> Iterator[int]:
    """Where windows begin that do not overlap."""
    count = max(2, min(_WINDOWS, (total - _HEAD) // wide))
    step = max(0, total - _HEAD - wide) / (count - 1)
    return (_HEAD + int(number * step) for number in range(count))


def _pieces(staged: Staged, start: int, end: int) -> Iterator[Piece]:
    """The whole lines between two characters of the context."""
    text = staged.read(start, end)
    number = bisect_right(range(len(staged)), start, key=lambda one: staged.bounds(one)[0]) - 1
    while number < len(staged):
        first, last = staged.bounds(number)
        if first >= end:
            return
        low, high = max(first, start), min(last, end)
        part = text[low - start : high - start]
        if high < last:
            part = part[: part.rfind("\n") + 1]
        if low > first:
            cut = part.find("\n") + 1 or len(part)
            part, low = part[cut:], low + cut
        if part:
            yield Piece(number, low - first, part)
        number += 1


def _objects(staged: Staged) -> Iterator[str]:
    if not staged.meta.json:
        return
    count = len(staged)
    every = staged.meta.chars <= _WHOLE
    spread = range(0, count, 1 if every else max(1, count // _OBJECTS))
    for number in sorted({*range(min(count, 20)), *spread}):
        first, last = staged.bounds(number)
        if staged.is_json(number) and last - first <= _OBJECT_CHARS:
            yield staged.text(number)
