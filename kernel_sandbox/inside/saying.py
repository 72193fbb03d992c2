"""Values of any kind as the text of an answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Set
from decimal import Decimal
from typing import Any

from .hits import Part
from .ordering import in_order
from .pairing import Groups, Pairs
from .tally import Tally
from .text import Text

_DIGITS = 12


def as_answer(value: Any) -> str:
    """`value` as text: a list one entry a line, a dict as JSON, a number without noise.

    Of None it is "".
    """
    if value is None:
        return ""
    if isinstance(value, Part):
        return value.text
    if isinstance(value, (str, Pairs, Tally, Text)):
        return str(value)
    if isinstance(value, (Set, Mapping)) or not _is_many(value):
        return _joined(value) if isinstance(value, Set) else _entry(value)
    if isinstance(value, tuple):
        return ", ".join(map(_entry, value))
    return _joined(value)


def _joined(values: Iterable[Any]) -> str:
    every = in_order(values) if isinstance(values, Set) else list(values)
    if any(isinstance(one, Mapping) or _is_nested(one) for one in every):
        return _json(every)
    return "\n".join(map(_entry, every))


def _entry(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return _json(value)
    if isinstance(value, (list, tuple, Set)):
        return f"({', '.join(map(_entry, in_order(value) if isinstance(value, Set) else value))})"
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "item"):
        return _entry(value.item())
    return str(value)


def _number(value: float) -> str:
    if value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return format(value, f".{_DIGITS}g")


def _json(value: Any) -> str:
    try:
        return json.dumps(_plain(value), ensure_ascii=False, default=_entry)
    except (TypeError, ValueError, RecursionError):
        return str(value)


def _plain(value: Any) -> Any:
    """`value` with keys that JSON takes, and sets as lists."""
    if isinstance(value, Groups):
        value = dict(value)
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else _entry(key): _plain(one) for key, one in value.items()
        }
    if isinstance(value, Set):
        return [_plain(one) for one in in_order(value)]
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and value == value and value.is_integer():
        return int(value)
    return value


def _is_many(value: Any) -> bool:
    if isinstance(value, (bytes, bytearray)) or type(value).__module__.startswith("numpy"):
        return False
    return (
        isinstance(value, (list, tuple, Iterator))
        or (hasattr(type(value), "__len__") and hasattr(type(value), "__getitem__"))
        or type(value).__name__ in ("dict_keys", "dict_values", "dict_items")
    )


def _is_nested(value: Any) -> bool:
    """Whether an entry is a list of more than numbers and texts."""
    return isinstance(value, (list, tuple)) and any(
        isinstance(one, (list, tuple, Mapping)) for one in value
    )
