"""Regular expressions over texts of any size."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, NamedTuple

from .text import PART, Text

if TYPE_CHECKING:
    from collections.abc import Iterator

# A large text is searched in windows. Each is followed by a margin, so that a match that
# begins in the window is found whole if it is no longer than the margin.
_WINDOW = 1 << 22
_MARGIN = 1 << 16
_SPECIAL = set(r"\.^$*+?{}[]|()")


class Pattern(NamedTuple):
    """A pattern ready to be searched for.

    Attributes:
        regex: the compiled pattern.
        literal: what it is in lower case, where it is plain text and case does not matter.
        blind: whether upper and lower case are taken as equal.
        fault: why the pattern was taken as plain text though it looks like an expression.
    """

    regex: re.Pattern[str]
    literal: str
    blind: bool
    fault: str


def compile_pattern(pattern: str | re.Pattern[str], flags: int) -> Pattern:
    """Compile a pattern; one that is no regular expression is taken as plain text."""
    if isinstance(pattern, re.Pattern):
        return Pattern(pattern, "", bool(pattern.flags & re.IGNORECASE), "")
    # `^` and `$` are expected to mean lines, as they do in grep.
    flags |= re.MULTILINE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            regex, fault = re.compile(pattern, flags), ""
    except (re.error, RecursionError, OverflowError) as error:
        regex, fault = re.compile(re.escape(pattern), flags), str(error)
    blind = bool(regex.flags & re.IGNORECASE)
    plain = bool(fault) or not (_SPECIAL.intersection(pattern) or flags & re.VERBOSE)
    folded = pattern.lower()
    literal = folded if plain and blind and len(folded) == len(pattern) else ""
    return Pattern(regex, literal, blind, fault)


def matches(pattern: Pattern, text: str | Text) -> Iterator[tuple[int, int]]:
    """Bounds of the matches, in order and without overlap; empty ones are let go by."""
    if isinstance(text, str) and len(text) <= PART:
        yield from _in_string(pattern, text, 0, len(text))
        return
    done = 0
    for start in range(0, len(text), _WINDOW):
        # What comes before counts for lookbehinds and for `^`.
        first = max(0, start - 256)
        window = str(text[first : start + _WINDOW + _MARGIN])
        limit = start + _WINDOW
        for low, high in _in_string(pattern, window, max(done, start) - first, limit - first):
            yield first + low, first + high
            done = first + high


def _in_string(pattern: Pattern, text: str, start: int, limit: int) -> Iterator[tuple[int, int]]:
    """Matches that begin in `start`..`limit`; the last may end after it."""
    folded = text.lower() if pattern.literal else ""
    if pattern.literal and len(folded) == len(text):
        # A case-blind expression is searched letter by letter, about 40 times slower.
        size = len(pattern.literal)
        at = folded.find(pattern.literal, start)
        while 0 <= at < limit:
            yield at, at + size
            at = folded.find(pattern.literal, at + size)
        return
    for match in pattern.regex.finditer(text, start):
        if match.start() >= limit:
            return
        if match.end() > match.start():
            yield match.span()
