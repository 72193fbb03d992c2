"""Parts of the context that know where they stand."""

from __future__ import annotations

import re
from typing import Any, SupportsIndex

from .staged import Name  # noqa: TC001 - the sandbox shows these signatures by help()
from .texts import cut

# Characters that a list of hits prints, besides its note and the last hit.
_PRINTED = 1_500
_LONGEST = 400
_WORD = re.compile(r"\w+")


class Part(str):
    """A part of the context: a str, and so fit wherever a text is asked for.

    Attributes:
        document: name of the document it stands in.
        start: where in it the text begins, in characters.
        offset: the same, or for a hit of `grep` where the match begins.
        match: what matched, for a hit; else "".
        score: how well it fits the query, for a hit of `search`; else 0.
        line: number of the line where the match or the text begins, in code; else 0.
        scope: the class and function that it stands in, in code; else "".

    The fields are there as keys too: `part["text"]`, `part["document"]`, `part["offset"]`.
    """

    document: Name
    start: int
    offset: int
    match: str
    score: float
    line: int
    scope: str
    _shown: str | None

    def __new__(
        cls,
        text: str,
        document: Name,
        start: int,
        offset: int | None = None,
        match: str = "",
        score: float = 0.0,
        shown: str | None = None,
        line: int = 0,
        scope: str = "",
    ) -> Part:
        """Mark `text` with where it stands."""
        part = super().__new__(cls, text)
        part.document = document
        part.start = start
        part.offset = start if offset is None else offset
        part.match = match
        part.score = score
        part.line = line
        part.scope = scope
        part._shown = shown
        return part

    @property
    def text(self) -> str:
        """The text alone."""
        return str.__str__(self)

    @property
    def shown(self) -> str:
        """The part of the text that is printed among other hits."""
        return cut(self.text.strip(), _LONGEST) if self._shown is None else self._shown

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        where = f"document {self.document}" if isinstance(self.document, int) else self.document
        return f"{where} @ {self.offset}" + (f", in {self.scope}" if self.scope else "")

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
        return f"<{self.place}: {cut(self.text, _LONGEST)!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self.document, self.start, self.offset, self.match, self.score, self._shown)
        return Part, (self.text, *fields, self.line, self.scope)


_FIELDS = ("document", "offset", "start", "text", "match", "score", "line", "scope")


class Hits(list[Part]):
    """What `search` or `grep` found. Printing it shows the hits with their places, cut.

    Attributes:
        note: what to know of the search: that there are more, or what was tried in vain.
    """

    def __init__(self, hits: list[Part], note: str) -> None:
        super().__init__(hits)
        self.note = note

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        if isinstance(key, slice):
            some = list(self)[key]
            told = self.note if len(some) == len(self) else f"{len(some)} of {len(self)} hits"
            return Hits(some, told)
        return super().__getitem__(key)

    def within(self, *names: str) -> Hits:
        """Those in a class or function of one of these names; all of them where none is."""
        some = [hit for hit in self if not set(names).isdisjoint(_WORD.findall(hit.scope))]
        if not some:
            return self
        return Hits(some, f"{len(some)} of {len(self)} hits, in {' or '.join(names)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return Hits, (list(self), self.note)

    def __repr__(self) -> str:
        rows, used = [self.note], 0
        for number, hit in enumerate(self):
            if used > _PRINTED:
                rows.append(f"... {len(self) - number} more hits, from [{number}] on, not printed")
                break
            rows.append(f"[{number}] {hit.place}\n{hit.shown}")
            used += len(rows[-1])
        return "\n".join(rows)

    __str__ = __repr__
