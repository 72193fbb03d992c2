"""Numbers that a question bounds a field by: `a price above 5`, `more than 3 items`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from outcore.engine.plans.wording import COUNTED, NEAR, denied, number_of, spans
from outcore.kernel_sandbox.inside.numbers import as_number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from outcore.kernel_sandbox.inside.layout import Field

# How the words before a number bound it; of two that begin at one place the first is meant.
_NOT_LESS = r"(?:no|not) (?:less|fewer|lower|under|below)(?: than)?"
_NOT_MORE = r"(?:no|not) (?:more|greater|higher|over|above)(?: than)?"
_GREATER = r"(?:more|greater|higher|larger|bigger|longer|older|later|heavier) than"
_SMALLER = r"(?:less|fewer|lower|smaller|shorter|younger|earlier|lighter|cheaper) than"
_SIDES = (
    (">=", rf"at least|{_NOT_LESS}|a minimum of|minimum|>=|\u2265|since|{_GREATER} or equal to"),
    ("<=", rf"at most|{_NOT_MORE}|up to|a maximum of|maximum|<=|\u2264|until"
           rf"|{_SMALLER} or equal to"),
    (">", rf"{_GREATER}|over|above|exceeds?|exceeding|exceeded|beyond|after|>"),
    ("<", rf"{_SMALLER}|under|below|beneath|before|<"),
)  # fmt: skip
_SIDE = "|".join(rf"(?P<s{at}>{words})" for at, (_, words) in enumerate(_SIDES))
# 1,234.5 or 1.234,5 or 2,5: of figures that could be either, a comma is for thousands.
_DIGITS = r"(?:\d{1,3}(?:\.\d{3})+,\d+|\d+,\d{1,2}|(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)"
_FIGURE = (
    r"(?:[$\u20ac\u00a3]\s?)?(?P<{0}>[-\u2212]?"
    + _DIGITS.replace("{", "{{").replace("}", "}}")
    + r")(?![\w.,/-]*\d)"
)
# The same, or a word for it.
_FIGURE = rf"(?:{_FIGURE}|(?P<{{0}}_word>{COUNTED})\b)"
_LOW, _HIGH, _AT, _FIRST = (_FIGURE.format(one) for one in ("low", "high", "at", "first"))
_UP, _DOWN = "more|above|over|higher|greater|later", "less|fewer|below|under|lower|earlier"
_UNIT = r"(?:\s*[^\s\d]{1,9})?"
_BOUND = re.compile(
    rf"\b(?:between|from)\s+{_LOW}{_UNIT}\s+(?:and|to)\s+{_HIGH}"
    rf"|(?<!\w)(?:{_SIDE})\s*{_AT}"
    rf"|(?<![\w.,/-]){_FIRST}{_UNIT}\s+(?:or|and)\s+(?:(?P<up>{_UP})|(?P<down>{_DOWN}))\b",
    re.IGNORECASE,
)
# What may stand between a field and its bound.
_LINKS = re.compile(
    r"\A(?:\s|['\u2019]s\b|\b(?:is|are|was|were|be|being|of|with|a|an|the|that|which|has|have|had|value"
    r"|values|to|it|amount|amounts|amounted|rated|at|and|than|strictly|by|priced|set|equal|e?s)\b)*\Z",
    re.IGNORECASE,
)
# What may follow a number that bounds the only field of numbers there is, which nobody names.
_ENDED = re.compile(
    r"\s*(?:euros?|dollars?|pounds?|eur|usd|gbp|chf|%|percent|points?|[$\u20ac\u00a3])?\s*(?:[?.!,;)]|\Z"
    r"|\b(?:and|in|of|from|for|by|on|with|are|is|do|does)\b)",
    re.IGNORECASE,
)

_EQUAL = re.compile(
    rf"\s*(?:is|was|are|of|=|:|equals?)?\s*(?P<number>[-\u2212]?{_DIGITS})"
    r"(?![\w.,/-]*\d)(?!\s*(?:or|and|to)\b)",
    re.IGNORECASE,
)
_HAVING = re.compile(
    r"\b(?:with|took|take|exactly|rated|scored|has|have|had|gave|got)\s+"
    rf"(?P<number>{_DIGITS})[\s-]\Z",
    re.IGNORECASE,
)


class Bound(NamedTuple):
    """A number that the question bounds something by.

    Attributes:
        start: where it begins in the question, its words included.
        end: where it ends.
        low: how it compares with the least, `>` or `>=`, and the least; None without one.
        high: the same for the most.
        denied: whether what is so bounded is not meant.
    """

    start: int
    end: int
    low: tuple[str, float] | None
    high: tuple[str, float] | None
    denied: bool = False

    def code(self, field: Field) -> str:
        """As Python over a record `r`."""
        tests = " and ".join(
            f"x {sign} {number:.15g}" for sign, number in filter(None, (self.low, self.high))
        )
        comma = ", comma=True" if field.comma else ""
        tests = f"not ({tests})" if self.denied else tests
        return f"(x := as_number(r[{field.name!r}]{comma})) is not None and {tests}"


def bounds(question: str) -> tuple[Bound, ...]:
    """The numbers by which a question bounds something, in order."""
    return tuple(_bounds(question))


def bounded(question: str, bound: Bound, fields: Iterable[Field]) -> Field | None:
    """The field that is meant: named right before the bound or after its number, or the only one.

    Args:
        question: what is asked.
        bound: one of its bounds.
        fields: those whose values are numbers.
    """
    fields = tuple(fields)
    nearest: tuple[int, Field] | None = None
    for field in fields:
        for start, end in spans(question, field.name):
            if bound.start <= start < bound.end:
                return field
            gap = bound.start - end
            if gap >= 0 and _LINKS.match(question[end : bound.start]):
                nearest = min(nearest or (gap, field), (gap, field), key=lambda one: one[0])
            elif start >= bound.end and not question[bound.end : start].strip():
                return field
    if nearest is not None:
        return nearest[1]
    alone = len(fields) == 1 and _ENDED.match(question, bound.end)
    return fields[0] if alone else None


def equals(question: str, field: Field) -> Iterator[Bound]:
    """Where the question names a field and its number beside it: `grade 5`, `with 5 stars`."""
    for start, end in spans(question, field.name):
        after = _EQUAL.match(question, end)
        # Of more than that other words tell.
        prior = None if after else _HAVING.search(question[max(0, start - NEAR) : start])
        if after or prior:
            number = _number(after["number"] if after else prior["number"])  # type: ignore[index]
            begin = start if after else start - len(prior[0])  # type: ignore[index]
            gone = denied(question[max(0, begin - NEAR) : begin])
            yield Bound(begin, after.end() if after else end, ("==", number), None, gone)


def _bounds(question: str) -> Iterator[Bound]:
    for match in _BOUND.finditer(question):
        low: tuple[str, float] | None = None
        high: tuple[str, float] | None = None
        said = {name: text for name, text in match.groupdict().items() if text}
        figures = {name.removesuffix("_word"): text for name, text in said.items()}
        gone = denied(question[max(0, match.start() - NEAR) : match.start()])
        if "low" in figures:
            least, most = sorted((_number(figures["low"]), _number(figures["high"])))
            low, high = (">=", least), ("<=", most)
        elif "first" in figures:
            number = _number(figures["first"])
            low, high = ((">=", number), None) if match["up"] else (None, ("<=", number))
        else:
            [sign] = [sign for at, (sign, _) in enumerate(_SIDES) if match[f"s{at}"]]
            number = _number(figures["at"])
            low, high = ((sign, number), None) if sign[0] == ">" else (None, (sign, number))
        yield Bound(match.start(), match.end(), low, high, gone)


def _number(text: str) -> float:
    number = as_number(text)
    return float(number_of(text) or 0) if number is None else number
