"""Plans for what has to be counted, compared or ranked over records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from outcore.engine.plans.labelling import Labelling
from outcore.engine.plans.plan import TEXTS, Kind, NoPlan, Plan, objects, texts
from outcore.engine.plans.wording import month_of
from outcore.kernel_sandbox.inside.dates import as_date

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from outcore.engine.plans.scene import Scene
    from outcore.kernel_sandbox.inside.layout import Field

_TIMES = ("day", "month", "year")
_KEYS = {"day": "%Y-%m-%d", "month": "%B %Y", "year": "%Y"}
_YEAR = re.compile(r"(?:19|20)\d\d")
_BOTH_SIDES = re.compile(r"\bbefore\b.*\bafter\b|\bafter\b.*\bbefore\b", re.DOTALL | re.IGNORECASE)
_EARLIER = re.compile(
    r"\b(?:before|until|till|up to|earlier than|by)\W+(?:the\s+)?$", re.IGNORECASE
)


class Count:
    """Label the records where that needs reading, and tally them."""

    kind: ClassVar[Kind] = "count"

    def schema(self, scene: Scene) -> dict[str, Any]:
        """Labels, those asked about, values that limit the records, and groups."""
        names = [field.name for field in scene.fields]
        return objects(
            labels=TEXTS,
            of=TEXTS,
            values=TEXTS,
            per={"enum": ["none", *_TIMES, *names]},
        )

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """The program that counts.

        Raises:
            NoPlan: there are no records, or nothing to count by.
        """
        if not scene.fields:
            raise NoPlan("the context has no records")
        of = tuple(one for one in texts(filled.get("of")) if scene.says(one))
        labelling = Labelling.of(scene, texts(filled.get("labels")), of)
        per = str(filled.get("per", "none"))
        grouped = scene.field(per)
        if labelling is None:
            if grouped is None:
                raise NoPlan("neither labels nor a field to count by")
            labelling, grouped, per = Labelling(grouped), None, "none"
        wanted = [one for one in texts(filled.get("values")) if scene.says(one)]
        limits = Limits.of(scene, [one for one in wanted if not labelling.names(one)])
        named = labelling.named(of)
        lines = [*limits.code(), *labelling.code()]
        by = ""
        if limits.split is not None:
            side = f"('before' if d.isoformat() < {limits.split!r} else 'after')"
            by = f"[(d := {_on(scene.date_field)}) and {side} for r in rows]"
        elif grouped is not None and grouped is not labelling.field:
            by = f"[r[{grouped.name!r}] for r in rows]"
        elif per in _TIMES and scene.date_field is not None:
            by = f"[(d := {_on(scene.date_field)}) and d.strftime({_KEYS[per]!r}) for r in rows]"
        lines.append(f"counts = tally(labels, by={by})" if by else "counts = tally(labels)")
        lines += _report(named, bool(by), limits.split, per)
        return Plan("count", filled, "\n".join(lines))


@dataclass(frozen=True, slots=True)
class Limits:
    """Which records count.

    Attributes:
        tests: Python expressions over a record `r`, all of which must hold.
        split: the date, in ISO form, before and after which to compare.
    """

    tests: tuple[str, ...] = ()
    split: str | None = None

    @classmethod
    def of(cls, scene: Scene, values: Sequence[str]) -> Limits:
        """Work out from the values named which records are meant."""
        when = scene.date_field
        tests: list[str] = []
        days: list[tuple[str, date]] = []
        months: list[int] = []
        years: list[int] = []
        others: dict[str, list[str]] = {}
        for value in values:
            month = month_of(value)
            if when is not None and month is not None:
                months.append(month)
            elif when is not None and _YEAR.fullmatch(value):
                years.append(int(value))
            elif when is not None and (day := as_date(value)) is not None:
                days.append((value, day))
            elif (field := scene.field_with(value)) is not None:
                others.setdefault(field.name, []).append(value)
        split = None
        if months:
            tests.append(f"{_dated(when)} and d.month in {months}")
        if years:
            tests.append(f"{_dated(when)} and d.year in {years}")
        if len(days) >= 2:
            first, last = (
                one.isoformat() for one in sorted(day for _, day in days)[:: len(days) - 1]
            )
            tests.append(f"{_dated(when)} and {first!r} <= d.isoformat() <= {last!r}")
        elif days:
            said, day = days[0]
            if _BOTH_SIDES.search(scene.question):
                split = day.isoformat()
            elif _EARLIER.search(scene.question[: scene.question.casefold().find(said.casefold())]):
                tests.append(f"{_dated(when)} and d.isoformat() < {day.isoformat()!r}")
            else:
                tests.append(f"{_dated(when)} and d.isoformat() > {day.isoformat()!r}")
        tests += (f"str(r[{name!r}]) in {held}" for name, held in others.items())
        return cls(tuple(tests), split)

    def code(self) -> list[str]:
        """The line that makes `rows`."""
        if not self.tests:
            return ["rows = list(records)"]
        return [f"rows = [r for r in records if {' and '.join(self.tests)}]"]


def _on(field: Field | None) -> str:
    assert field is not None
    more = "" if field.day_first is None else f", day_first={field.day_first}"
    return f"as_date(r[{field.name!r}]{more})"


def _dated(field: Field | None) -> str:
    return f"(d := {_on(field)})"


def _report(named: tuple[str, ...], grouped: bool, split: str | None, per: str) -> list[str]:
    """What is printed: as little as answers any question about the labels named."""
    if len(named) == 2 and split is None:
        return [f"print(counts.compare({named[0]!r}, {named[1]!r}))"]
    if len(named) == 1 and split is not None:
        return [f"print(counts.shares({named[0]!r}))  # before and after {split}"]
    if len(named) == 1 and grouped:
        [label] = named
        return [
            f"print({label!r}, 'alone is the most frequent in', counts.sole[{label!r}], "
            f"'of', len(counts.groups), {per + 's' if per in _TIMES else 'groups'!r})",
            f"print({label!r}, 'in all:', counts[{label!r}], 'of', counts.total())",
        ]
    if len(named) == 1:
        return [f"print({named[0]!r}, counts[{named[0]!r}])", "print(counts)"]
    return ["print(counts)"]
