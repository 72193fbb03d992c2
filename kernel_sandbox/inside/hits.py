"""Parts of the context that know where they stand."""

from __future__ import annotations

from typing import Any, SupportsIndex

from .staged import Name  # noqa: TC001 - the sandbox shows these signatures by help()


class Part(str):
    """A part of the context: a str, and so fit wherever a text is asked for.

    Attributes:
        document: name of the document it stands in.
        start: where in it the text begins, in characters.
        offset: the same, or for a hit of `grep` where the match begins.
        match: what matched, for a hit of `grep`; else "".

    The fields are there as keys too: `part["text"]`, `part["document"]`, `part["offset"]`.
    """

    document: Name
    start: int
    offset: int
    match: str

    def __new__(
        cls, text: str, document: Name, start: int, offset: int | None = None, match: str = ""
    ) -> Part:
        """Mark `text` with where it stands."""
        part = super().__new__(cls, text)
        part.document = document
        part.start = start
        part.offset = start if offset is None else offset
        part.match = match
        return part

    @property
    def text(self) -> str:
        """The text alone."""
        return str.__str__(self)

    def __getitem__(self, key: Any) -> str | Any:
        if isinstance(key, str):
            if key not in _FIELDS:
                raise KeyError(f"{key!r}; there are {', '.join(_FIELDS)}")
            return getattr(self, key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Like `dict.get`, for its fields."""
        return getattr(self, key) if key in _FIELDS else default

    def keys(self) -> tuple[str, ...]:
        """The names of the fields, as of a dict."""
        return _FIELDS

    def __repr__(self) -> str:
        return f"<{self.document!r} at {self.offset}: {str.__repr__(self)}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Part, (self.text, self.document, self.start, self.offset, self.match)


_FIELDS = ("document", "offset", "start", "text", "match")


class Hits(list[Part]):
    """What `grep` found, in order. Printing it shows every hit with its place.

    Attributes:
        note: what to know of the search: that there are more, or what was tried in vain.
    """

    def __init__(self, hits: list[Part], note: str) -> None:
        super().__init__(hits)
        self.note = note

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        if isinstance(key, slice):
            return Hits(list(self)[key], self.note)
        return super().__getitem__(key)

    def __repr__(self) -> str:
        shown = (
            f"[{number}] {hit.document!r} at {hit.offset}\n{hit.text.strip()}"
            for number, hit in enumerate(self)
        )
        return "\n\n".join((self.note, *shown))

    __str__ = __repr__
