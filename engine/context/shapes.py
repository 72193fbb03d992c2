"""Which shape the lines of a context share, if any."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from outcore.engine.context.fields import type_of
from outcore.engine.context.named_values import named_values
from outcore.engine.context.tables import tables
from outcore.kernel_sandbox.inside.layout import Shape
from outcore.kernel_sandbox.inside.patterns import PATTERNS
from outcore.kernel_sandbox.inside.shapes import object_of, parser

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TRIED = 600
_RUN = 20
_HEAD = 40
_FEWEST = 3
_CLOSE = 0.1
# How often a name is followed by the one that mostly follows it, in a form; few speakers may
# take strict turns for a while.
_REGULAR = 0.95
_OFTEN = 0.6
_SPEAKERS = 4
# The share of lines a shape must fit: little where chance makes no such line.
_STRONG = 0.5
_WEAK = 0.8
_TURNS = 0.6
LOGS = ("access", "syslog", "component", "level", "source", "severity")
_FEW = 30
_DETAILS = 6
_TEXT_WORDS = 2.0


class Fit(NamedTuple):
    """How well a shape suits.

    Attributes:
        shape: the shape.
        share: share of the lines that are records of it.
    """

    shape: Shape
    share: float


def shape_of(lines: Sequence[str], head: Sequence[str], *, named: bool) -> Fit | None:
    """The shape most lines have, or None.

    Args:
        lines: lines from all over the context.
        head: its first lines.
        named: whether the files are called tables.
    """
    some = _some(lines)
    if not some:
        return None
    fits: list[Fit] = []
    for shape, least in _candidates(some, head[:_HEAD], named=named):
        parse = parser(shape)
        found = [values for line in some if (values := parse(line)) is not None]
        share = len(found) / len(some)
        if share >= least and len(found) >= min(_FEWEST, len(some)) and _likely(shape, found):
            fits.append(Fit(shape, share))
    best = max((fit.share for fit in fits), default=0.0)
    # Candidates come with the more telling first.
    return next((fit for fit in fits if fit.share >= best - _CLOSE), None)


def _some(lines: Sequence[str]) -> list[str]:
    """Runs of lines that follow each other, spread over all."""
    if len(lines) <= _TRIED:
        return list(lines)
    step = (len(lines) - _RUN) / (_TRIED // _RUN - 1)
    starts = (int(number * step) for number in range(_TRIED // _RUN))
    return [line for start in starts for line in lines[start : start + _RUN]]


def _candidates(
    lines: Sequence[str], head: Sequence[str], *, named: bool
) -> Iterator[tuple[Shape, float]]:
    objects = [value for line in lines if (value := object_of(line)) is not None]
    if objects:
        yield Shape("json", names_of(objects)), _STRONG
    for shape in named_values(lines):
        yield shape, _STRONG
    if named:
        for shape in tables(lines, head, named=True):
            yield shape, _STRONG
    for name in LOGS:
        yield _pattern(name), _STRONG
    yield _pattern("chat"), _TURNS
    for shape in tables(lines, head, named=named):
        yield shape, _WEAK if len(shape.names) == 2 else _STRONG
    for name in ("marked", "bracket", "labels", "numbered", "turn", "label", "stamp"):
        yield _pattern(name), _TURNS if name in ("turn", "stamp") else _WEAK


def names_of(objects: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """The keys of most objects first come first; rare ones, which may be data, are left out."""
    uses = Counter(key for value in objects for key in value)
    least = 0.02 * len(objects)
    return tuple(key for key, many in uses.items() if many >= least)


def _pattern(name: str) -> Shape:
    return Shape("pattern", tuple(PATTERNS[name].groupindex), pattern=name)


def _likely(shape: Shape, found: Sequence[dict[str, Any]]) -> bool:
    """Whether the records look like what their shape says."""
    match shape.pattern:
        case "numbered":
            numbers = [int(one["number"]) for one in found]
            rising = sum(1 for low, high in pairwise(numbers) if high > low)
            return rising >= _WEAK * (len(numbers) - 1)
        case "turn" | "chat":
            speakers = Counter(one["speaker"] for one in found)
            # Names come back, and are names: "note that:" is neither.
            titled = sum(many for name, many in speakers.items() if not name[0].islower())
            often = 2 <= len(speakers) <= max(2, len(found) // 2)
            turns = [one["speaker"] for one in found]
            return often and titled >= _WEAK * len(found) and not _like_a_form(turns)
        case "label" | "labels" | "bracket" | "marked":
            if len({one.get("detail") for one in found}) > max(2, len(found) // _DETAILS):
                return False
            labels = {one["label"] for one in found}
            return 2 <= len(labels) <= min(_FEW, max(2, len(found) // 3)) and _telling(found)
        case _:
            return True


def _like_a_form(names: Sequence[str]) -> bool:
    """Whether names follow each other as the fields of a form do, and not as speakers do."""
    steps = Counter(pairwise(names))
    after: dict[str, int] = {}
    for (name, _), many in steps.items():
        after[name] = max(after.get(name, 0), many)
    regular = sum(after.values()) / max(1, len(names) - 1)
    return regular >= (_REGULAR if len(after) <= _SPEAKERS else _OFTEN) and len(after) > 2


def _telling(found: Sequence[dict[str, Any]]) -> bool:
    """Whether what follows the labels is text or values of some kind."""
    texts = [one["text"] for one in found]
    if type_of(texts) != "text":
        return True
    return sum(len(text.split()) for text in texts) >= _TEXT_WORDS * len(texts)
