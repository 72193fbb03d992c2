"""`grep` and `slices`: the root's own eyes on the context."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from .containers import LazyList
from .cuts import cuts
from .grep import Pattern, compile_pattern, matches
from .hits import Hits, Part
from .slices import Slices, Source
from .text import Text

if TYPE_CHECKING:
    from .corpus import Context

_WORD = re.compile(r"[^\W_]{3,}|\d+")
_ESCAPES = re.compile(r"\\[A-Za-z]|\[[^]]*\]|\(\?[a-zA-Z:=!<]+")
_COUNTED = 1_000
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
        if not (pattern.pattern if isinstance(pattern, re.Pattern) else pattern):
            raise ValueError("grep() was given an empty pattern: name what to look for")
        compiled = compile_pattern(pattern, flags)
        k, around = max(1, int(k)), max(0, int(around))
        found = list(islice(self._hits(compiled, text, around), k + 1))
        return Hits(found[:k], self._note(compiled, pattern, text, len(found), k))

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
        wanted = min(wanted, self._slice_tokens)
        size = max(1, int(wanted * self._chars_per_token))
        return Slices(self._sources(text), size, int(min(overlap * self._chars_per_token, (size - 1) // 2)))
