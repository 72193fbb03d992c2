"""Conditions on how many records with a label something has, read from their words.

The words come from the question: `at least two instances with location and one with entity`. A
root too small to turn them into a form copies them without fault, and the rest is grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from outcore.engine.plans.sides import without_timings
from outcore.engine.plans.wording import NUMBER, number_of, placed

Test = Literal[">=", "==", "!=", "<="]

# How the words before a number compare, and what they add to it. Of two that begin at one place
# the first is meant, so that `no fewer than` is not read as `fewer than`.
_TESTS: tuple[tuple[str, Test, int], ...] = (
    ("(?:at least|no fewer than|no less than|not (?:less|fewer) than|a minimum of)", ">=", 0),
    ("(?:at most|no more than|not more than|up to|a maximum of)", "<=", 0),
    ("(?:more than|greater than|over|above)", ">=", 1),
    ("(?:less than|fewer than|under|below)", "<=", -1),
    ("(?:exactly|precisely|just|only)", "==", 0),
)
_COUNT = re.compile(
    "|".join(
        (
            rf"\b(?:between|from)\s+(?P<low>{NUMBER})\s+(?:and|to)\s+(?P<high>{NUMBER})\b",
            rf"\b(?P<least>{NUMBER})\s+(?:or|to)\s+(?P<most>{NUMBER})\b",
            *(rf"\b{words}\s+(?P<t{at}>{NUMBER})\b" for at, (words, _, _) in enumerate(_TESTS)),
            rf"\b(?P<or_more>{NUMBER})\s+or\s+more\b",
            rf"\b(?P<or_fewer>{NUMBER})\s+or\s+(?:fewer|less)\b",
        )
    ),
    re.IGNORECASE,
)
_NEVER = re.compile(
    r"\b(?:no|not|never|without|none|neither|nor|lacks?|zero)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
# What turns the number after it round: `does not have at least two`, `not exactly three`.
_NOT = re.compile(r"(?:\b(?:not|never)|n['\u2019]t)\s+(?:\w+\s+){0,2}\Z", re.IGNORECASE)
_OPPOSITE: dict[Test, tuple[Test, int]] = {
    ">=": ("<=", -1),
    "<=": (">=", 1),
    "==": ("!=", 0),
    "!=": ("==", 0),
}
_AND = re.compile(r"\s*+,?\s*+(?:but|and)?\s*+", re.IGNORECASE)
# Two labels that are held against each other are no conditions on each.
COMPARED = re.compile(
    r"\b(?:more|fewer|less)\s+(?:(?!\b(?:than|and|but|or|more|fewer|less)\b)[^.;,]){1,60}\bthan\b"
    r"|\b(?:as\s+(?:many|much|often)|the\s+same\s+number|equally\s+many)\b",
    re.IGNORECASE,
)
_ONCE = re.compile(
    r"\b(?:(?<=than )|(?<=least )|(?<=most )|(?<=exactly )|(?<=only )|(?<=just ))once\b",
    re.IGNORECASE,
)
_TWICE = re.compile(r"\b(twice|thrice)\b", re.IGNORECASE)
_BARE = re.compile(rf"\b(?:{NUMBER})\b", re.IGNORECASE)
# What may follow a label and belongs to it: `two refunds or more`, `refunds at least three times`.
_LATER = re.compile(
    r"\s*(?:(?P<more>or more|at least)|(?P<fewer>or (?:fewer|less)|at most))\b"
    rf"(?!\s+(?:than|{NUMBER})\b)(?!\s+\w+\s+times)",
    re.IGNORECASE,
)
_ENDING = re.compile(r"e?s\b", re.IGNORECASE)
_TIMES = re.compile(r"\s{0,9}(?P<count>[^,.;:]{0,200}?)\s{1,9}times\b", re.IGNORECASE)
# What counts the label right after it, and not whatever is said to have it.
_DIRECT = re.compile(rf"\b(?P<count>{NUMBER})\s+(?:or\s+(?:more|fewer|less)\s+)?\Z", re.IGNORECASE)
_OR = re.compile(r"\bor\b\s*+(?:(?:with|of|from)\s++)?(?:an?|the)?\s*$", re.IGNORECASE)
_ARTICLE = re.compile(r"\bor\s+an?\s+\Z", re.IGNORECASE)
_ELSE = re.compile(r"\w{0,3}\s*+,?\s*+or\b", re.IGNORECASE)
_OFTEN = {"twice": "two", "thrice": "three"}
_COMMA = re.compile(r"\s*,\s*(?:an?\s+)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Condition:
    """How many records with one of some labels there are.

    Attributes:
        labels: any of them counts.
        test: how the number compares.
        number: with what.
        others: conditions of which one is as good as this.
    """

    labels: tuple[str, ...]
    test: Test
    number: int
    others: tuple[Condition, ...] = ()

    def code(self, rows: str) -> str:
        """As Python, over records with a `label`."""
        held = ", ".join(map(repr, self.labels))
        own = f"sum(r['label'] in [{held}] for r in {rows}) {self.test} {self.number}"
        if not self.others:
            return own
        return f"({' or '.join((own, *(one.code(rows) for one in self.others)))})"


def conditions(words: str, labels: tuple[str, ...]) -> tuple[Condition, ...]:
    """The conditions that `words` put on labels, in their order; each must hold.

    Labels with `or` between them share a condition; with numbers of their own, one of them must
    hold. A label without a number of its own needs one record; `no` and `never` before it need
    none.
    """
    words = _TWICE.sub(lambda match: f"{_OFTEN[match[1].lower()]} times", words)
    words = _ONCE.sub("one times", words)
    words = without_timings(words)
    found: list[Condition] = []
    for lead, names, after in _led(words, labels):
        made = [Condition(names, test, number) for test, number in _counts(lead, after)]
        if found and len(made) == 1 and _ELSE.match(lead):
            found[-1] = replace(found[-1], others=(*found[-1].others, *made))
        else:
            found += made
    return tuple(dict.fromkeys(found))


def _led(words: str, labels: tuple[str, ...]) -> list[tuple[str, tuple[str, ...], str]]:
    """Labels that share a condition, with the words before and after them."""
    found = placed(words, labels)
    if not found:
        return []
    starts = [start for start, _, _ in found[1:]] + [len(words)]
    afters = [words[end:start] for (_, end, _), start in zip(found, starts, strict=True)]
    leads = [words[: found[0][0]], *afters]
    # In `a, b or c` the `or` stands for the comma too.
    joined = [False] * len(found)
    for at in range(len(found) - 1, 0, -1):
        goes_on = at + 1 < len(found) and joined[at + 1]
        joined[at] = bool(_OR.search(leads[at]) or (goes_on and _COMMA.fullmatch(leads[at])))
        before = _DIRECT.search(leads[at - 1])
        if before and (number_of(before["count"]) or 0) > 1 and _ARTICLE.search(leads[at]):
            joined[at] = False
    led: list[tuple[str, tuple[str, ...], str]] = []
    for at, (_, _, label) in enumerate(found):
        if joined[at]:
            lead, names, _ = led.pop()
            led.append((lead, tuple(dict.fromkeys((*names, label))), afters[at]))
            continue
        lead = leads[at]
        if at and (said := _later(lead)):
            lead = lead[said.end() :]
        led.append((lead, (label,), afters[at]))
    return led


def _later(after: str) -> re.Match[str] | None:
    """What follows a label and says how often it is meant; the ending of a plural stands first."""
    rest = _ENDING.match(after)
    at = rest.end() if rest else 0
    times = _TIMES.match(after, at)
    if times and (_COUNT.search(times["count"]) or _BARE.search(times["count"])):
        return times
    return _LATER.match(after, at)


def _counts(lead: str, after: str) -> list[tuple[Test, int]]:
    """How the number of records compares, and with what; two, where there are two limits."""
    said = _later(after)
    if said is not None and said.re is _TIMES:
        return _counted(said["count"]) or [(">=", 1)]
    found = _counted(lead)
    if said is not None and len(found) == 1:
        return [(">=" if said["more"] else "<=", found[0][1])]
    return found or [(">=", 1)]


def _counted(words: str) -> list[tuple[Test, int]]:
    # The last number before the label is the one that counts it; two may bound it.
    every = list(_COUNT.finditer(words))
    if every:
        first = len(every) - 1
        while first and _AND.fullmatch(words, every[first - 1].end(), every[first].start()):
            first -= 1
        found: list[tuple[Test, int]] = []
        for one in every[first:]:
            said = {name: number_of(value) for name, value in one.groupdict().items() if value}
            found += _tests(said)
        if len(found) == 1 and _NOT.search(words, 0, every[first].start()):
            test, plus = _OPPOSITE[found[0][0]]
            return [(test, found[0][1] + plus)]
        return found
    if _NEVER.search(words):
        return [("==", 0)]
    bare = [number_of(match[0]) for match in _BARE.finditer(words)]
    return [(">=", max(1, bare[-1] or 1))] if bare else []


def _tests(said: dict[str, int | None]) -> list[tuple[Test, int]]:
    found: list[tuple[Test, int]] = []
    for name, number in said.items():
        if number is None:
            continue
        if name in ("low", "least", "or_more"):
            found.append((">=", number))
        elif name in ("high", "most", "or_fewer"):
            found.append(("<=", number))
        else:
            _, test, plus = _TESTS[int(name[1:])]
            found.append((test, max(0, number + plus)))
    return found
