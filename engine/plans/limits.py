"""Which records a question is about: those of a time, or with a value that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from outcore.engine.plans.conditions import NEAR, side_of
from outcore.engine.plans.wording import mentions
from outcore.kernel_sandbox.inside.dates import MONTHS, dates_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outcore.engine.plans.bounds import Bound
    from outcore.engine.plans.scene import Scene
    from outcore.kernel_sandbox.inside.layout import Field

_NAMES = "|".join(MONTHS)
# From one month to another; months with a day or a year are dates.
_MONTHS = re.compile(
    rf"\b(?:({_NAMES})\s*(?:to|until|till|through|-|\u2013)\s*({_NAMES})"
    rf"|between\s+({_NAMES})\s+and\s+({_NAMES}))\b(?!\s+\d)"
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
_RANGE = re.compile(
    r"\b(?:between|from|through)\s|\d\s*(?:to|until|till|-|\u2013)\s", re.IGNORECASE
)
# A date without a day.
_WHOLE_MONTH = re.compile(r"[^\d]*\d{4}\Z|\d{4}-\d\d\Z")
_KEY = re.compile(r"(?<![\w@.-])[\w@.-]*\d[\w@.-]*\w")
_LEAST_KEY = 2

_DAY_OF, _MONTH_OF, _YEAR_OF = "d.isoformat()", "d.strftime('%Y-%m')", "d.strftime('%Y')"


class _Span(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class Limits:
    """Which records count.

    Attributes:
        tests: Python expressions over a record `r`, all of which must hold; `d` is its date.
        split: the date, in ISO form, before and after which to compare; None without one.
        fields: names of the fields of which values or bounds were named.
    """

    tests: tuple[str, ...] = ()
    split: str | None = None
    fields: tuple[str, ...] = ()

    @classmethod
    def of(cls, scene: Scene, guessed: Iterable[str], *, apart: Field | None = None) -> Limits:
        """Work out from the question which records are meant.

        Args:
            scene: the question and the context.
            guessed: values that the root takes for limits; used where a record has them.
            apart: a field whose values limit nothing, as it is the one that is counted.
        """
        spans = _spans(scene)
        tests, split = _times(scene, spans) if scene.date_field is not None else ([], None)
        tests += (bound.code(field.name) for bound, field in scene.bounded)
        taken: list[_Span | Bound] = [*spans, *scene.bounds]
        held: dict[str, list[str]] = {}
        for value in (*_keys(scene.question, taken), *_values(scene), *guessed):
            places = mentions(scene.question, value)
            # A number that bounds a field is not one of its values.
            free = [
                at for at in places if all(not one.start <= at < one.end for one in scene.bounds)
            ]
            if value in scene.labels or not free:
                continue
            field = scene.field_with(value)
            if field is None or field is apart or field.type in ("text", "date"):
                continue
            if value not in held.setdefault(field.name, []):
                held[field.name].append(value)
        tests += (_among(name, values) for name, values in held.items())
        fields = dict.fromkeys((*held, *(field.name for _, field in scene.bounded)))
        return cls(tuple(tests), split, tuple(fields))

    def code(self) -> list[str]:
        """The line that makes `rows`."""
        if not self.tests:
            return ["rows = list(records)"]
        return [f"rows = [r for r in records if {' and '.join(self.tests)}]"]


def on(field: Field | None) -> str:
    """Python for the date of a record `r`."""
    assert field is not None
    more = "" if field.day_first is None else f", day_first={field.day_first}"
    return f"as_date(r[{field.name!r}]{more})"


def _spans(scene: Scene) -> list[_Span]:
    """The days, the months with a year and the years that a question names, in order."""
    question, field = scene.question, scene.date_field
    found = []
    for start, end, day in dates_in(question, field.day_first if field else None):
        whole = _WHOLE_MONTH.match(question[start:end].strip())
        of, stamp = (_MONTH_OF, f"{day:%Y-%m}") if whole else (_DAY_OF, day.isoformat())
        found.append(_Span(start, end, of, stamp))
    for match in _YEAR.finditer(question) if field else ():
        lead = _before(question, match)
        apart = all(match.end() <= one.start or one.end <= match.start() for one in found)
        if apart and (_YEARLY.search(lead) or side_of(lead)):
            found.append(_Span(match.start(), match.end(), _YEAR_OF, match[1]))
    return sorted(found)


def _times(scene: Scene, spans: list[_Span]) -> tuple[list[str], str | None]:
    """Tests of a record's date, and the day before and after which to compare."""
    question = scene.question
    dated = f"(d := {on(scene.date_field)})"
    tests = [f"{dated} and {test}" for test in _in_months(question)]
    split = None
    for of in (_YEAR_OF, _MONTH_OF, _DAY_OF):
        named = [one for one in spans if one.of == of]
        stamps = sorted({one.stamp for one in named})
        if not stamps:
            continue
        low, high = stamps[0], stamps[-1]
        if low == high and _both_sides(question):
            split = named[0].first
        elif low == high:
            side = side_of(question[: named[0].start]) or "=="
            tests.append(f"{dated} and {of} {side} {low!r}")
        elif of == _YEAR_OF and not _RANGE.search(question[: named[-1].start]):
            tests.append(f"{dated} and {of} in {stamps}")
        else:
            tests.append(f"{dated} and {low!r} <= {of} <= {high!r}")
    return tests, split


def _in_months(question: str) -> list[str]:
    """Tests of months that are named without a year."""
    months: set[int] = set()
    for match in _MONTHS.finditer(question):
        first, last = (MONTHS.index(name) for name in match.groups() if name)
        months.update((first + n) % 12 + 1 for n in range((last - first) % 12 + 1))
    tests = []
    both = _both_sides(question)
    for match in _MONTH.finditer(_MONTHS.sub("", question)):
        number, lead = MONTHS.index(match[1]) + 1, _before(match.string, match)
        if _MONTHLY.search(lead):
            months.add(number)
        elif (side := side_of(lead)) and not both:
            tests.append(f"d.month {side} {number}")
    return [*([f"d.month in {sorted(months)}"] if months else []), *tests]


def _both_sides(question: str) -> bool:
    """Whether what is before a date is compared with what is after it."""
    return all(side.search(question) for side in _SIDES)


def _before(question: str, match: re.Match[str]) -> str:
    """The words that lead to what was found."""
    return question[max(0, match.start() - NEAR) : match.start()]


def _stands(scene: Scene, value: str) -> bool:
    """Whether the question names a value, and not only as a number that bounds a field."""
    return any(
        all(not one.start <= at < one.end for one in scene.bounds)
        for at in mentions(scene.question, value)
    )


def _keys(question: str, spans: list[_Span | Bound]) -> list[str]:
    """Words with digits, outside of dates and bounds: numbers and keys that a record may have."""
    return [
        match[0]
        for match in _KEY.finditer(question)
        if len(match[0]) >= _LEAST_KEY
        and all(match.end() <= one.start or one.end <= match.start() for one in spans)
    ]


def _values(scene: Scene) -> list[str]:
    """Values of label fields that the question names."""
    every = (value for field in scene.fields if field.type == "label" for value in field.values)
    return [value for value in every if len(value) > 1 and mentions(scene.question, value)]


def _among(name: str, values: list[str]) -> str:
    plain = [value.casefold() for value in values]
    return f"str(r[{name!r}]).casefold() in {plain!r}"
