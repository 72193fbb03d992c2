"""Sentences and tables about counts, as a cell prints them."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

from typing import Any

# Of a long table, so many of its last rows are printed.
ENDS = 3


class Told(str):
    """A sentence, and so a str, that a cell shows as it prints. The numbers are attributes."""

    def __new__(cls, text: str, **numbers: Any) -> "Told":
        """Keep `numbers` as attributes of the sentence `text`."""
        told = super().__new__(cls, text)
        told.__dict__.update(numbers)
        return told

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no {name!r}; there are {', '.join(self.__dict__)}")

    def __repr__(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return _told, (str(self), self.__dict__)


def relation(a: str, b: str, one: int, two: int) -> str:
    """Which of two labels is more common, by their counts."""
    if one == two:
        return f"{a} and {b} are equally common"
    return f"{a} is {'more' if one > two else 'less'} common than {b}"


def times(count: int) -> str:
    """A count in words."""
    return "once" if count == 1 else f"{count:,} times"


def key_text(key: Any) -> str:
    """A group's key as it is printed."""
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def shortened(rows: list[str], most: int) -> list[str]:
    """At most about `most` rows: the first, how many are left out, and the last few."""
    if len(rows) <= most:
        return rows
    first = most - ENDS
    return [*rows[:first], f"... {len(rows) - most} more ...", *rows[-ENDS:]]


def _told(text: str, numbers: dict[str, Any]) -> Told:
    return Told(text, **numbers)
