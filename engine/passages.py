"""A corpus cut into passages for its search index."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outcore.engine.corpus import Corpus

PASSAGE_CHARS = 1_000
# A document is read in windows, so that one of a gigabyte is never in memory whole.
_WINDOW_CHARS = 4 << 20


class Span(NamedTuple):
    """A passage: its document's number, its first character there, and its text."""

    number: int
    offset: int
    text: str


def passages(corpus: Corpus) -> Iterator[Span]:
    """All of the corpus in pieces of at most 1,000 characters, cut at line ends, else spaces."""
    for number, document in enumerate(corpus.documents):
        at = 0
        while at < document.chars:
            window = corpus.slice(number, at, at + _WINDOW_CHARS)
            last = at + len(window) >= document.chars
            done = 0
            for start, end in _cuts(window):
                if not last and end == len(window) and start:
                    break  # may go on in the next window
                yield Span(number, at + start, window[start:end])
                done = end
            at += done


def _cuts(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(text):
        end = start + PASSAGE_CHARS
        if end < len(text):
            cut = text.rfind("\n", start + PASSAGE_CHARS // 3, end) + 1
            end = cut or text.rfind(" ", start + PASSAGE_CHARS // 3, end) + 1 or end
        else:
            end = len(text)
        yield start, end
        start = end
