"""What `grep` and `slices` look at: the context, or what they were given instead."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .containers import LazyList
from .hits import Part
from .staged import Name  # noqa: TC001 - NamedTuple keeps its annotations
from .text import Text

if TYPE_CHECKING:
    from .corpus import Context, Documents


class Source(NamedTuple):
    """A text to be looked at.

    Attributes:
        document: name of the document it stands in.
        offset: where in the document it begins, in characters.
        text: the text.
    """

    document: Name
    offset: int
    text: str | Text


class Sources(ABC):
    """Texts to be looked at one by one, each made when it is asked for."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, number: int) -> Source: ...

    def __iter__(self) -> Iterator[Source]:
        return (self[number] for number in range(len(self)))

    def length(self, number: int) -> int:
        """Length of one text, in characters."""
        return len(self[number].text)


def sources(context: Context, given: Any) -> Sources:
    """The texts of the context where `given` is None or is the context, else those in it.

    Raises:
        TypeError: `given` is neither text nor holds any.
    """
    if given is None or given is context.value:
        return _Whole(context.documents, range(len(context.documents)))
    if isinstance(given, LazyList):
        return _Whole(context.documents, given.numbers)
    if isinstance(given, (str, Text)):
        return _Given([("text", given)])
    if isinstance(given, Mapping):
        return _Given(list(given.items()))
    if isinstance(given, Sequence) and not isinstance(given, (bytes, bytearray)):
        return _Given(list(enumerate(given)))
    raise TypeError(
        f"text must be a text, a list or dict of texts, or left out, not {type(given).__name__}"
    )


class _Whole(Sources):
    def __init__(self, documents: Documents, numbers: range) -> None:
        self._documents = documents
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> Source:
        name, text = self._documents[self._numbers[number]]
        return Source(name, 0, text)

    def __iter__(self) -> Iterator[Source]:
        if len(self) < len(self._documents):
            return super().__iter__()
        return (Source(name, 0, text) for name, text in self._documents)

    def length(self, number: int) -> int:
        return self._documents.length(self._numbers[number])


class _Given(Sources):
    def __init__(self, values: list[tuple[Any, Any]]) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, number: int) -> Source:
        name, value = self._values[number]
        if isinstance(value, Part):
            return Source(value.document, value.start, value.text)
        if isinstance(value, (str, Text)):
            return Source(name, 0, value)
        return Source(name, 0, json.dumps(value, ensure_ascii=False, default=str))
