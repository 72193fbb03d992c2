"""The context card: what the root is told of a context before it has looked at it."""

from __future__ import annotations

from collections import Counter
from heapq import nlargest
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outcore.engine.corpus import Corpus

_NAMES = 5
_LARGEST = 3
# Beyond this many the largest are not looked for: that would take longer than it tells.
_COMPARED = 100_000
_SAMPLE_LINES = 3
_LINE_CHARS = 160
_NAME_CHARS = 80


def card(corpus: Corpus, tokens: int | None = None) -> str:
    """Describe a corpus in a few lines: type, size, documents, what was left out, a sample.

    Args:
        corpus: the staged context.
        tokens: its length in tokens, where that is known; it is told as an estimate.
    """
    return "\n".join(
        (*_size(corpus, tokens), *_documents(corpus), *_left_out(corpus), _sample(corpus))
    )


def _size(corpus: Corpus, tokens: int | None) -> Iterator[str]:
    estimate = f" (about {tokens:,} tokens)" if tokens is not None else ""
    count = len(corpus.documents)
    first = corpus.documents[0]
    match corpus.kind:
        case "str":
            named = "" if first.name == "context" else f", from {_name(first.name)}"
            yield f"context is a str{named}: {corpus.chars:,} characters{estimate}."
        case "list":
            what = "values" if first.is_json else "texts"
            yield f"context is a list of {count:,} {what}: {corpus.chars:,} characters{estimate}."
        case "dict":
            what = "value" if first.is_json else "text"
            yield (
                f"context is a dict of {count:,} documents, name -> {what}: "
                f"{corpus.chars:,} characters{estimate}."
            )
    lines = max(count, corpus.lines)
    yield f"It has {lines:,} lines of {corpus.chars // lines:,} characters on average."


def _documents(corpus: Corpus) -> Iterator[str]:
    documents = corpus.documents
    if corpus.kind == "str" or len(documents) == 1:
        return
    if corpus.kind == "dict":
        names = ", ".join(_name(one.name) for one in islice(documents, _NAMES))
        more = ", ..." if len(documents) > _NAMES else ""
        yield f"Names: {names}{more}"
    average = f"A document has {corpus.chars // len(documents):,} characters on average"
    if len(documents) > _COMPARED:
        yield f"{average}."
        return
    largest = ", ".join(
        f"{_name(one.name)} ({one.chars:,})"
        for one in nlargest(_LARGEST, documents, key=lambda one: one.chars)
    )
    yield f"{average}; the largest: {largest}."


def _left_out(corpus: Corpus) -> Iterator[str]:
    if corpus.skipped:
        # "not UTF-8 at byte 12" and "at byte 99" are one reason here.
        reasons = Counter(one.reason.partition(" at byte ")[0] for one in corpus.skipped)
        told = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
        yield f"Left out: {len(corpus.skipped):,} files or folders ({told})."


def _sample(corpus: Corpus) -> str:
    number, first = next(one for one in enumerate(corpus.documents) if one[1].chars)
    head = corpus.slice(number, 0, _SAMPLE_LINES * _LINE_CHARS * 4)
    lines = [line for line in head.splitlines() if line.strip()][:_SAMPLE_LINES]
    shown = "\n".join(
        f"  {line[:_LINE_CHARS]}{'...' if len(line) > _LINE_CHARS else ''}" for line in lines
    )
    where = "It begins" if corpus.kind == "str" else f"context[{first.name!r}] begins"
    if first.is_json:
        where += ", as JSON"
    return f"{where}:\n{shown}"


def _name(name: str | int) -> str:
    shown = repr(name)
    return shown if len(shown) <= _NAME_CHARS else f"{shown[:_NAME_CHARS]}..."
