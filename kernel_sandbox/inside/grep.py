"""Regular expressions over texts of any size."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, NamedTuple

from .text import PART, Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# A large text is searched in windows. Each is followed by a margin, so that a match that
# begins in the window is found whole if it is no longer than the margin.
_WINDOW = 1 << 22
_MARGIN = 1 << 16
_BEFORE = 256
_FLAGS = re.compile(r"\(\?([imsx]+)\)")
_SPECIAL = set(r"\.^$*+?{}[]|()")


class Pattern(NamedTuple):
    """A pattern ready to be searched for.

    Attributes:
        regex: the compiled pattern.
        literal: the pattern in lower case, where it is plain ASCII text and case does not
            matter; else empty.
        blind: whether upper and lower case are taken as equal.
        fault: why the pattern was taken as plain text though it looks like an expression.
    """

    regex: re.Pattern[str]
    literal: bytes
    blind: bool
    fault: str


def compile_pattern(pattern: str | re.Pattern[str], flags: int) -> Pattern:
    """Compile a pattern; one that is no regular expression is taken as plain text."""
    if isinstance(pattern, re.Pattern):
        return Pattern(pattern, b"", bool(pattern.flags & re.IGNORECASE), "")
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
    literal = pattern.lower().encode() if plain and blind and pattern.isascii() else b""
    return Pattern(regex, literal, blind, fault)


def either(patterns: Iterable[str]) -> str:
    """One pattern that matches where any of them does, each taken as it would be alone."""
    return "|".join(map(_alone, patterns))


def _alone(pattern: str) -> str:
    flags = _FLAGS.match(pattern)
    opened, rest = (f"(?{flags[1]}:", pattern[flags.end() :]) if flags else ("(?:", pattern)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern), re.compile(f"{opened}{rest})")
    except (re.error, RecursionError, OverflowError):
        return re.escape(pattern)
    return f"{opened}{rest})"


def matches(pattern: Pattern, text: str | Text) -> Iterator[tuple[int, int]]:
    """Bounds of the matches, in order and without overlap; empty ones are let go by."""
    if isinstance(text, str) and len(text) <= PART:
        return _in_string(pattern, text, 0, len(text))
    return _in_windows(pattern, text)


def _in_windows(pattern: Pattern, text: str | Text) -> Iterator[tuple[int, int]]:
    done = 0
    for start in range(0, len(text), _WINDOW):
        # What comes before counts for lookbehinds and for `^`.
        first = max(0, start - _BEFORE)
        window = str(text[first : start + _WINDOW + _MARGIN])
        limit = start + _WINDOW
        for low, high in _in_string(pattern, window, max(done, start) - first, limit - first):
            yield first + low, first + high
            done = first + high


def _in_string(pattern: Pattern, text: str, start: int, limit: int) -> Iterator[tuple[int, int]]:
    """Matches that begin in `start`..`limit`; the last may end after it."""
    if pattern.literal:
        return _literal(pattern.literal, text, start, limit)
    return _regex(pattern.regex, text, start, limit)


def _regex(regex: re.Pattern[str], text: str, start: int, limit: int) -> Iterator[tuple[int, int]]:
    for match in regex.finditer(text, start):
        if match.start() >= limit:
            return
        if match.end() > match.start():
            yield match.span()


def _literal(literal: bytes, text: str, start: int, limit: int) -> Iterator[tuple[int, int]]:
    # A case-blind expression is tried at every letter; this takes a third of its time.
    data = text.encode("utf-8", "surrogatepass")
    folded = data.lower()
    size = len(literal)
    char, byte = start, len(text[:start].encode("utf-8", "surrogatepass"))
    while (at := folded.find(literal, byte)) >= 0:
        char += len(data[byte:at].decode("utf-8", "surrogatepass"))
        if char >= limit:
            return
        yield char, char + size
        char, byte = char + size, at + size
