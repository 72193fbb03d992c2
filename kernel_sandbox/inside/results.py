"""What many calls came to: a list that prints its length and a cut."""

from __future__ import annotations

from typing import Any, SupportsIndex

from .texts import cut

_SHORT = 10
_PLAIN = 400
_ITEMS = 20
_LONGEST = 160
_ENDS = 3


class Results(list[Any]):
    """A list in all things but how it is printed: long ones cut, with the cut stated.

    In an f-string it stands whole.
    """

    def __getitem__(self, key: SupportsIndex | slice) -> Any:
        found = super().__getitem__(key)
        return Results(found) if isinstance(key, slice) else found

    def __repr__(self) -> str:
        if len(self) <= _SHORT:
            plain = super().__repr__()
            if len(plain) <= _PLAIN:
                return plain
        rows = [f"{len(self):,} results:"]
        first = len(self) if len(self) <= _ITEMS else _ITEMS - _ENDS
        rows += (self._row(at) for at in range(first))
        if first < len(self):
            left = len(self) - _ITEMS
            rows.append(f"... {left:,} more, not printed ...")
            rows += (self._row(at) for at in range(len(self) - _ENDS, len(self)))
        return "\n".join(rows)

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        # What goes into a prompt must not be cut.
        return format(list.__repr__(self), spec)

    def _row(self, at: int) -> str:
        return f"[{at}] {cut(repr(self[at]), _LONGEST)}"
