"""Which records a question is about: those of a time, or with a value that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from outcore.engine.plans.wording import MONTHS, mentions
from outcore.kernel_sandbox.inside.dates import dates_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outcore.engine.plans.scene import Scene
    from outcore.kernel_sandbox.inside.layout import Field

_MONTH = re.compile(rf"\b({'|'.join(MONTHS)})\b(?!\s+\d)")
_MONTHLY = re.compile(r"(?:\b(?:in|of|during|for|each|every|and|or|to|per|month)|,)\s+\Z")
_YEAR = re.compile(r"\b(?:in|of|during|for|year|and|or)\s+((?:19|20)\d\d)\b(?!-)")
_BOTH_SIDES = re.compile(r"\bbefore\b.*\bafter\b|\bafter\b.*\bbefore\b", re.DOTALL | re.IGNORECASE)
_EARLIER = re.compile(
    r"\b(?:before|until|till|up to|earlier than|by)\s+(?:the\s+)?\Z", re.IGNORECASE
)
_LATER = re.compile(r"\b(?:after|since|from|later than|following)\s+(?:the\s+)?\Z", re.IGNORECASE)
# A date without a day.
_WHOLE_MONTH = re.compile(r"[^\d]*\d{4}\Z|\d{4}-\d\d\Z")
_KEY = re.compile(r"[\w@.-]*\d[\w@.-]*\w")
_LEAST_KEY = 2

# Where a date stands in a question, and which day it is.
Span = tuple[int, int, date]


@dataclass(frozen=True, slots=True)
class Limits:
    """Which records count.

    Attributes:
        tests: Python expressions over a record `r`, all of which must hold; `d` is its date.
        split: the date, in ISO form, before and after which to compare; None without one.
        fields: names of the fields of which values were named.
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
        spans = dates_in(scene.question)
        tests, split = _times(scene, spans) if scene.date_field is not None else ([], None)
        held: dict[str, list[str]] = {}
        for value in (*_keys(scene.question, spans), *_values(scene), *guessed):
            if value in scene.labels or not mentions(scene.question, value):
                continue
            field = scene.field_with(value)
            if field is None or field is apart or field.type in ("text", "date"):
                continue
            if value not in held.setdefault(field.name, []):
                held[field.name].append(value)
        tests += (_among(name, values) for name, values in held.items())
        return cls(tuple(tests), split, tuple(held))

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


def _times(scene: Scene, spans: list[Span]) -> tuple[list[str], str | None]:
    question, tests = scene.question, []
    dated = f"(d := {on(scene.date_field)})"
    whole = [one for one in spans if _WHOLE_MONTH.match(question[one[0] : one[1]].strip())]
    days = [one for one in spans if one not in whole]
    months = [
        MONTHS.index(match[1]) + 1
        for match in _MONTH.finditer(question)
        if _MONTHLY.search(question[: match.start()])
    ]
    years = [int(match[1]) for match in _YEAR.finditer(question)]
    years = [year for year in years if not any(str(year) in question[a:b] for a, b, _ in spans)]
    split = None
    if months:
        tests.append(f"{dated} and d.month in {sorted(set(months))}")
    if years:
        tests.append(f"{dated} and d.year in {sorted(set(years))}")
    stamps = [f"{day:%Y-%m}" for _, _, day in whole]
    if len(stamps) == 1:
        tests.append(f"{dated} and d.strftime('%Y-%m') == {stamps[0]!r}")
    elif stamps:
        tests.append(f"{dated} and {min(stamps)!r} <= d.strftime('%Y-%m') <= {max(stamps)!r}")
    if len(days) > 1:
        stamps = sorted(f"{day:%Y-%m-%d}" for _, _, day in days)
        if stamps[0] == stamps[-1] and _BOTH_SIDES.search(question):
            split = stamps[0]
        else:
            tests.append(f"{dated} and {stamps[0]!r} <= d.isoformat() <= {stamps[-1]!r}")
    elif days:
        [(start, _, day)] = days
        stamp, lead = f"{day:%Y-%m-%d}", question[:start]
        if _BOTH_SIDES.search(question):
            split = stamp
        elif _EARLIER.search(lead):
            tests.append(f"{dated} and d.isoformat() < {stamp!r}")
        elif _LATER.search(lead):
            tests.append(f"{dated} and d.isoformat() > {stamp!r}")
        else:
            tests.append(f"{dated} and d.isoformat() == {stamp!r}")
    return tests, split


def _keys(question: str, spans: list[Span]) -> list[str]:
    """Words with digits, outside of dates: numbers and keys that a record may have."""
    return [
        match[0]
        for match in _KEY.finditer(question)
        if len(match[0]) >= _LEAST_KEY
        and all(match.end() <= start or end <= match.start() for start, end, _ in spans)
    ]


def _values(scene: Scene) -> list[str]:
    """Values of label fields that the question names."""
    every = (value for field in scene.fields if field.type == "label" for value in field.values)
    return [value for value in every if len(value) > 1 and mentions(scene.question, value)]


def _among(name: str, values: list[str]) -> str:
    plain = [value.casefold() for value in values]
    return f"str(r[{name!r}]).casefold() in {plain!r}"
