"""Plans for averages, totals and extremes of a field of numbers."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from outcore.engine.plans.limits import Limits
from outcore.engine.plans.plan import Kind, NoPlan, Plan
from outcore.engine.plans.wording import NEAR, mentions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from outcore.engine.plans.scene import Scene
    from outcore.kernel_sandbox.inside.layout import Field

# Of numbers `n`, of which there is one at least.
_MEASURES = {
    "average": (r"averages?|mean|on average", "sum(n) / len(n)"),
    "total": (r"totals?|sum|altogether|in all", "sum(n)"),
}
_ENDS = {
    "highest": (r"highest|maxim(?:um|al)|max|largest|biggest|greatest|most|longest", "max"),
    "lowest": (r"lowest|minim(?:um|al)|min|smallest|least|fewest|shortest", "min"),
}
_HOW_MANY = re.compile(r"\b(?:how many|how much|the number of)\s+(?:\w+\s+)?\Z", re.IGNORECASE)
# Before the name of a field, says that each of its values gets a number; or asks for one of them,
# which the record with the highest number tells too.
_EACH = re.compile(
    r"\b(?:per|by|each|every|all|different|various|among|across)\s+(?:the\s+)?\Z", re.IGNORECASE
)
_WHICH = re.compile(r"\b(?:which|what|whose)\s+(?:the\s+)?\Z", re.IGNORECASE)
_ASKED = re.compile(
    r"\b(?:averages?|mean|totals?|sum|altogether|highest|lowest|maxim(?:um|al)|minim(?:um|al)"
    r"|max|min|largest|smallest|greatest)\b",
    re.IGNORECASE,
)
_FEW = 50


class Measure:
    """Take the numbers out of the records, and say what they come to."""

    kind: ClassVar[Kind] = "measure"

    def schema(self, scene: Scene) -> None:
        """Nothing: the question's words name the field, and what is to be worked out."""

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """The program that works it out.

        Raises:
            NoPlan: the question names no field of numbers.
        """
        field = measured(scene)
        if field is None:
            raise NoPlan("no field of numbers is named")
        limits = Limits.sure(scene, (), apart=field)
        measures = _said(scene.worded, _MEASURES)
        groups = _groups(scene, field, each=not measures)
        by = next((one for one in groups if one.name not in limits.fields), None)
        ends = _said(scene.worded, _ENDS)
        if not measures and not ends:
            measures = {"total": _MEASURES["total"][1]}
        numbers = f"[x for r in {{}} if (x := {_number(field)}) is not None]"
        lines = limits.code()
        if by is None:
            lines.append(f"n = {numbers.format('rows')}")
            lines += _of_all(field, measures, ends)
        else:
            lines += [
                f"groups = group(rows, {by.name!r})",
                f"each = {{key: {numbers.format('some')} for key, some in groups.items()}}",
                *_of_each(field.name, by.name, measures, ends),
            ]
        return Plan("measure", filled, "\n".join(lines))


def measured(scene: Scene) -> Field | None:
    """The field of numbers that a question wants an average, a total or an end of; else None."""
    if scene.about_labels:
        return None
    numbers = [one for one in scene.fields if one.type == "number"]
    if _ASKED.search(scene.worded):
        named = [one for one in numbers if mentions(scene.worded, one.name)]
        # One that only says which records are meant is not the one that is measured.
        free = [one for one in named if one in scene.countables]
        # `the average of minutes for grade 5` is one of minutes, whichever column is first.
        return min(
            free or named,
            key=lambda one: (
                _led(scene.worded, one, (_EACH, _WHICH)),
                _apart(scene.worded, one.name),
            ),
            default=None,
        )
    # `How many units were sold` adds them up.
    return next((one for one in numbers if one.is_amount and _how_many(scene, one)), None)


def _apart(question: str, name: str) -> int:
    """How far a name stands from a word that asks for a number of it, in characters."""
    return min(
        start - asked.end() if start >= asked.end() else asked.start() - start - len(name)
        for asked in islice(_ASKED.finditer(question), _FEW)
        for start in mentions(question, name)[:_FEW]
    )


def _how_many(scene: Scene, field: Field) -> bool:
    question = scene.worded
    return any(
        _HOW_MANY.search(question[max(0, start - NEAR) : start])
        for start in mentions(question, field.name)
    )


def _groups(scene: Scene, field: Field, *, each: bool) -> list[Field]:
    """The fields that the question names by which it wants one number each.

    Args:
        each: whether only what is so called makes groups: `for each city`, and no `which city`.
    """
    wanted = (one for one in scene.fields if one.type != "date" and one != field)
    cues = (_EACH,) if each else (_EACH, _WHICH)
    return [one for one in wanted if _led(scene.worded, one, cues)]


def _led(question: str, field: Field, cues: Sequence[re.Pattern[str]]) -> bool:
    """Whether one of some words stands right before the name of a field."""
    near = [question[max(0, start - NEAR) : start] for start in mentions(question, field.name)]
    return any(any(map(cue.search, near)) for cue in cues)


def _said(question: str, words: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    return {
        name: code
        for name, (pattern, code) in words.items()
        if re.search(rf"\b(?:{pattern})\b", question, re.IGNORECASE)
    }


def _number(field: Field) -> str:
    """Python for the number of a record `r`."""
    return f"as_number(r[{field.name!r}]{', comma=True' if field.comma else ''})"


def _of_all(field: Field, measures: Mapping[str, str], ends: Mapping[str, str]) -> list[str]:
    lines = [
        f"print({f'{name} of {field.name}:'!r}, round({code}, 4) if n else 'none', 'over', len(n), "
        "'records')"
        for name, code in measures.items()
    ]
    for name, end in ends.items():
        if measures:
            break
        lines += [
            f"end = {end}(n, default=None)",
            f"print({f'{name} {field.name}:'!r}, end, 'of', len(n), 'records; it stands in')",
            f"ends = [r for r in rows if {_number(field)} == end][:5]",
            "for r in ends: print({name: str(value)[:80] for name, value in r.items()})",
        ]
    return lines


def _of_each(
    field: str, by: str, measures: Mapping[str, str], ends: Mapping[str, str]
) -> list[str]:
    lines = []
    for name, code in (measures or {end: f"{word}(n)" for end, word in ends.items()}).items():
        lines.append(f"told = {{key: round({code}, 4) for key, n in each.items() if n}}")
        what = f"{name} of {field}"
        for end, word in ends.items():
            lines += [
                f"end = {word}(told.values(), default=None)",
                f"print({f'{end} {what}:'!r}, end, {f'for {by}'!r}, "
                "[key for key, value in told.items() if value == end])",
            ]
        if not ends:
            lines.append(f"print({f'{what} for each {by}:'!r}, told)")
    return lines
