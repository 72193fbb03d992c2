"""Which times a question names, and what must hold of the date of a record."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from outcore.engine.plans.sides import side_of
from outcore.engine.plans.wording import NEAR, denied
from outcore.kernel_sandbox.inside.dates import MONTHS, dates_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.engine.plans.scene import Scene
    from outcore.kernel_sandbox.inside.layout import Field

_NAMES = "|".join(MONTHS)
# From one month to another; months with a day or a year are dates.
_MONTHS = re.compile(
    rf"\b(?:({_NAMES})\s*(?:to|until|till|through|-|\u2013)\s*({_NAMES})"
    rf"|between\s+({_NAMES})\s+and\s+({_NAMES}))\b(?!,?\s+\d)"
)
_MONTH = re.compile(rf"\b({_NAMES})\b(?!,?\s+\d)")
_MONTHLY = re.compile(
    r"(?:\b(?:in|of|during|for|each|every|and|or|per|month)|,)\s+\Z", re.IGNORECASE
)
_YEAR = re.compile(r"(?<![\w.,/-])((?:19|20)\d\d)(?![\w/-]|[.,]\d)")
_YEARLY = re.compile(
    r"\b(?:in|of|during|for|years?|and|or|to|through|between|from)\s+\Z", re.IGNORECASE
)
_SIDES = (re.compile(r"\bbefore\b", re.IGNORECASE), re.compile(r"\bafter\b", re.IGNORECASE))
_BEGINS = re.compile(r"\b(?:between|from|after|since)\s+(?:the\s+)?\Z", re.IGNORECASE)
_BETWEEN = re.compile(r"\bbetween\s+(?:the\s+)?\Z", re.IGNORECASE)
_TO = re.compile(r"\s*+(?:to|until|till|through|up to|-|\u2013)\s*+(?:the\s+)?", re.IGNORECASE)
_AND = re.compile(r"\s*+and\s+(?:the\s+)?", re.IGNORECASE)
_OR = re.compile(r"\bor\b", re.IGNORECASE)
# A month whose year stands with the one after it: `January and March 2021`.
_SHARED = re.compile(r"\s*+(?:,|and|or|to|until|till|through|-|\u2013)\s*+", re.IGNORECASE)
_ON = re.compile(
    r"\s*+,?\s*+(?:(?:or|and)\s+(?:later|after(?:wards?)?|since|thereafter)\b|onwards?\b)",
    re.IGNORECASE,
)
_BACK = re.compile(r"\s*+,?\s*+(?:or|and)\s+(?:earlier|before)\b(?!\s+\w*\d)", re.IGNORECASE)
# A date without a day.
_WHOLE_MONTH = re.compile(r"[^\d]*\d{4}\Z|\d{4}-\d\d\Z")

_DAY_OF, _MONTH_OF, _YEAR_OF = "d.isoformat()", "d.strftime('%Y-%m')", "d.strftime('%Y')"


# Where a time begins in a question.
_WHEN = re.compile(rf"\b(?:{'|'.join(MONTHS)})\b|\d{{4}}|\d+[./-]\d")
_WORD = re.compile(r"[^\W\d_]{3,}")
# The words of a name, in whatever case it is put together.
_PART = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{3,}")
_OF_DATES = frozenset({"date", "day", "time", "datetime", "timestamp"})
_STEM = 4


class Span(NamedTuple):
    """A time that a question names.

    Attributes:
        start: where it begins in the question.
        end: where it ends.
        of: Python for the same of a record's date `d`.
        stamp: what that comes to: a day, a month or a year in ISO form.
    """

    start: int
    end: int
    of: str
    stamp: str

    @property
    def first(self) -> str:
        """Its first day."""
        return f"{self.stamp}-01-01"[: len("2000-01-01")]


def on(field: Field | None) -> str:
    """Python for the date of a record `r`."""
    assert field is not None
    more = "" if field.day_first is None else f", day_first={field.day_first}"
    return f"as_date(r[{field.name!r}]{more})"


def spans_of(scene: Scene) -> list[Span]:
    """The days, the months with a year and the years that a question names, in order."""
    question, field = scene.worded, scene.date_field
    found = []
    for start, end, day in dates_in(question, field.day_first if field else None):
        whole = _WHOLE_MONTH.match(question[start:end].strip())
        of, stamp = (_MONTH_OF, f"{day:%Y-%m}") if whole else (_DAY_OF, day.isoformat())
        found.append(Span(start, end, of, stamp))
    for match in _YEAR.finditer(question) if field else ():
        lead = before(question, match.start())
        apart = all(match.end() <= one.start or one.end <= match.start() for one in found)
        if apart and (_YEARLY.search(lead) or side_of(lead)):
            found.append(Span(match.start(), match.end(), _YEAR_OF, match[1]))
    found.sort()
    months = [match for match in _MONTH.finditer(question) if field]
    for match in reversed(months):
        year = next((one for one in found if match.end() < one.start), None)
        if (
            year is not None
            and year.of == _MONTH_OF
            and _SHARED.fullmatch(question, match.end(), year.start)
        ):
            month = f"{year.stamp[:4]}-{MONTHS.index(match[1]) + 1:02}"
            found.append(Span(match.start(), match.end(), _MONTH_OF, month))
            found.sort()
    return found


def times(scene: Scene, spans: list[Span]) -> tuple[list[str], str | None]:
    """Tests of a record's date, and the day before and after which to compare."""
    question = scene.worded
    dated = f"(d := {on(scene.date_field)})"
    tests = [f"{dated} and {test}" for test in _in_months(question, spans)]
    if len({(one.of, one.stamp) for one in spans}) == 1 and _both_sides(question):
        return tests, spans[0].first
    for clause in _clauses(question, spans):
        test = clause[0] if len(clause) == 1 else f"({' or '.join(clause)})"
        tests.append(f"{dated} and {test}")
    return tests, None


def before(question: str, start: int) -> str:
    """The words that lead to what stands there."""
    return question[max(0, start - NEAR) : start]


def _clauses(question: str, spans: list[Span]) -> list[list[str]]:
    """What must hold of a date, each in the ways of which one is enough."""
    clauses: list[list[str]] = []
    at = last = 0
    # Whether the clause before takes another time beside its own.
    open_end = False
    while at < len(spans):
        one, lead = spans[at], question[max(last, spans[at].start - NEAR) : spans[at].start]
        to = spans[at + 1] if at + 1 < len(spans) and _ranges(question, lead, spans, at) else None
        side = "==" if to else _side(question, one, lead)
        test = _range(lead, one, to) if to else f"{one.of} {side} {one.stamp!r}"
        gone = side == "==" and denied(lead)
        if gone:
            test = f"not {test}"
        joins = bool(clauses) and (
            _OR.search(lead) is not None or (open_end and side == "==" and not gone)
        )
        if joins and not gone:
            clauses[-1].append(test)
        else:
            clauses.append([test])
        open_end = side == "==" and not gone
        last = (to or one).end
        at += 2 if to else 1
    return clauses


def _ranges(question: str, lead: str, spans: list[Span], at: int) -> bool:
    """Whether a time is the first of two between which something lies."""
    one, to = spans[at], spans[at + 1]
    if _TO.fullmatch(question, one.end, to.start):
        return _BEGINS.search(lead) is not None or _side(question, one, lead) == "=="
    return bool(_BETWEEN.search(lead) and _AND.fullmatch(question, one.end, to.start))


def _range(lead: str, one: Span, to: Span) -> str:
    low, high = (one, to) if one.of != to.of or one.stamp <= to.stamp else (to, one)
    sign = "<" if side_of(lead) == ">" else "<="
    if low.of == high.of:
        return f"({low.stamp!r} {sign} {low.of} <= {high.stamp!r})"
    return f"({low.stamp!r} {sign} {low.of} and {high.of} <= {high.stamp!r})"


def _side(question: str, one: Span, lead: str) -> str:
    side = side_of(lead)
    if side is None and _ON.match(question, one.end):
        return ">="
    if side is None and _BACK.match(question, one.end):
        return "<="
    return side or "=="


def _in_months(question: str, spans: list[Span]) -> list[str]:
    """Tests of months that are named without a year."""
    free = list(question)
    for start, end, _, _ in spans:
        free[start:end] = "#" * (end - start)
    question = "".join(free)
    months: set[int] = set()
    gone: set[int] = set()
    for match in _MONTHS.finditer(question):
        first, last = (MONTHS.index(name) for name in match.groups() if name)
        months.update((first + n) % 12 + 1 for n in range((last - first) % 12 + 1))
    sided: list[tuple[int, str]] = []
    plain = _MONTHS.sub(lambda match: "#" * len(match[0]), question)
    for match in _MONTH.finditer(plain):
        number, lead = MONTHS.index(match[1]) + 1, before(plain, match.start())
        if _MONTHLY.search(lead):
            (gone if denied(lead) else months).add(number)
        elif side := side_of(lead):
            sided.append((match.start(), f"d.month {side} {number}"))
    tests = [f"d.month in {sorted(months)}"] if months else []
    tests += [f"d.month not in {sorted(gone)}"] if gone else []
    if len({test.split()[-1] for _, test in sided}) == 1 and _both_sides(question):
        return tests
    either = [_OR.search(plain, a, b) is not None for (a, _), (b, _) in pairwise(sided)]
    said = [test for _, test in sided]
    return [*tests, *([f"({' or '.join(said)})"] if any(either) else said)]


def _both_sides(question: str) -> bool:
    """Whether what is before a date is compared with what is after it."""
    return all(side.search(question) for side in _SIDES)


def date_field(question: str, fields: Sequence[Field]) -> Field | None:
    """The field that tells when: of several, the one the question names, else the first."""
    dates = [field for field in fields if field.type == "date"]
    when = _WHEN.search(question)
    end = when.start() if when else len(question)
    named = {field.name: _last_said(question[:end], field.name) for field in dates}
    return max(dates, key=lambda field: named[field.name], default=None)


def _last_said(text: str, name: str) -> int:
    """Where a word like one of a field's name stands last: `delivered` for `delivery_date`."""
    stems = [one.casefold() for one in _PART.findall(name) if one.casefold() not in _OF_DATES]
    return max(
        (
            match.start()
            for match in _WORD.finditer(text)
            for stem in stems
            if _alike(match[0].casefold(), stem)
        ),
        default=-1,
    )


def _alike(word: str, stem: str) -> bool:
    common = max(_STEM, min(len(word), len(stem)) - 2)
    return word == stem or word[:common] == stem[:common]
