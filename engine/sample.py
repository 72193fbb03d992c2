"""Pieces of a corpus: all of it as one text, or samples spread over it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outcore.engine.corpus import Corpus


def joined(corpus: Corpus) -> str:
    """The whole corpus as one text, each document under its name where there are several."""
    if corpus.kind == "str":
        return corpus.slice(0)
    return "\n\n".join(
        f"[{document.name}]\n{corpus.slice(number)}"
        for number, document in enumerate(corpus.documents)
    )


def samples(corpus: Corpus, count: int, chars: int) -> Iterator[str]:
    """About `count` pieces of at most `chars` characters, evenly spread over the corpus."""
    documents = corpus.documents
    if len(documents) >= count:
        step = len(documents) / count
        for number in {int(step * n) for n in range(count)}:
            yield corpus.slice(number, 0, chars)
        return
    each = -(-count // len(documents))
    for number, document in enumerate(documents):
        for n in range(each):
            start = document.chars * n // each
            yield corpus.slice(number, start, start + chars)
