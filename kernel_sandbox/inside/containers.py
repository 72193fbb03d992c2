"""Lists and dicts of documents too large for memory, decoded when they are asked for."""

from __future__ import annotations

import json
from collections.abc import ItemsView, Iterator, Mapping, Sequence, ValuesView
from itertools import islice
from typing import TYPE_CHECKING, Any

from .text import PART, Text

if TYPE_CHECKING:
    from .staged import Staged


def text_of(staged: Staged, number: int) -> str | Text:
    """Text of a document: a string up to 16 million characters, else a `Text`."""
    start, end = staged.bounds(number)
    return Text(staged, start, end) if end - start > PART else staged.text(number)


def texts_of(staged: Staged) -> Iterator[str | Text]:
    """The texts of all documents in turn, each as `text_of` gives it but read faster."""
    for run in staged.runs():
        if len(run) == 1:
            yield text_of(staged, run.start)
        else:
            yield from staged.texts(run)


def value_of(staged: Staged, number: int) -> Any:
    """What the root sees of a document: its text, or the value its JSON text stands for."""
    return parsed(staged.text(number)) if staged.is_json(number) else text_of(staged, number)


def parsed(text: str) -> Any:
    """Value of a JSON document."""
    # Lines that are blank but for a byte order mark, which is no part of JSON, stay with others.
    return json.loads(text.strip(_BLANK))


def values_of(staged: Staged) -> Iterator[Any]:
    """What the root sees of all documents in turn."""
    for number, text in enumerate(texts_of(staged)):
        yield parsed(str(text)) if staged.is_json(number) else text


_BLANK = " \t\r\n\ufeff"


class LazyList(Sequence[Any]):
    """Reads like a list of the documents' values. Slices are views too."""

    __slots__ = ("_numbers", "_staged")

    def __init__(self, staged: Staged, numbers: range) -> None:
        self._staged = staged
        self._numbers = numbers

    @property
    def numbers(self) -> range:
        """Numbers of the documents it shows."""
        return self._numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return LazyList(self._staged, self._numbers[key])
        return value_of(self._staged, self._numbers[key])

    def __iter__(self) -> Iterator[Any]:
        if self._numbers == range(len(self._staged)):
            return values_of(self._staged)
        return (value_of(self._staged, number) for number in self._numbers)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, LazyList)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __repr__(self) -> str:
        return _shown(f"list of {len(self):,}", (_short(one) for one in self))


class LazyDict(Mapping[str, Any]):
    """Reads like a dict of the documents' values, in the order they were given."""

    __slots__ = ("_staged",)

    def __init__(self, staged: Staged) -> None:
        self._staged = staged

    def __len__(self) -> int:
        return len(self._staged)

    def __getitem__(self, key: str) -> Any:
        return value_of(self._staged, self._staged.number(key))

    def __contains__(self, key: object) -> bool:
        try:
            self._staged.number(key)  # type: ignore[arg-type]
        except KeyError:
            return False
        return True

    def __iter__(self) -> Iterator[str]:
        return (str(self._staged.name(number)) for number in range(len(self)))

    def items(self) -> ItemsView[str, Any]:
        """Like `dict.items`."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """Like `dict.values`."""
        return _Values(self)

    def __repr__(self) -> str:
        shown = (f"{key!r}: {_short(value)}" for key, value in self.items())
        return _shown(f"dict of {len(self):,}", shown)

    def _each(self) -> Iterator[Any]:
        return values_of(self._staged)


# The views of Mapping look every key up; going by number saves that.
class _Items(ItemsView[str, Any]):
    _mapping: LazyDict

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return zip(self._mapping, self._mapping._each(), strict=True)


class _Values(ValuesView[Any]):
    _mapping: LazyDict

    def __iter__(self) -> Iterator[Any]:
        return self._mapping._each()


def _short(value: Any) -> str:
    return repr(value[:80] if isinstance(value, (str, Text)) else value)[:100]


def _shown(what: str, values: Iterator[str]) -> str:
    return f"<{what}, starting {', '.join(islice(values, 3))}>"
