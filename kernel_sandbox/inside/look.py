"""`grep` and `slices`: the root's own eyes on the context."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from .excerpts import Mark, excerpt, numbered
from .forgiving import COUNTS, Given, is_count, unslashed
from .grep import Pattern, compile_pattern, either, matches
from .hits import Hits, Part
from .languages import is_code, scope
from .slices import Slices
from .sources import Source, sources
from .text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .corpus import Context

_WORD = re.compile(r"[^\W_]{3,}|\d+")
_ESCAPES = re.compile(r"\\[A-Za-z]|\[[^]]*\]|\(\?[a-zA-Z:=!<]+")
_COUNTED = 1_000
_WORDS = 3
_LARGE = 100_000_000
_STEMMED = 6
# Of a pattern that was found, so many characters are repeated.
_TOLD = 60
_USAGE = 'it is grep("regex", k=20, around=None, text=None)'
_PATTERNS = ("regex", "regexp", "query", "expression", "patterns", "word", "words", "q")
_AROUND = ("context", "window", "chars", "width", "radius", "context_chars", "surrounding")
_TEXTS = ("string", "document", "doc", "documents", "docs", "texts", "source", "data")
_HITS = 20
# A line longer than this is cut at words around the match.
_LONGEST_LINE = 2_000
_BESIDE = 200
_LINE_SHOWN = 240
# Hits beyond the first k are counted as long as this.
_SECONDS = 0.5
_TOKENS = 2_000
_CHARS_PER_TOKEN = 3.0


class Look:
    """Searches and cuts one context.

    Args:
        context: the opened context.
        hints: `slice_tokens`, the most tokens of text a sub-call takes, and
            `chars_per_token`, at the dense end of what this context has.
    """

    def __init__(self, context: Context, hints: Mapping[str, Any]) -> None:
        self._context = context
        self._slice_tokens = int(hints.get("slice_tokens", _TOKENS))
        self._chars_per_token = float(hints.get("chars_per_token", _CHARS_PER_TOKEN))

    def grep(
        self,
        pattern: Any = None,
        k: Any = 20,
        around: Any = None,
        text: Any = None,
        flags: int = re.IGNORECASE,
        **more: Any,
    ) -> Hits:
        """Find the first k places that match a regular expression, each with its line.

        print(grep("captain"))
        print(grep(r"^Chapter \\d+", k=50))
        print(grep("captain", around=300))        # with 300 characters each side instead
        print(grep("captain", text=piece))        # in a text or list of texts alone
        for hit in grep("captain"): print(hit.document, hit.offset, hit.text)

        Case does not matter unless flags=0; `^` and `$` match at lines. Each hit is a string
        with .document, .offset (where the match begins), .match and .text (the line).
        """
        given = Given(_USAGE, more)
        pattern = given.take(_PATTERNS, pattern)
        k = given.take(COUNTS, k)
        around = given.take(_AROUND, around)
        text = given.take(_TEXTS, text)
        if given.take(("case_sensitive", "match_case"), False):
            flags = 0
        given.take(("ignore_case", "ignorecase", "case_insensitive"), None)
        given.end()
        if text is None and not (k is None or is_count(k)):
            text, k = k, None
        if text is None and around is not None and not is_count(around):
            text, around = around, None
        if isinstance(text, str) and self._is_whole(pattern):
            pattern, text = text, None
        if isinstance(pattern, (list, tuple, set)) and all(isinstance(p, str) for p in pattern):
            pattern = either(pattern)
        if not isinstance(pattern, (str, re.Pattern)):
            raise TypeError(
                f"grep() takes a pattern as text, not {type(pattern).__name__}: {_USAGE}"
            )
        tried = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
        if not tried:
            raise ValueError("grep() was given an empty pattern: name what to look for")
        k = given.whole(k, "k", _HITS)
        if around is not None:
            around = max(0, int(float(around)))
        if self._context.value is text:
            text = None
        hits = self._grep(pattern, tried, k, around, text, flags)
        bare = "" if hits or isinstance(pattern, re.Pattern) else unslashed(tried)
        return self._grep(bare, bare, k, around, text, flags) if bare else hits

    def slices(self, text: Any = None, tokens: int | None = None, overlap: int = 0) -> Slices:
        """The whole context, or `text`, in pieces that fit one sub-call, cut at line ends.

        answers = llm_query_batched("Who is named here?", text=slices())

        `tokens` is the size of a piece, `overlap` how much of the one before it repeats. Each
        piece is a string with .document and .offset and holds text of one document alone.
        """
        wanted = self._slice_tokens if tokens is None else int(tokens)
        if wanted < 1:
            raise ValueError(f"slices(): tokens must be at least 1, not {wanted}")
        if not 0 <= overlap < wanted / 2:
            raise ValueError(
                f"slices(): overlap must be from 0 to less than half of tokens ({wanted}), "
                f"not {overlap}"
            )
        # Never more than fits: a sub-call that is too long would only raise.
        size = max(1, int(min(wanted, self._slice_tokens) * self._chars_per_token))
        repeated = min(int(overlap * self._chars_per_token), (size - 1) // 2)
        return Slices(sources(self._context, text), size, repeated)

    def _grep(
        self,
        pattern: str | re.Pattern[str],
        tried: str,
        k: int,
        around: int | None,
        text: Any,
        flags: int,
    ) -> Hits:
        compiled = compile_pattern(pattern, flags)
        places = self._places(compiled, text)
        found = [_part(*place, around) for place in islice(places, k)]
        more, all_counted = _counted(places, self._context.chars) if len(found) == k else (0, True)
        return Hits(found, self._note(tried, compiled, text, len(found), more, all_counted))

    def _is_whole(self, given: Any) -> bool:
        """Whether what was given for a pattern is the context."""
        return given is self._context.value or isinstance(given, (Text, Mapping))

    def _places(self, pattern: Pattern, text: Any) -> Iterator[tuple[Source, int, int]]:
        for source in sources(self._context, text):
            for low, high in matches(pattern, source.text):
                yield source, low, high

    def _note(
        self, tried: str, pattern: Pattern, text: Any, found: int, more: int, all_counted: bool
    ) -> str:
        plain = f" (taken as plain text: {pattern.fault})" if pattern.fault else ""
        told = tried if len(tried) <= _TOLD else f"{tried[:_TOLD]}..."
        if more:
            least = "" if all_counted else "at least "
            return (
                f"the first {found} hits for {told!r}{plain} ... {least}{more:,} more: raise k or "
                "narrow the pattern"
            )
        if found:
            return f"{found} {'hit' if found == 1 else 'hits'} for {told!r}{plain}"
        looked = sources(self._context, text)
        chars = sum(map(looked.length, range(len(looked))))
        case = ", upper and lower case taken as equal," if pattern.blind else ""
        return (
            f"no hit for {tried!r}{plain}{case} in {chars:,} characters of {len(looked):,} "
            f"document{'' if len(looked) == 1 else 's'}. {self._near(tried, text, chars)}"
        )

    def _near(self, tried: str, text: Any, chars: int) -> str:
        """What parts of a pattern that was not found are there."""
        words = sorted(set(_WORD.findall(_ESCAPES.sub(" ", tried))), key=len, reverse=True)
        if words == [tried] and len(tried) >= _STEMMED:
            words = [tried[: len(tried) - 2], tried[: len(tried) // 2]]
        # One more look through a very large context is as much as this is worth.
        for word in words[: _WORDS if chars < _LARGE else 1]:
            if word == tried:
                continue
            places = self._places(compile_pattern(word, re.IGNORECASE), text)
            count = sum(1 for _ in islice(places, _COUNTED))
            if count:
                least = "at least " if count == _COUNTED else ""
                return f"{word!r} alone has {least}{count:,}: try grep({word!r})."
        return "Try search() with other words."


def _part(source: Source, low: int, high: int, around: int | None) -> Part:
    """One hit, with the lines it stands in or `around` characters each side."""
    text = source.text
    start, end = _lines(text, low, high) if around is None else (low - around, high + around)
    start = max(0, start)
    held = str(text[start:end])
    match = held[low - start : high - start]
    code = is_code(source.document) and around is None and source.offset == 0
    line = 1 + text.count("\n", 0, low) if code else 0
    mark = Mark(0, low - start, high - start, 1.0)
    first = line - held.count("\n", 0, low - start)
    shown = numbered(held, [mark], first) if code else None
    if not code and around is None:
        shown = excerpt(held, [mark], _LINE_SHOWN)
    offset = source.offset
    within = scope(text, low) if code else ""
    return Part(
        held, source.document, offset + start, offset + low, match, 0.0, shown, line, within
    )


def _lines(text: str | Text, low: int, high: int) -> tuple[int, int]:
    """Bounds of the lines that hold a match, line ends left out; of long ones of some words."""
    first = max(0, low - _LONGEST_LINE)
    window = str(text[first : high + _LONGEST_LINE])
    start = window.rfind("\n", 0, low - first) + 1
    # A match that ends in a line end holds no more than its own line.
    last = max(low, high - 1) - first
    end = window.find("\n", last)
    end = len(window) if end < 0 else max(end, high - first)
    if end - start > _LONGEST_LINE:
        start = max(start, low - first - _BESIDE)
        end = min(end, high - first + _BESIDE)
        start = max(start, min(low - first, window.find(" ", start, low - first) + 1))
        space = window.rfind(" ", high - first, end)
        end = space if space > 0 else end
    if end > start and window[end - 1] == "\r" and end > high - first:
        end -= 1
    return first + start, first + end


def _counted(places: Iterator[Any], chars: int) -> tuple[int, bool]:
    """How many more there are, and whether all were counted in the time there is."""
    if chars > _LARGE:
        return sum(1 for _ in islice(places, 1)), False
    until = time.monotonic() + _SECONDS
    more = 0
    for _ in places:
        more += 1
        if time.monotonic() > until:
            return more, False
    return more, True
