"""What a question's own words tell: lists in it, mentions of names, numbers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_LONGEST_ITEM = 60
_DIGITS = 18
# How far before something the words that lead to it may begin, in characters.
NEAR = 100
# What stands in quotes, in one of its groups.
QUOTED = re.compile(r"'([^'\n]{1,60})'|\"([^\"\n]{1,60})\"|\u201c([^\u201d\n]{1,60})\u201d")
# Here and below, where two parts could share what they match, one is possessive or can't begin in
# the middle of it, so that no text takes long.
_BETWEEN = re.compile(r"[\s,;/]*+(?:\b(?:and|or|und)\b)?[\s,;]*")
# What stands after a colon, up to the end of the sentence.
_AFTER_COLON = re.compile(r"(?<!\d):(?!\d)\s*+([^:.\n?!][^:.\n?!,]*,[^:.\n?!]+)")
_COMMA = re.compile(r",\s*(?:(?:and|or)\s+)?")
_LAST = re.compile(r"(?<!\s)\s++(?:and|or)\s+")
_BRACKETS = re.compile(r"[(\[]([^()\[\]\n][^()\[\]\n,|]*[,|][^()\[\]\n]+)[)\]]")
_BAR = re.compile(r"(?:(?<=[:\n])|(?<![^|:.\n])[^|:.\s]*[^\S\n])([^|:.\n]++(?:\|[^|:.\n]++)+)")
_OF = re.compile(
    r"\b(?:of|from|between|among|either)\s+"
    r"((?:[\w-]+(?: [\w-]+){0,3},\s*)+[\w-]+(?: [\w-]+){0,7})(?![\w' -])"
)
_BULLETS = re.compile(r"(?:^[ \t]*(?:[-*\u2022]|\d{1,2}[.)])[ \t]+\S.*\n?){2,}", re.MULTILINE)
_BULLET = re.compile(r"^[ \t]*(?:[-*\u2022]|\d{1,2}[.)])[ \t]+(\S[^:\n]*)", re.MULTILINE)
_NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_TENS = {
    name: 10 * number
    for number, name in enumerate(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2
    )
}
# `several` and its kin say no number; more than one is what all of them mean.
_WORDS = (
    {word: number for number, word in enumerate(_NUMBERS)}
    | _TENS
    | {
        f"{ten}-{_NUMBERS[more]}": number + more
        for ten, number in _TENS.items()
        for more in range(1, 10)
    }
    | {"a dozen": 12, "dozen": 12, "a hundred": 100, "one hundred": 100}
    | {"no": 0, "none": 0, "a": 1, "an": 1, "several": 2, "multiple": 2}
)
# A number as `number_of` reads it; of two that begin alike, the longer first.
NUMBER = rf"\d[\d,]*|{'|'.join(sorted(_WORDS, key=len, reverse=True))}"
# Between the words of a name, however they are written together.
_PARTS = re.compile(r"[\s_]+|(?<=[a-z])(?=[A-Z][a-z])")

# Words that are numbers and nothing else.
COUNTED = "|".join(
    word
    for word in sorted(_WORDS, key=len, reverse=True)
    if _WORDS[word] > 1 and word.isalpha() and word not in ("several", "multiple", "dozen")
)


@dataclass(frozen=True, slots=True)
class Listing:
    """Things that a text lists, one after another.

    Attributes:
        items: the things.
        start: where the list begins in the text, in characters.
        end: where it ends.
    """

    items: tuple[str, ...]
    start: int
    end: int


def listings(text: str) -> tuple[Listing, ...]:
    """The lists in a text.

    Things in quotes side by side; after a colon, in brackets or after `of` and its kin, with
    commas between them; with bars between them; in lines with a bullet or a number each.
    """
    every = (*_quoted(text), *_plain(text), *_bulleted(text))
    found = sorted(every, key=lambda one: (one.start, -one.end))
    kept: list[Listing] = []
    for one in found:
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return tuple(kept)


def _quoted(text: str) -> Iterator[Listing]:
    run: list[re.Match[str]] = []
    for match in QUOTED.finditer(text):
        if run and not _BETWEEN.fullmatch(text, run[-1].end(), match.start()):
            yield from _run(run)
            run = []
        run.append(match)
    yield from _run(run)


def _run(run: list[re.Match[str]]) -> Iterator[Listing]:
    if len(run) > 1:
        items = tuple(next(filter(None, match.groups())).strip() for match in run)
        yield Listing(items, run[0].start(), run[-1].end())


def _plain(text: str) -> Iterator[Listing]:
    for pattern in (_AFTER_COLON, _BRACKETS, _OF, _BAR):
        for match in pattern.finditer(text):
            listed = match[pattern.groups]
            parts = listed.split("|") if "|" in listed else _parts(listed)
            items = tuple(part.strip(" \t'\"") for part in parts if part.strip())
            if len(items) > 1 and all(0 < len(item) <= _LONGEST_ITEM for item in items):
                yield Listing(items, match.start(pattern.groups), match.end(pattern.groups))


def _bulleted(text: str) -> Iterator[Listing]:
    for block in _BULLETS.finditer(text):
        items = tuple(one[1].strip(" \t\r.;,'\"*`") for one in _BULLET.finditer(block[0]))
        if all(0 < len(item) <= _LONGEST_ITEM for item in items):
            yield Listing(items, block.start(), block.end())


def _parts(listed: str) -> list[str]:
    """`a, b and c` apart; an `and` before the last comma belongs to a name."""
    *first, last = _COMMA.split(listed)
    if any(_LAST.search(part) for part in first):
        return [*first, last]
    return [*first, *_LAST.split(last)]


def mentions(text: str, words: str) -> list[int]:
    """Where `words` stand in `text` as whole words, in whatever case."""
    return [start for start, _ in spans(text, words)]


def parts_of(name: str) -> list[str]:
    """The words of a name, however they are written together."""
    return _PARTS.split(name.strip())


# Asked for once for each number of a question, of which there may be thousands.
@lru_cache(maxsize=256)
def spans(text: str, words: str) -> tuple[tuple[int, int], ...]:
    """Where `words` stand in `text` as whole words, in whatever case: begin and end.

    A plural is the same word, `private` the same as `privately`, and `unit_price` or `unitPrice`
    the same as `unit price`.
    """
    parts = parts_of(words)
    if not any(parts):
        return ()
    pattern = r"[\s_-]*".join(map(re.escape, parts)) if len(parts) > 1 else re.escape(parts[0])
    ends = "(?:e?s|ly)?"
    if pattern[-1:] in "yY":
        pattern, ends = pattern[:-1], "(?:y|ies)"
    found = re.finditer(rf"(?<!\w){pattern}{ends}(?!\w)", text, re.IGNORECASE)
    return tuple(match.span() for match in found)


# Words that stand between what denies and what is denied: `not from the`.
_SMALL = (
    r"(?:an?|the|in|from|of|to|by|at|on|for|with|any|all|being|been|is|are|was|were|yet|either"
    r"|those|ones|that|which|who|have|has|had|between|during)"
)
_DENIED = re.compile(
    r"(?:\b(?:not|never|no|non|nor|neither|without|except(?:ing)?(?:\s+for)?|exclud(?:ing|es?)"
    r"|besides|other\s+than|apart\s+from|rather\s+than|outside(?:\s+of)?)\b|n['\u2019]t\b)"
    rf"(?:\s+{_SMALL}\b)*+(?:[\s-]+(?!(?:only|just|more|less|fewer|and|or|but)\b)\w+)?"
    rf"(?:\s+{_SMALL}\b)*[\s'\"(-]*\Z",
    re.IGNORECASE,
)
_WITH_IT = re.compile(
    rf"[\w'\u2019]{{0,3}}+[\s,;/]*+(?:\b(?:and|or|nor)\b)?(?:\s*+{_SMALL}\b)*+\s*+", re.IGNORECASE
)


def denied(lead: str) -> bool:
    """Whether the words before something say that it is not meant."""
    return _DENIED.search(lead[-NEAR:]) is not None


def goes_on(lead: str) -> bool:
    """Whether the words between two things say nothing but that they belong together."""
    return _WITH_IT.fullmatch(lead) is not None


def placed(words: str, labels: Iterable[str]) -> list[tuple[int, int, str]]:
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


def number_of(word: str) -> int | None:
    """A number in digits, or as a word up to a hundred; None where it is none, or too large."""
    plain = word.strip().replace(",", "").casefold()
    if plain.isdecimal():
        # Nothing is there so often, and Python reads no number of thousands of digits.
        return int(plain) if len(plain) <= _DIGITS else None
    return _WORDS.get(plain)


def said(text: str, labels: tuple[str, ...]) -> list[int]:
    """How often each label stands in `text`."""
    return [len(mentions(text, label)) for label in labels]


def sentences(text: str) -> list[str]:
    """The sentences of a text; a line end or a blank line ends one too."""
    parts: list[str] = []
    start = 0
    for at, char in enumerate(text):
        follows = text[at + 1 : at + 2]
        if char == "\n" or (char in ".!?" and (not follows or follows.isspace())):
            parts.append(text[start : at + 1].strip())
            start = at + 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]
