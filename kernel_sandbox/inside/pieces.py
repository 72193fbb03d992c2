"""The lines of a large text, or what stands between its separators."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import overload

_EVERY = 1024


class Pieces(Sequence[str]):
    """A list of strings in all but its memory: one window of the text is held at a time.

    The first `len` or far index goes through the whole text once.

    Args:
        windows: the text from a given character on, in parts.
        sep: what separates the pieces; None for lines, cut as `str.splitlines` cuts them.
        keepends: whether a line keeps its end.
        longest: most characters of one piece.

    Raises:
        TypeError: on use, where a piece is longer than that.
    """

    def __init__(
        self,
        windows: Callable[[int], Iterator[str]],
        sep: str | None,
        keepends: bool,
        longest: int,
    ) -> None:
        self._windows = windows
        self._sep = sep
        self._keepends = keepends
        self._longest = longest
        self._starts = array("Q")
        self._count = -1

    def __repr__(self) -> str:
        first = ", ".join(repr(piece[:80]) for piece in islice(self, 3))
        return f"<{len(self):,} pieces of a text, starting [{first}]>"

    def __len__(self) -> int:
        if self._count < 0:
            starts, count, at = array("Q"), 0, 0
            for piece in self._full(0):
                if count % _EVERY == 0:
                    starts.append(at)
                at += len(piece)
                count += 1
            self._starts, self._count = starts, count
        return self._count

    def __iter__(self) -> Iterator[str]:
        return self._shown(0)

    @overload
    def __getitem__(self, key: int) -> str: ...

    @overload
    def __getitem__(self, key: slice) -> list[str]: ...

    def __getitem__(self, key: int | slice) -> str | list[str]:
        if isinstance(key, slice):
            # The head of a text is the part most looked at; counting all pieces can wait.
            if key.start in (None, 0) and key.step in (None, 1) and 0 <= (key.stop or -1) <= _EVERY:
                return list(islice(self, key.stop))
            return self._run(range(*key.indices(len(self))))
        at = key + len(self) if key < 0 else key
        if not 0 <= at < len(self):
            raise IndexError("list index out of range")
        return self._run(range(at, at + 1))[0]

    def _run(self, wanted: range) -> list[str]:
        if not wanted:
            return []
        if wanted.step != 1:
            return [self[at] for at in wanted]
        skipped = wanted.start % _EVERY
        pieces = self._shown(self._starts[wanted.start // _EVERY])
        return list(islice(pieces, skipped, skipped + len(wanted)))

    def _shown(self, at: int) -> Iterator[str]:
        full = self._full(at)
        if self._sep is not None:
            return (piece.removesuffix(self._sep) for piece in full)
        return full if self._keepends else (piece.splitlines()[0] for piece in full)

    def _full(self, at: int) -> Iterator[str]:
        """Pieces with their ends, from character `at` on, where one starts."""
        last: str | None = None
        for window in self._windows(at):
            # The last one may go on in the next window, or be the \r of a \r\n.
            *whole, last = self._cut((last or "") + window)
            yield from whole
            if len(last) > self._longest:
                raise TypeError(
                    f"a piece of this text is longer than {self._longest:,} characters: "
                    "use slices() or a part of it such as context[a:b]"
                )
        if last is not None:
            yield last
        elif self._sep is not None:
            yield ""

    def _cut(self, text: str) -> list[str]:
        if self._sep is None:
            return text.splitlines(keepends=True)
        *whole, last = text.split(self._sep)
        return [*(piece + self._sep for piece in whole), last]
