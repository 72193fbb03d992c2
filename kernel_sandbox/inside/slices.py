"""A context in pieces that fit one sub-call."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, overload

from .cuts import cuts
from .hits import Part

if TYPE_CHECKING:
    from .sources import Source, Sources


class Slices(Sequence[Part]):
    """Reads like a list of `Part`. The bounds are known at once, the texts read when used.

    Args:
        sources: the texts to be cut; no slice holds text of two of them.
        size: most characters of a slice.
        overlap: characters of the slice before that a slice may repeat, less than half of size.
    """

    def __init__(self, sources: Sources, size: int, overlap: int) -> None:
        self._sources = sources
        self._size = size
        self._numbers, self._starts, self._ends = array("Q"), array("Q"), array("Q")
        self._last: tuple[int, Source] | None = None
        for number in range(len(sources)):
            length = sources.length(number)
            whole = ((0, length),) if 0 < length <= size else ()
            for start, end in whole or cuts(sources[number].text if length else "", size, overlap):
                self._numbers.append(number)
                self._starts.append(start)
                self._ends.append(end)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, key: int) -> Part: ...

    @overload
    def __getitem__(self, key: slice) -> list[Part]: ...

    def __getitem__(self, key: int | slice) -> Part | list[Part]:
        if isinstance(key, slice):
            return [self[at] for at in range(*key.indices(len(self)))]
        at = range(len(self))[key]
        source = self._source(self._numbers[at])
        start = self._starts[at]
        text = str(source.text[start : self._ends[at]])
        return Part(text, source.document, source.offset + start)

    def __add__(self, other: Sequence[Part]) -> list[Part]:
        return [*self, *other]

    def __repr__(self) -> str:
        longest = max(map(int.__sub__, self._ends, self._starts), default=0)
        return f"<{len(self):,} slices, the longest of {longest:,} characters>"

    def _source(self, number: int) -> Source:
        # Slices are mostly gone through in order, and a long document is slow to decode anew.
        if self._last is None or self._last[0] != number:
            self._last = (number, self._sources[number])
        return self._last[1]
