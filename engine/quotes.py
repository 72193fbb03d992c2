"""Quotes that were not copied to the letter, and where in the context their words stand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outcore.engine.context.corpus import Corpus
    from outcore.engine.context.search import SearchIndex

_PASSAGES = 5
_LONGEST = 4_000
_TOKEN = re.compile(r"\w+")


def alike(corpus: Corpus, index: SearchIndex, quote: str) -> str | None:
    """The passage with just the words of `quote`, whatever its spaces, marks and capitals.

    Args:
        corpus: the context.
        index: its search index, which tells where to look.
        quote: what was quoted.

    Raises:
        ConfigError: there is no word in `quote`.
    """
    quote = quote[:_LONGEST]
    words = [word.casefold() for word in _TOKEN.findall(quote)]
    for passage in index.query(re.sub(r"[\"`\u201c\u201d]", " ", quote), _PASSAGES):
        # The quote may begin in the passage before, or end in the one after.
        start = max(0, passage.offset - len(quote))
        end = passage.offset + len(passage.text) + 2 * len(quote)
        text = corpus.read(passage.document, start, end)
        found = list(_TOKEN.finditer(text))
        row = [one.group().casefold() for one in found]
        for at in range(len(row) - len(words) + 1):
            if row[at] == words[0] and row[at : at + len(words)] == words:
                last = found[at + len(words) - 1].end()
                closing = re.match(r"[.!?%)\]]*", text[last:])
                return text[found[at].start() : last + (closing.end() if closing else 0)]
    return None
