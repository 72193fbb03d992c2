"""Plans for what has to be counted, compared or ranked over records."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from outcore.engine.plans.labelling import Labelling
from outcore.engine.plans.limits import Limits
from outcore.engine.plans.plan import TEXTS, Kind, NoPlan, Plan, objects, text, texts
from outcore.engine.plans.times import on
from outcore.engine.plans.wording import NEAR, denied, mentions, spans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.engine.plans.scene import Scene
    from outcore.kernel_sandbox.inside.layout import Field

_KEYS = {"day": "%Y-%m-%d", "month": "%B %Y", "year": "%Y"}
# A time that is counted by: in which month, for how many days, each year.
_PER = re.compile(
    r"\b(?:which|what|how many|each|every|per|by|most|the first|the earliest|the last)\s+"
    r"(?:(?:single|calendar|different|of the|first|last)\s+)?(day|date|month|year)s?\b",
    re.IGNORECASE,
)
# A number for each label, and not a word on them.
_EACH = re.compile(
    r"\b(?:count|tally) (?:\w+ ){0,2}each\b|\b(?:how many|numbers?|counts?)\b[^.?!]{0,40}\beach\b",
    re.IGNORECASE,
)
_HOW_MANY = re.compile(
    r"\bhow many\s+(?:of the\s+)?(?:different|distinct|unique|separate)?\s*\Z", re.IGNORECASE
)
_MANY = re.compile(r"\bhow (?:many|often)\b|\b(?:number|count) of\b|\bcount\b", re.IGNORECASE)
_WHICH = re.compile(r"\b(?:which|what)\s+(?:\w+\s+)?\Z", re.IGNORECASE)
_ENDS = {
    "least": re.compile(r"\b(?:least|fewest|rarest|lowest|smallest)\b", re.IGNORECASE),
    "most": re.compile(r"\b(?:most|highest|largest|biggest|top)\b", re.IGNORECASE),
}


class Count:
    """Label the records where that needs reading, and tally them."""

    kind: ClassVar[Kind] = "count"

    def schema(self, scene: Scene) -> dict[str, Any]:
        """What limits the records, what is counted by, and labels that nothing lists."""
        fields = [field.name for field in scene.choices if field.type != "text"]
        # A field may be called like one of these.
        per = {"enum": list(dict.fromkeys(("none", *_KEYS, *fields)))}
        if scene.about_labels:
            return objects(values=TEXTS, per=per)
        return objects(labels=TEXTS, values=TEXTS, per=per)

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """The program that counts.

        Raises:
            NoPlan: there are no records, or nothing to count by.
        """
        if not scene.fields:
            raise NoPlan("the context has no records")
        if (counted := _counted(scene)) is not None:
            return Plan("count", filled, _distinct(counted, Limits.sure(scene, ())))
        guessed, values = _sorted(scene, texts(filled.get("labels")))
        values += texts(filled.get("values"))
        labelling = Labelling.of(scene, guessed)
        field = _field(scene, filled, values)
        if labelling is None:
            if field is None:
                return Plan("count", filled, _records(scene.worded, Limits.sure(scene, values)))
            labelling, field = Labelling(field, nullable=scene.nullable), None
        limits = Limits.sure(scene, values, apart=labelling.field, labelled=labelling.judged)
        if field is labelling.field or (field is not None and field.name in limits.fields):
            field = None
        by, time = "", _time(scene, filled)
        if limits.split is not None:
            side = f"('before' if d.isoformat() < {limits.split!r} else 'after')"
            by = f"[(d := {on(scene.date_field)}) and {side} for r in rows]"
        elif time is not None:
            by = f"[(d := {on(scene.date_field)}) and d.strftime({_KEYS[time]!r}) for r in rows]"
        elif field is not None:
            by = f"[r[{field.name!r}] for r in rows]"
        lines = limits.code()
        if limits.split is not None or time is not None:
            # A record without a date is of no month, and on no side.
            lines.append(f"rows = [r for r in rows if {on(scene.date_field)}]")
        lines += labelling.code()
        lines.append(f"counts = tally(labels, by={by})" if by else "counts = tally(labels)")
        named = labelling.named if len(labelling.named) <= 2 else ()
        if not by and _EACH.search(scene.worded):
            lines += ["print(counts)", "done(dict(counts))"]
        elif labelling.judged or named or by:
            lines += _report(named, grouped=bool(by), split=limits.split, time=time)
            if len(named) == 1 and not by and _denied(scene.worded, named[0]):
                label = repr(named[0])
                lines.append(f"print(counts.total() - counts[{label}], 'are not', {label})")
        else:
            lines += _ranks(scene.worded, labelling.field.name)
        return Plan("count", filled, "\n".join(lines))


def _counted(scene: Scene) -> Field | None:
    """The field whose values are counted, each once: `how many customers`, of `customer`.

    None where a bound is on something else: `how many customers have more than 3 orders`.
    """
    if scene.about_labels or len(scene.bounds) > len(scene.bounded):
        return None
    for field in scene.fields:
        if not field.is_amount and field is not scene.text_field:
            for start in mentions(scene.worded, field.name):
                if _HOW_MANY.search(scene.worded[max(0, start - NEAR) : start]):
                    return field
    return None


def _distinct(field: Field, limits: Limits) -> str:
    """The program that counts the values of a field, each once."""
    name = field.name
    return "\n".join(
        [
            *limits.code(),
            f"values = {{str(r[{name!r}]) for r in rows}} - {{'', 'None'}}",
            f"print(len(values), 'different', {name!r}, 'in', len(rows), 'records')",
        ]
    )


def _denied(question: str, label: str) -> bool:
    """Whether what is asked for is all that does not have a label."""
    return any(
        denied(question[max(0, start - NEAR) : start]) for start in mentions(question, label)
    )


def _sorted(scene: Scene, guessed: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the root took for labels: those, and those that limit the records.

    Values of several fields are no labels of one kind; and words for a record itself are none.
    """
    if scene.about_labels:
        return guessed, ()
    guessed = tuple(one for one in guessed if not _is_none(scene, one))
    held = {one: field for one in guessed if (field := scene.values.label(one)) is not None}
    if len({field.name for field in held.values()}) < 2 and len(held) in (0, len(guessed)):
        return guessed, ()
    return tuple(one for one in guessed if one not in held), tuple(held)


def _is_none(scene: Scene, words: str) -> bool:
    """Whether words are no label: a record, `component` of `which component`, or `15 units`."""
    asked = spans(scene.worded, words)
    return (
        scene.is_record(words)
        or any(_WHICH.search(scene.worded[max(0, start - NEAR) : start]) for start, _ in asked)
        or any(start < one.end and one.start < end for start, end in asked for one in scene.bounds)
    )


def _records(question: str, limits: Limits) -> str:
    """The program that counts the records themselves.

    Raises:
        NoPlan: the question limits none, or does not ask how many there are.
    """
    if not limits.tests or not _MANY.search(question):
        raise NoPlan("neither labels, nor a field to count by, nor what limits the records")
    lines = [*limits.code(), "print(len(rows), 'is the number asked for')"]
    # Where there are none, a weak root would go on to look for some.
    return "\n".join([*lines, "if not rows: done('0')"])


def _time(scene: Scene, filled: Mapping[str, Any]) -> str | None:
    """The span of time that is counted by, where the records have dates."""
    if scene.date_field is None:
        return None
    asked = _PER.search(scene.worded)
    told = asked[1].casefold().replace("date", "day") if asked else text(filled.get("per"))
    # A month that is named limits the records; which month is asked for is another matter.
    return told if told in _KEYS and (asked or mentions(scene.worded, told)) else None


def _field(scene: Scene, filled: Mapping[str, Any], values: tuple[str, ...]) -> Field | None:
    """The field that is counted by: one that the question names, the root's choice first.

    A key tells every record apart: `which region has the most orders` counts by region. One of
    which a value is named limits the records: `how many lines has the component auth`.
    """
    limiting = Limits.of(scene, values).fields if _MANY.search(scene.worded) else ()
    named = sorted(
        (one for one in scene.countables if one.name not in limiting),
        key=lambda one: one.type == "text",
    )
    chosen = scene.field(text(filled.get("per")))
    if chosen in named and chosen.type == named[0].type:
        return chosen
    return next(iter(named), None)


def _ranks(question: str, name: str) -> list[str]:
    """What is printed of the values of a field, which may be many: the ends that are asked for."""
    # Nothing but the answer: among like numbers, a weak root picks one that it has seen before.
    lines = []
    for end, words in _ENDS.items():
        if words.search(question):
            lines += [
                f"end = counts.{end}()",
                "tied = len(end.labels) > 1",
                f"print(end, 'tie for' if tied else 'is', 'the {end} common', {name!r}, 'with',"
                " end.each, 'of', counts.total(), 'records', 'each' if tied else '')",
                # Among equals, a weak root picks one, or looks for another that is none.
                "if tied: done(str(end) + ' tie, with ' + str(end.each) + ' each')",
            ]
    return lines or ["print(counts)"]


def _report(
    named: tuple[str, ...], *, grouped: bool, split: str | None, time: str | None
) -> list[str]:
    """What is printed: as little as answers any question about the labels named."""
    if len(named) == 2 and split is None:
        return [f"print(counts.compare({named[0]!r}, {named[1]!r}))"]
    if len(named) == 1 and split is not None:
        return [f"print(counts.shares({named[0]!r}))  # before and after {split}"]
    if len(named) == 1 and grouped:
        label = repr(named[0])
        what = f"{time}s" if time else "groups"
        return [
            f"print(counts.sole[{label}], 'of', len(counts.groups), {what!r},"
            f" 'have more of', {label}, 'than of any other')",
            f"print(counts.leaders({label}))",
            f"print({label}, 'in all:', counts[{label}], 'of', counts.total())",
        ]
    if len(named) == 1:
        label = repr(named[0])
        return [f"print({label}, 'occurs', counts[{label}], 'times')", "print(counts)"]
    return ["print(counts)"]
