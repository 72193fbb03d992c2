"""`grep` and `slices`: the root's own eyes on the context."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any

from .grep import Pattern, compile_pattern, matches
from .hits import Hits, Part
from .slices import Slices
from .sources import sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .corpus import Context

_WORD = re.compile(r"[^\W_]{3,}|\d+")
_ESCAPES = re.compile(r"\\[A-Za-z]|\[[^]]*\]|\(\?[a-zA-Z:=!<]+")
_COUNTED = 1_000
_WORDS = 3
_LARGE = 100_000_000
_STEMMED = 6
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
        pattern: str | re.Pattern[str],
        k: int = 20,
        around: int = 200,
        text: Any = None,
        flags: int = re.IGNORECASE,
    ) -> Hits:
        """First `k` places that match a regular expression, with `around` characters each side.

        for hit in grep("captain"): print(hit.document, hit.offset, hit.text)

        Looks through the whole context, or through `text`. Case does not matter unless flags=0.
        `^` and `$` match at lines. Each hit is a string with .document, .offset (where the
        match begins), .match and .text.
        """
        if not isinstance(pattern, (str, re.Pattern)):
            raise TypeError(f"grep() takes a pattern as text, not {type(pattern).__name__}")
        tried = pattern.pattern if isinstance(pattern, re.Pattern) else pattern
        if not tried:
            raise ValueError("grep() was given an empty pattern: name what to look for")
        compiled = compile_pattern(pattern, flags)
        k, around = max(1, int(k)), max(0, int(around))
        found = list(islice(self._hits(compiled, text, around), k + 1))
        return Hits(found[:k], self._note(tried, compiled, text, len(found), k))

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

    def _hits(self, pattern: Pattern, text: Any, around: int) -> Iterator[Part]:
        for document, offset, whole in sources(self._context, text):
            for low, high in matches(pattern, whole):
                start = max(0, low - around)
                shown = str(whole[start : high + around])
                match = shown[low - start : high - start]
                yield Part(shown, document, offset + start, offset + low, match)

    def _note(self, tried: str, pattern: Pattern, text: Any, found: int, k: int) -> str:
        plain = f" (taken as plain text: {pattern.fault})" if pattern.fault else ""
        if found > k:
            return (
                f"the first {k} hits for {tried!r}{plain}; there are more: raise k or narrow "
                "the pattern"
            )
        if found:
            return f"{found} {'hit' if found == 1 else 'hits'} for {tried!r}{plain}"
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
            hits = self._hits(compile_pattern(word, re.IGNORECASE), text, 0)
            count = sum(1 for _ in islice(hits, _COUNTED))
            if count:
                least = "at least " if count == _COUNTED else ""
                return f"{word!r} alone has {least}{count:,}: try grep({word!r})."
        return "Try search() with other words."
