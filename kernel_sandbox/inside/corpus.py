"""The context as the root's code finds it, opened from the folder the host staged.

Up to 128 MB it is what was given: str, list or dict, with plain Python values in it. Above,
it is read from the folder as it is used, by types that read alike (`Text`, `LazyList`,
`LazyDict`), so that opening takes milliseconds and memory stays flat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from .containers import LazyDict, LazyList, parsed, text_of, texts_of
from .staged import Kind, Name, Staged

if TYPE_CHECKING:
    from pathlib import Path

    from .text import Text

EAGER_BYTES = 128 << 20


class Documents(Sequence[tuple[Name, "str | Text"]]):
    """The documents as (name, text). A JSON document's text is its JSON, not its value.

    The name is the key in a dict, the index in a list, and a title for a plain text.
    """

    def __init__(self, staged: Staged, held: str | None) -> None:
        self._staged = staged
        self._held = held

    def __len__(self) -> int:
        return len(self._staged)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        text = text_of(self._staged, number) if self._held is None else self._held
        return self._staged.name(number), text

    def __iter__(self) -> Iterator[tuple[Name, str | Text]]:
        if self._held is not None:
            return iter([self[0]])
        return zip(map(self._staged.name, range(len(self))), texts_of(self._staged), strict=True)

    def name(self, number: int) -> Name:
        """Name of a document."""
        return self._staged.name(number)

    def length(self, number: int) -> int:
        """Length of a document in characters, without reading it."""
        start, end = self._staged.bounds(number)
        return end - start


class Context:
    """An opened context.

    Attributes:
        value: what the root sees as `context`.
        kind: its type, "str", "list" or "dict", also where it is read lazily.
        documents: the texts in it.
        chars: characters in all documents.
    """

    def __init__(self, staged: Staged, *, lazy: bool) -> None:
        self.kind: Kind = staged.meta.kind
        self.chars = staged.meta.chars
        self.value: Any
        if not lazy:
            self.value = _eager(staged)
        elif self.kind == "str":
            self.value = text_of(staged, 0)
        else:
            self.value = LazyList(staged, range(len(staged)))
            if self.kind == "dict":
                self.value = LazyDict(staged)
        self.documents = Documents(staged, self.value if isinstance(self.value, str) else None)


def open_context(folder: Path, *, eager_bytes: int = EAGER_BYTES) -> Context:
    """Open a staged folder.

    Args:
        folder: what `engine/stage.py` wrote.
        eager_bytes: most bytes, as Python objects, that are loaded at once.

    Raises:
        ValueError: the folder has another format.
        OSError: a file of it is missing.
    """
    staged = Staged(folder)
    return Context(staged, lazy=staged.meta.memory > eager_bytes)


def _eager(staged: Staged) -> Any:
    if staged.meta.kind == "str":
        return staged.text(0)
    texts = chain.from_iterable(map(staged.texts, staged.runs()))
    values = [parsed(text) if staged.is_json(number) else text for number, text in enumerate(texts)]
    if staged.meta.kind == "list":
        return values
    return dict(zip(map(staged.name, range(len(staged))), values, strict=True))
