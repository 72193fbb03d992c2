"""Conditions on how many records with a label something has, read from their words.

The words come from the question: `at least two instances with location and one with entity`. A
root too small to turn them into a form copies them without fault, and the rest is grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from outcore.engine.plans.wording import mentions, number_of
from outcore.kernel_sandbox.inside.dates import as_date

Test = Literal[">=", "==", "<="]

_NUMBER = r"(?P<number>\d[\d,]*|no|an?|one|two|three|four|five|six|seven|eight|nine|ten)"
_TESTS: tuple[tuple[str, Test, int], ...] = (
    ("at least|no fewer than|no less than|not less than", ">=", 0),
    ("more than|over|above", ">=", 1),
    ("at most|no more than|not more than|up to", "<=", 0),
    ("less than|fewer than|under|below", "<=", -1),
    ("exactly|precisely|just|only", "==", 0),
)
_COUNTS = tuple(
    (re.compile(rf"\b(?:{words})\s+{_NUMBER}\b", re.IGNORECASE), test, plus)
    for words, test, plus in _TESTS
)
_OR_MORE = re.compile(rf"\b{_NUMBER}\s+or\s+more\b", re.IGNORECASE)
_NEVER = re.compile(r"\b(?:no|not|never|without|none|neither|nor|lacks?)\b", re.IGNORECASE)
_BARE = re.compile(rf"\b{_NUMBER}\b", re.IGNORECASE)
_OR = re.compile(r"[\s,]*\bor\b\s*(?:(?:with|of|from)\s+)?(?:an?|the)?\s*$", re.IGNORECASE)
# Records of a label that must all lie on one side of a date.
_ALL = re.compile(
    r"\b(?:all|every|each|only)\b(?P<what>[^.;?!]*?)\b(?P<when>after|since|before|until)\b"
    r"\s+(?:the\s+)?(?P<date>[^.;?!]*)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """How many records with one of some labels there are.

    Attributes:
        labels: any of them counts.
        test: how the number compares.
        number: with what.
    """

    labels: tuple[str, ...]
    test: Test
    number: int

    def code(self, rows: str) -> str:
        """As Python, over records with a `label`."""
        held = ", ".join(map(repr, self.labels))
        return f"sum(r['label'] in [{held}] for r in {rows}) {self.test} {self.number}"


@dataclass(frozen=True, slots=True)
class Timing:
    """On which side of a date all records with a label are.

    Attributes:
        label: the label.
        after: whether they are later than the date; else earlier.
        date: the date, in ISO form.
    """

    label: str
    after: bool
    date: str

    def code(self, rows: str, date: str) -> str:
        """As Python; `date` is the expression for a record's date, in ISO form."""
        side = ">" if self.after else "<"
        return f"all({date} {side} {self.date!r} for r in {rows} if r['label'] == {self.label!r})"


def conditions(words: str, labels: tuple[str, ...]) -> tuple[Condition, ...]:
    """The conditions that `words` put on labels, in their order; each must hold.

    Labels with `or` between them share a condition. A label without a number of its own needs
    one record; `no` and `never` before it need none.
    """
    words = _ALL.sub(" ", words)
    found: list[Condition] = []
    before = 0
    for start, end, label in _placed(words, labels):
        lead = words[before:start]
        before = end
        if found and _OR.search(lead):
            last = found[-1]
            if label not in last.labels:
                found[-1] = Condition((*last.labels, label), last.test, last.number)
            continue
        test, number = _count(lead)
        found.append(Condition((label,), test, number))
    return tuple(dict.fromkeys(found))


def timings(question: str, labels: tuple[str, ...]) -> tuple[Timing, ...]:
    """The sides of dates on which all records with a label must be."""
    found = []
    for match in _ALL.finditer(question):
        named = _placed(match["what"], labels)
        date = as_date(match["date"])
        if named and date is not None:
            after = match["when"].casefold() in ("after", "since")
            found.append(Timing(named[-1][2], after, date.isoformat()))
    return tuple(dict.fromkeys(found))


def _placed(words: str, labels: tuple[str, ...]) -> list[tuple[int, int, str]]:
    """Where labels stand, in order; of two that overlap, the longer one."""
    every = [
        (start, start + len(label), label) for label in labels for start in mentions(words, label)
    ]
    every.sort(key=lambda one: (one[0], one[0] - one[1]))
    kept: list[tuple[int, int, str]] = []
    for one in every:
        if not kept or one[0] >= kept[-1][1]:
            kept.append(one)
    return kept


def _count(lead: str) -> tuple[Test, int]:
    # The last number before the label is the one that counts it.
    best: tuple[int, Test, int] | None = None
    for pattern, test, plus in _COUNTS:
        for match in pattern.finditer(lead):
            number = number_of(match["number"])
            if number is not None and (best is None or match.start() > best[0]):
                best = match.start(), test, max(0, number + plus)
    for match in _OR_MORE.finditer(lead):
        number = number_of(match["number"])
        if number is not None and (best is None or match.start() > best[0]):
            best = match.start(), ">=", number
    if best is not None:
        return best[1], best[2]
    if _NEVER.search(lead):
        return "==", 0
    bare = [number_of(match["number"]) for match in _BARE.finditer(lead)]
    return ">=", max(1, bare[-1] or 1) if bare else 1
