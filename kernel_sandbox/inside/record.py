"""One record of the context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .staged import Name  # noqa: TC001 - the sandbox shows these signatures by help()

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .record_list import Records

_set = object.__setattr__


class Record(dict[str, Any]):
    """A dict of the fields, which are there as attributes too: `r["User"]`, `r.user`.

    A name is looked up ignoring case and punctuation where there is none that is equal.
    Fields set by a cell stay. A field called like a method or one of the attributes below is
    there as a key alone.

    Attributes:
        line: the text it was read from.
        document: name of the document it stands in.
        offset: its first character there.
    """

    __slots__ = ("_home", "_number", "document", "line", "offset")

    line: str
    document: Name
    offset: int
    _home: Records | None
    _number: int

    def __init__(
        self,
        fields: Mapping[str, Any],
        line: str,
        document: Name,
        offset: int,
        home: Records | None = None,
        number: int = 0,
    ) -> None:
        super().__init__(fields)
        _set(self, "line", line)
        _set(self, "document", document)
        _set(self, "offset", offset)
        _set(self, "_home", home)
        _set(self, "_number", number)

    def __missing__(self, key: object) -> Any:
        name = self._like(key)
        if name is None:
            raise KeyError(f"{key!r}; the fields are {', '.join(map(repr, self))}")
        return super().__getitem__(name)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or self._like(key) is not None

    def get(self, key: str, default: Any = None) -> Any:
        """Like `dict.get`, and as forgiving of the name as `[]`."""
        name = key if super().__contains__(key) else self._like(key)
        return default if name is None else self[name]

    def __getattr__(self, name: str) -> Any:
        if name[:1] != "_" and name in self:
            return self[name]
        raise AttributeError(
            f"a record has no {name!r}; its fields are {', '.join(map(repr, self))}, "
            "and .line, .document, .offset"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        if name in Record.__slots__ or name[:1] == "_":
            raise AttributeError(f"{name!r} of a record can't be changed")
        self[self._like(name) or name] = value

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self._stay()

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._stay()

    def update(self, *given: Any, **more: Any) -> None:
        """Like `dict.update`."""
        super().update(*given, **more)
        self._stay()

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Like `dict.setdefault`."""
        if key not in self:
            self[key] = default
        return self[key]

    def pop(self, *given: Any) -> Any:
        """Like `dict.pop`."""
        value = super().pop(*given)
        self._stay()
        return value

    def __ior__(self, other: Any) -> Record:  # type: ignore[override,misc]
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Record, (dict(self), self.line, self.document, self.offset)

    def _like(self, key: object) -> str | None:
        if not isinstance(key, str):
            return None
        wanted = _plain(key)
        return next((name for name in self if wanted and _plain(name) == wanted), None)

    def _stay(self) -> None:
        # Records are read anew when they are used again; a changed one is kept instead.
        if self._home is not None:
            self._home.keep(self._number, self)


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name)).casefold()
