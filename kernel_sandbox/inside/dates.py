"""Dates out of text, in the many forms people and programs write them."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_SHORT_MONTHS = tuple(name[:3].lower() for name in MONTHS)
_MONTH = (
    r"(jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_WEEKDAY = r"(?:(?:mon|tues?|wed(?:nes)?|thu(?:rs?)?|fri|sat(?:ur)?|sun)(?:day)?\.?,?\s+)?"
_DAY = r"(\d{1,2})(?:st|nd|rd|th)?"
_CLOCK = (
    r"(?:(?:t|,?\s+(?:at\s+)?|:|\s*-\s*)\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?[ap]\.?m\.?)?"
    r"(?:\s?(?:z|utc|gmt|[a-z]{3,4}|[+-]\d\d:?\d\d))?(?:\s\([a-z ]+\))?)?"
)
_PIVOT = 70
# In `29 Jun 10:15` there is no year.
_SHORT_YEAR = r"(\d{4}|(?<=[/'\u2019-])\d\d|\d\d(?!:\d\d))"
# Digits alone are a date where they read as one of these years, else seconds since 1970, or
# milli-, micro- or nanoseconds.
_COMPACT_YEARS = range(1900, 2100)
_SECONDS = range(10**8, 10**11)
_MOST = 10**20
# Columns of dates repeat their values; longer texts are not remembered.
_SHORT = 80
# Shorter numbers with a point may be a day of a month, or a month of a year.
_NUMBER = re.compile(r"\s*(?:\d{1,20}|\d{9,20}\.\d{1,20})\s*", re.ASCII)
_COMPACT = re.compile(r"(\d{4})(\d\d)(\d\d)")


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w/.-]){_WEEKDAY}{pattern}{_CLOCK}(?![\w/]|[.-]\d)", re.IGNORECASE)


def _named(text: str) -> int:
    return _SHORT_MONTHS.index(text[:3].lower()) + 1


def _year(text: str) -> int:
    year = int(text)
    if len(text) > 2:
        return year
    return year + (2000 if year < _PIVOT else 1900)


def _numeric(day_first: bool | None, first: int, mark: str, second: int, year: int) -> date | None:
    dotted = mark == "." if day_first is None else day_first
    day, month = (first, second) if dotted else (second, first)
    return _made(year, month, day) or _made(year, day, month)


def _made(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


_MONTHS_A_YEAR = 12
_MONTH_ALONE = re.compile(rf"\s*{_MONTH}\s*", re.IGNORECASE)
_NUMERIC = re.compile(r"(?<!\d)(\d{1,2})[-/.](\d{1,2})[-/.](?:\d{4}|\d\d)(?!\d)")
_Read = Callable[[re.Match[str], bool | None], date | None]
_FORMS: tuple[tuple[re.Pattern[str], _Read], ...] = (
    # 2022-06-29, 2022/6/29, 2022.06.29, 2022-06-29T10:00:00Z
    (
        _form(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})"),
        lambda m, _: _made(int(m[1]), int(m[3]), int(m[4])),
    ),
    # 29 June 2022, 29th of June, 2022, 29-Jun-22, 29/Jun/2022
    (
        _form(rf"{_DAY}(?:\s+of)?[\s/-]*{_MONTH}[\s/,'\u2019-]*{_SHORT_YEAR}"),
        lambda m, _: _made(_year(m[3]), _named(m[2]), int(m[1])),
    ),
    # Jun 29, 2022, June 29th 2022, Sun Jun 29 10:00:00 2022
    (
        _form(rf"{_MONTH}[\s-]*{_DAY},?(?:\s+\d\d:\d\d:\d\d(?:\s[A-Z]{{3,4}})?)?[\s-]+(\d{{4}})"),
        lambda m, _: _made(int(m[3]), _named(m[1]), int(m[2])),
    ),
    # 2022 June 29, 2022-Jun-29
    (
        _form(rf"(\d{{4}})[\s,-]+{_MONTH}[\s-]*{_DAY}"),
        lambda m, _: _made(int(m[1]), _named(m[2]), int(m[3])),
    ),
    # 06/29/2022, 29.06.2022, 29-06-22; 1.2.33 is more often a version
    (
        _form(r"(?!\d\.\d+\.\d\d\b|\d\d\.\d\.\d\d\b)(\d{1,2})([-/.])(\d{1,2})\2(\d{4}|\d\d)"),
        lambda m, first: _numeric(first, int(m[1]), m[2], int(m[3]), _year(m[4])),
    ),
    # 2022\u5e746\u670829\u65e5
    (
        re.compile(
            r"(\d{4})\s?[\u5e74\ub144]\s?(\d{1,2})\s?[\u6708\uc6d4]\s?(\d{1,2})\s?[\u65e5\uc77c]"
        ),
        lambda m, _: _made(int(m[1]), int(m[2]), int(m[3])),
    ),
    # June 2022, June of 2022, Jun-2022
    (
        _form(rf"{_MONTH}(?:\s+of)?[\s,-]*(\d{{4}})"),
        lambda m, _: _made(int(m[2]), _named(m[1]), 1),
    ),
    # 2022-06
    (_form(r"(\d{4})-(0[1-9]|1[0-2])"), lambda m, _: _made(int(m[1]), int(m[2]), 1)),
)


def as_date(text: Any, day_first: bool | None = None) -> date | None:
    """The date that `text` is, or the first that stands in it; None where there is none.

    as_date("Jun 29, 2022") == as_date("2022-06-29T10:00Z") == as_date("29.06.2022")

    A month without a day is its first day. 06/07/2022 and 06-07-2022 are June 7, 06.07.2022 is
    July 6; where that is no date, the other way is taken. day_first=True or False decides for
    all three. Two-digit years run from 1970 to 2069. Numbers are yyyymmdd or seconds (or milli-,
    micro-, nanoseconds) since 1970, in UTC; datetime and date objects are taken too.
    """
    if isinstance(text, datetime):
        return text.date()
    if isinstance(text, date):
        return text
    if isinstance(text, bool) or text is None:
        return None
    if isinstance(text, (int, float)):
        return _of_number(text)
    written = str(text)
    return (_known if len(written) <= _SHORT else _first)(written, day_first)


def dates_in(text: str, day_first: bool | None = None) -> list[tuple[int, int, date]]:
    """Every date that stands in `text`: where it begins and ends, and which day it is.

    day_first is as for `as_date`.
    """
    found: list[tuple[int, int, date]] = []
    for form, read in _FORMS:
        more = []
        for match in form.finditer(text):
            day = read(match, day_first)
            if day is not None and _is_free(found, match.start(), match.end()):
                more.append((match.start(), match.end(), day))
        found = sorted([*found, *more])
    return found


def _is_free(found: list[tuple[int, int, date]], start: int, end: int) -> bool:
    before = bisect_left(found, (end,))
    return before == 0 or found[before - 1][1] <= start


def month_of(text: str) -> int | None:
    """The number, 1 to 12, of a month that is named without a day or a year; None otherwise."""
    found = _MONTH_ALONE.fullmatch(text)
    return _named(found[1]) if found else None


def is_date(text: str) -> bool:
    """Whether the text is a date and nothing else, and more than digits."""
    bare = text.strip().strip("[]()\"'")
    for form, read in _FORMS:
        found = form.fullmatch(bare)
        if found is not None and read(found, None) is not None:
            return True
    return False


def _first(text: str, day_first: bool | None) -> date | None:
    if _NUMBER.fullmatch(text):
        return _of_number(float(text) if "." in text else int(text))
    best: tuple[int, int, date] | None = None
    for form, read in _FORMS:
        for found in form.finditer(text):
            made = read(found, day_first)
            if made is None:
                continue
            place = found.start(), -found.end()
            if best is None or place < best[:2]:
                best = (*place, made)
            break
    return best[2] if best else None


_known = lru_cache(1 << 14)(_first)


def _of_number(number: float) -> date | None:
    if not 0 <= number < _MOST:
        return None
    if number == int(number) and (compact := _COMPACT.fullmatch(str(int(number)))):
        year, month, day = map(int, compact.groups())
        made = _made(year, month, day) if year in _COMPACT_YEARS else None
        if made is not None:
            return made
    for _ in range(4):
        if _SECONDS.start <= number < _SECONDS.stop:
            return datetime.fromtimestamp(number, UTC).date()
        number /= 1_000
    return None


def day_first_of(texts: Iterable[str]) -> bool | None:
    """How dates such as 06/07/2022 are meant where others beside them tell; None otherwise."""
    told = set()
    for text in texts:
        found = _NUMERIC.search(text)
        if found is not None and int(found[1]) > _MONTHS_A_YEAR >= int(found[2]):
            told.add(True)
        elif found is not None and int(found[2]) > _MONTHS_A_YEAR >= int(found[1]):
            told.add(False)
    return told.pop() if len(told) == 1 else None
