"""Which records a question is about: those of a time, or with a value that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING, NamedTuple

from outcore.engine.plans import absence
from outcore.engine.plans.plan import NoPlan
from outcore.engine.plans.times import Span, before, spans_of, times
from outcore.engine.plans.wording import denied, goes_on, mentions, placed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from outcore.engine.plans.bounds import Bound
    from outcore.engine.plans.scene import Scene
    from outcore.kernel_sandbox.inside.layout import Field

_KEY = re.compile(r"(?<![\w@.-])[\w@.-]*\d[\w@.-]*\w")
_LEAST_KEY, _LONGEST_KEY = 2, 40
_NAME = re.compile(
    r"(?<=\s)(?!(?:I|What|How|Which)\b)[A-Z][\w.'\u2019-]*\b(?:\s[A-Z0-9][\w.'\u2019-]*\b)*"
)
# A name that stands nowhere costs a pass over the context.
_MOST_NAMES = 4
_FOLLOWS = re.compile(r"\s*(\w+)")
_EITHER = re.compile(r"\bor\b", re.IGNORECASE)
# Words of any sentence, which may be values too: of states, of countries, of yes and no.
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """a all am an and any are as at be by can co de did do for go had has have he hi how i id
        if in is it la ma may me mi mine more most my no none not of oh ok on one or other our out
        over pa per she so than that the them there they this to un up us was we were what when
        where which who will with yes you""",
    )
)


class _Value(NamedTuple):
    """A value that a question names.

    Attributes:
        field: name of the field that has it.
        value: the value, its case folded.
        denied: whether it must not be there.
        either: whether it is as good as the value of another field before it.
    """

    field: str
    value: str
    denied: bool
    either: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """Which records count.

    Attributes:
        tests: Python expressions over a record `r`, all of which must hold; `d` is its date.
        split: the date, in ISO form, before and after which to compare; None without one.
        fields: names of the fields of which values or bounds were named.
        unclear: what in the question is not understood; then there are no tests.
        unbound: what numbers in it bound is not understood; with labels, these may.
    """

    tests: tuple[str, ...] = ()
    split: str | None = None
    fields: tuple[str, ...] = ()
    unclear: str = ""
    unbound: str = ""

    @classmethod
    def of(cls, scene: Scene, guessed: Iterable[str], *, apart: Field | None = None) -> Limits:
        """Work out from the question which records are meant.

        Args:
            scene: the question and the context.
            guessed: values that the root takes for limits; used where a record has them.
            apart: a field whose values limit nothing, as it is the one that is counted.
        """
        spans = spans_of(scene)
        tests, split = times(scene, spans) if scene.date_field is not None else ([], None)
        dated = bool(tests)
        bounding, doubt = _bounding(scene)
        tests += [*bounding, *map(absence.code, scene.absent)]
        taken: list[Span | Bound] = [*spans, *scene.bounds]
        wanted = (*_keys(scene.worded, taken), *_values(scene), *_names(scene.worded), *guessed)
        if dated:
            # Of what was closed after May it is the day that is told, and not the state.
            wanted = tuple(one for one in wanted if scene.field(one) != scene.date_field)
        named, unclear = _named(scene, dict.fromkeys(wanted), apart)
        if unclear:
            return cls(unclear=unclear)
        tests += _among(named)
        limiting = (*(field for _, field in scene.bounded), *scene.absent)
        every = (*(one.field for one in named), *(field.name for field in limiting))
        return cls(tuple(tests), split, tuple(dict.fromkeys(every)), unbound=doubt)

    @classmethod
    def sure(
        cls,
        scene: Scene,
        guessed: Iterable[str],
        *,
        apart: Field | None = None,
        labelled: bool = False,
    ) -> Limits:
        """The same, for a program; `labelled` where it gives each record a label.

        Raises:
            NoPlan: the question limits the records in a way that is not understood.
        """
        found = cls.of(scene, guessed, apart=apart)
        doubt = found.unclear or ("" if labelled else found.unbound)
        if doubt:
            raise NoPlan(doubt)
        return found

    def code(self) -> list[str]:
        """The line that makes `rows`."""
        if not self.tests:
            return ["rows = list(records)"]
        return [f"rows = [r for r in records if {' and '.join(self.tests)}]"]


def _bounding(scene: Scene) -> tuple[list[str], str]:
    """Tests of the numbers that are bounded; and what is unclear of them."""
    question, held = scene.worded, scene.bounded
    if scene.about_labels or not any(one.type == "number" for one in scene.fields):
        return [], ""
    for bound in scene.bounds:
        follows = _FOLLOWS.match(question, bound.end)
        if all(bound != one for one, _ in held) and not (follows and scene.is_record(follows[1])):
            return [], f"{question[bound.start : bound.end]!r} is said of no field"
    leads = [question[one.end : other.start] for (one, _), (other, _) in pairwise(held)]
    either = [_EITHER.search(lead) is not None for lead in leads]
    if any(either) and not all(either):
        return [], "`and` and `or` between numbers"
    tests = [bound.code(field) for bound, field in held]
    return ([f"({' or '.join(tests)})"] if any(either) else tests), ""


def _keys(question: str, spans: list[Span | Bound]) -> list[str]:
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
    return [value for value in every if len(value) > 1 and mentions(scene.worded, value)]


def _named(scene: Scene, wanted: Iterable[str], apart: Field | None) -> tuple[list[_Value], str]:
    """The values that limit the records, in order; and what is unclear of them."""
    question = scene.worded
    found: list[_Value] = []
    last = 0
    for start, end, value in placed(question, (one for one in wanted if one not in scene.labels)):
        # A number that bounds a field is not one of its values.
        if any(one.start <= start < one.end for one in scene.bounds):
            continue
        fields = [one for one in scene.values.fields(value) if _limiting(one, value)]
        field = _nearest(question, fields, start)
        if field is None and fields:
            return [], f"{value!r} stands in {' and '.join(one.name for one in fields)}"
        if field is None or field == apart or not _meant(question, field.name, value, start):
            continue
        lead = question[last:start]
        prior = found[-1] if found else None
        same = prior is not None and prior.field == field.name
        gone = denied(lead) or (same and goes_on(lead) and found[-1].denied)
        either = prior is not None and not same and _EITHER.search(lead) is not None
        if prior is None or (prior.field, prior.value, prior.denied) != (
            field.name,
            value.casefold(),
            gone,
        ):
            found.append(_Value(field.name, value.casefold(), gone, either))
        last = end
    joints = {one.either for at, one in enumerate(found) if at and one.field != found[at - 1].field}
    return (found, "") if len(joints) < 2 else ([], "`and` and `or` between values")


def _limiting(field: Field, value: str) -> bool:
    """Whether a value that a field has tells records apart; a text does where it is a key."""
    return field.type != "date" and (field.type != "text" or len(value) <= _LONGEST_KEY)


def _names(question: str) -> list[str]:
    """Names, which a key may be: capitalised words on end, but for the first of the question."""
    return [match[0] for match in islice(_NAME.finditer(question), _MOST_NAMES)]


def _nearest(question: str, fields: Sequence[Field], start: int) -> Field | None:
    """Of fields with one value, the one whose name stands nearest to it; None: none is named."""
    if len(fields) == 1:
        return fields[0]
    apart = {
        field.name: min(abs(start - at) for at in places)
        for field in fields
        if (places := mentions(question, field.name))
    }
    named = [field for field in fields if field.name in apart]
    return min(named, key=lambda one: apart[one.name], default=None)


def _meant(question: str, name: str, value: str, start: int) -> bool:
    """Whether it is a value that stands there, and not a word of any sentence: IN, no, or."""
    if value.casefold() not in _COMMON:
        return True
    written = question[start : start + len(value)]
    if written == value and not value.islower() and not question.isupper() and start:
        return True
    lead = before(question, start)
    leads = rf"(?<!\w){re.escape(name)}\W*(?:is|was|are|of|equals)?\W*\Z|['\"\u201c]\Z"
    return re.search(leads, lead, re.IGNORECASE) is not None


def _among(named: Sequence[_Value]) -> list[str]:
    """Python for having the values that are named, and none of those that are denied."""
    tests: dict[tuple[str, bool], list[str]] = {}
    for one in named:
        tests.setdefault((one.field, one.denied), []).append(one.value)
    made = [
        f"str(r[{name!r}]).casefold() {'not in' if gone else 'in'} {list(dict.fromkeys(values))!r}"
        for (name, gone), values in tests.items()
    ]
    if any(one.either for one in named):
        return [f"({' or '.join(made)})"]
    return made
