"""What a question's own words tell: lists in it, months and dates, counts that it asks for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST_ITEM = 60
_QUOTED = re.compile(r"'([^'\n]{1,60})'|\"([^\"\n]{1,60})\"|\u201c([^\u201d\n]{1,60})\u201d")
_BETWEEN = re.compile(r"[\s,;/]*(?:\b(?:and|or|und)\b)?[\s,;]*")
# What stands after a colon, up to the end of the sentence.
_AFTER_COLON = re.compile(r":\s*([^:.\n?!]+(?:,[^:.\n?!]+)+)")
_COMMA = re.compile(r",\s*(?:(?:and|or)\s+)?")
_LAST = re.compile(r"\s+(?:and|or)\s+")
_WORDS = {
    "no": 0,
    "a": 1,
    "an": 1,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
}
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
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

    def holds(self, names: tuple[str, ...]) -> int:
        """How many of `names` it lists, in whatever case."""
        known = {item.casefold() for item in self.items}
        return sum(name.casefold() in known for name in names)


def listings(text: str) -> tuple[Listing, ...]:
    """The lists in a text: things in quotes side by side, or with commas after a colon."""
    found = sorted((*_quoted(text), *_plain(text)), key=lambda one: one.start)
    kept: list[Listing] = []
    for one in found:
        if not kept or one.start >= kept[-1].end:
            kept.append(one)
    return tuple(kept)


def _quoted(text: str) -> Iterator[Listing]:
    run: list[re.Match[str]] = []
    for match in _QUOTED.finditer(text):
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
    for match in _AFTER_COLON.finditer(text):
        items = tuple(part.strip(" \t'\"") for part in _parts(match[1]) if part.strip())
        if len(items) > 1 and all(0 < len(item) <= _LONGEST_ITEM for item in items):
            yield Listing(items, match.start(1), match.end(1))


def _parts(listed: str) -> list[str]:
    """`a, b and c` apart; an `and` before the last comma belongs to a name."""
    *first, last = _COMMA.split(listed)
    if any(_LAST.search(part) for part in first):
        return [*first, last]
    return [*first, *_LAST.split(last)]


def mentions(text: str, words: str) -> list[int]:
    """Where `words` stand in `text` as whole words, in whatever case."""
    if not words.strip():
        return []
    pattern = r"\s+".join(map(re.escape, words.split()))
    # A plural is the same word.
    ends = "(?:e?s)?"
    if pattern[-1:] in "yY":
        pattern, ends = pattern[:-1], "(?:y|ies)"
    found = re.finditer(rf"(?<!\w){pattern}{ends}(?!\w)", text, re.IGNORECASE)
    return [match.start() for match in found]


def month_of(text: str) -> int | None:
    """Number of a month named without a day or a year, 1 to 12."""
    name = text.strip().rstrip(".").casefold()
    for number, month in enumerate(MONTHS, 1):
        if name == month.casefold() or (len(name) >= 3 and name == month[: len(name)].casefold()):
            return number
    return None


def number_of(word: str) -> int | None:
    """A number in digits, or as a word up to ten."""
    plain = word.strip().replace(",", "").casefold()
    return int(plain) if plain.isdigit() else _WORDS.get(plain)
