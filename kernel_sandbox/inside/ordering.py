"""The order of keys as people expect it: numbers by size, dates and months by time."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

import re
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from .dates import as_date, is_date, month_of

_DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAY = re.compile(r"(mon|tue(s)?|wed(nes)?|thu(r|rs)?|fri|sat(ur)?|sun)(day)?\.?", re.IGNORECASE)
_TIMES = ("before", "during", "on", "after")
_DIGITS = re.compile(r"(\d+)")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d(?:[.,]\d+)?))?(?:\s?([AaPp])\.?[Mm])?")


def in_order(keys: Iterable[Any]) -> list[Any]:
    """The keys sorted: as numbers, dates, months or weekdays where all of them are, else as text.

    Keys of different kinds are no trouble; equal ones stay in their order.
    """
    every = list(keys)
    for rank in (number, _date, _month, _weekday, _time):
        ranks = [rank(key) for key in every]
        if all(one is not None for one in ranks):
            order = sorted(range(len(every)), key=ranks.__getitem__)  # type: ignore[arg-type]
            return [every[at] for at in order]
    try:
        return sorted(every)
    except TypeError:
        return sorted(every, key=_natural)


def hashable(key: Any) -> Any:
    """`key`, or how it reads where no dict can hold it, such as a list out of JSON."""
    try:
        hash(key)
    except TypeError:
        return str(key)
    return key


def number(key: Any) -> float | int | None:
    """`key` as a number, where it is one or reads as one."""
    if isinstance(key, str):
        text = key.strip().replace(",", "")
        try:
            return int(text)
        except ValueError:
            pass
        try:
            found = float(text)
        except ValueError:
            return None
        return found if found == found else None
    if isinstance(key, (int, float)) and key == key:
        return key
    return None


def _date(key: Any) -> tuple[date, tuple[float, ...]] | None:
    if not isinstance(key, date) and not (isinstance(key, str) and is_date(key)):
        return None
    day = as_date(key)
    return None if day is None else (day, _clock(key))


def _clock(key: Any) -> tuple[float, ...]:
    if isinstance(key, datetime):
        return key.hour, key.minute, key.second + key.microsecond / 1e6
    found = _CLOCK.search(key) if isinstance(key, str) else None
    if found is None:
        return ()
    hour, half = int(found[1]), (found[4] or "").lower()
    return (
        (hour % 12 + 12 * (half == "p") if half else hour),
        int(found[2]),
        float((found[3] or "0").replace(",", ".")),
    )


def _month(key: Any) -> int | None:
    return month_of(key) if isinstance(key, str) else None


def _weekday(key: Any) -> int | None:
    found = isinstance(key, str) and _DAY.fullmatch(key.strip())
    return _DAYS.index(key.strip()[:3].lower()) if found else None


def _time(key: Any) -> int | None:
    first = key.split()[0].lower() if isinstance(key, str) and key.split() else ""
    return _TIMES.index(first) if first in _TIMES else None


def _natural(key: Any) -> tuple[str, list[tuple[int, int, str]]]:
    parts = _DIGITS.split(str(key))
    return type(key).__name__, [
        # By size, without making numbers of them: Python makes none of thousands of digits.
        (0, len(bare := part.lstrip("0")), bare) if part.isdecimal() else (1, 0, part.casefold())
        for part in parts
    ]
