"""A text too large to be one Python string, read from the staged blob part by part."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from .pieces import Pieces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .staged import Staged

# The most characters handed out as one string: 64 MB where an emoji widens it.
PART = 1 << 24


class Text:
    """Reads like a `str`: len, slices, `in`, find, count, splitlines, split with a separator.

    Slices of up to 16 million characters are strings, longer ones are `Text` again. Other
    methods of `str` work on a text of up to that size and raise TypeError on a longer one.

    Args:
        staged: the folder's reader.
        start: first character, in the blob.
        end: character after the last, in the blob.
    """

    __slots__ = ("_end", "_staged", "_start")

    def __init__(self, staged: Staged, start: int, end: int) -> None:
        self._staged = staged
        self._start = start
        self._end = end

    def __len__(self) -> int:
        return self._end - self._start

    def __str__(self) -> str:
        return self._whole("str()")

    def __repr__(self) -> str:
        head = self._staged.read(self._start, min(self._start + 80, self._end))
        return f"<text of {len(self):,} characters, starting {head!r}>"

    def __format__(self, spec: str) -> str:
        return format(self._whole("an f-string"), spec)

    @overload
    def __getitem__(self, key: int) -> str: ...

    @overload
    def __getitem__(self, key: slice) -> str | Text: ...

    def __getitem__(self, key: int | slice) -> str | Text:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step == 1:
                return self._part(start, stop)
            return "".join(self._strided(range(start, stop, step)))
        at = key + len(self) if key < 0 else key
        if not 0 <= at < len(self):
            raise IndexError("string index out of range")
        return self._staged.read(self._start + at, self._start + at + 1)

    def __iter__(self) -> Iterator[str]:
        for window in self.windows():
            yield from window

    def __contains__(self, needle: object) -> bool:
        if not isinstance(needle, str):
            raise TypeError(f"'in <text>' takes a string, not {type(needle).__name__}")
        return self.find(needle) >= 0

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (str, Text)):
            return NotImplemented
        if len(self) != len(other):
            return False
        at = 0
        for window in self.windows():
            if window != other[at : at + len(window)]:
                return False
            at += len(window)
        return True

    def __hash__(self) -> int:
        return hash(self._whole("hash()"))

    def __add__(self, other: str) -> str:
        return self._whole("+") + other

    def __radd__(self, other: str) -> str:
        return other + self._whole("+")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or not hasattr(str, name):
            raise AttributeError(f"a text has no attribute {name!r}")
        return getattr(self._whole(f".{name}()"), name)

    def find(self, needle: str, start: int | None = None, end: int | None = None) -> int:
        """Like `str.find`."""
        first, last, _ = slice(start, end).indices(len(self))
        data = _encoded(needle)
        if not needle:
            return first if first <= last and (start or 0) <= len(self) else -1
        if data is None or last - first < len(needle):
            return -1
        staged, base = self._staged, self._start
        found = staged.find(data, staged.byte_of(base + first), staged.byte_of(base + last))
        return found if found < 0 else staged.char_of(found) - base

    def index(self, needle: str, start: int | None = None, end: int | None = None) -> int:
        """Like `str.index`."""
        found = self.find(needle, start, end)
        if found < 0:
            raise ValueError("substring not found")
        return found

    def count(self, needle: str, start: int | None = None, end: int | None = None) -> int:
        """Like `str.count`."""
        first, last, _ = slice(start, end).indices(len(self))
        if not needle:
            return last - first + 1 if first <= last and (start or 0) <= len(self) else 0
        data = _encoded(needle)
        if data is None or last <= first:
            return 0
        staged, base = self._staged, self._start
        return staged.count(data, staged.byte_of(base + first), staged.byte_of(base + last))

    def startswith(self, prefix: str | tuple[str, ...]) -> bool:
        """Like `str.startswith`."""
        ways = prefix if isinstance(prefix, tuple) else (prefix,)
        return any(self[: len(way)] == way for way in ways)

    def endswith(self, suffix: str | tuple[str, ...]) -> bool:
        """Like `str.endswith`."""
        ways = suffix if isinstance(suffix, tuple) else (suffix,)
        return any(len(way) <= len(self) and self[len(self) - len(way) :] == way for way in ways)

    def splitlines(self, keepends: bool = False) -> Pieces:
        """The lines, cut as `str.splitlines` cuts them, read as they are asked for."""
        return Pieces(self._windows_from, None, keepends, PART)

    def split(self, sep: str | None = None, maxsplit: int = -1) -> Pieces | list[str]:
        """The pieces between fixed separators, read as they are asked for."""
        if sep is None or maxsplit >= 0:
            return self._whole(".split() without a separator or with maxsplit").split(sep, maxsplit)
        if not sep:
            raise ValueError("empty separator")
        return Pieces(self._windows_from, sep, False, PART)

    def windows(self) -> Iterator[str]:
        """The text in parts that are small beside the memory."""
        return self._staged.windows(self._start, self._end)

    def _windows_from(self, at: int) -> Iterator[str]:
        return self._staged.windows(self._start + at, self._end)

    def _part(self, start: int, stop: int) -> str | Text:
        stop = max(start, stop)
        if stop - start > PART:
            return Text(self._staged, self._start + start, self._start + stop)
        return self._staged.read(self._start + start, self._start + stop)

    def _strided(self, wanted: range) -> Iterator[str]:
        if len(wanted) > PART:
            raise TypeError(f"a slice of {len(wanted):,} characters is too large for one string")
        per_read = max(1, PART // abs(wanted.step))
        for first in range(0, len(wanted), per_read):
            some = wanted[first : first + per_read]
            low, high = min(some[0], some[-1]), max(some[0], some[-1])
            part = self._staged.read(self._start + low, self._start + high + 1)
            yield part[:: some.step] if some.step > 0 else part[::-1][:: -some.step]

    def _whole(self, use: str) -> str:
        if len(self) > PART:
            raise TypeError(
                f"{use} needs the whole text in memory, and it has {len(self):,} characters: "
                "use grep(pattern), slices(), or a part of it such as context[a:b]"
            )
        return self._staged.read(self._start, self._end)


# C functions such as those of `re` name the type they refuse, and nothing else of ours:
# "expected string or bytes-like object, got '...'".
Text.__name__ = "Text of a large context: use grep(pattern), slices() or context[a:b]"


def _encoded(needle: str) -> bytes | None:
    try:
        return needle.encode()
    except UnicodeEncodeError:  # a lone surrogate stands in no staged text
        return None
