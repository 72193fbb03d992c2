"""Arguments as roots give them: under other names, as text, between slashes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

COUNTS = (
    *("n", "limit", "top_k", "topk", "top_n", "max_results", "num_results", "max_hits", "count"),
    *("size", "num", "max_count", "results", "top", "maximum", "max"),
)
QUERIES = ("q", "queries", "query", "text_query", "keywords", "words", "phrase", "term", "terms")
_NUMBER = re.compile(r"\s*\+?(\d+)(?:\.0*)?\s*")


class Given:
    """The keyword arguments of a call that its signature does not name.

    Args:
        usage: the call as it is meant, for messages.
        rest: the arguments.
    """

    def __init__(self, usage: str, rest: dict[str, Any]) -> None:
        self._usage = usage
        self._rest = rest

    def take(self, names: Iterable[str], otherwise: Any) -> Any:
        """The argument given under one of `names`, which counts as known then."""
        for name in [one for one in self._rest if one.lower() in names]:
            otherwise = self._rest.pop(name)
        return otherwise

    def end(self) -> None:
        """Check that all arguments were known.

        Raises:
            TypeError: one was not.
        """
        if self._rest:
            raise TypeError(f"there is no argument {next(iter(self._rest))!r}: {self._usage}")

    def whole(self, value: Any, name: str, otherwise: int) -> int:
        """A whole number above 0, where one was given as a number or as text.

        Raises:
            TypeError: it is neither.
        """
        if value is None:
            return otherwise
        if is_count(value):
            found = _NUMBER.fullmatch(value) if isinstance(value, str) else None
            return max(1, int(found.group(1) if found else value))
        raise TypeError(f"{name} is a number, not {value!r:.60}: {self._usage}")


def is_count(value: Any) -> bool:
    """Whether `value` can be read as a whole number, such as 5, 5.0 or "5"."""
    if isinstance(value, str):
        return len(value) < 40 and _NUMBER.fullmatch(value) is not None
    return isinstance(value, (int, float)) and value == value and abs(value) < 1 << 53


def unslashed(pattern: str) -> str:
    """The expression in `/expression/flags`; "" where `pattern` is none between slashes."""
    found = re.fullmatch(r"/((?:[^/\\]|\\.)+)/[gimsuxy]*", pattern.strip())
    return found.group(1).replace(r"\/", "/") if found else ""
