"""The search index of a corpus: BM25 over passages of about a thousand characters."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

import tantivy

from outcore.config import home
from outcore.engine.index_cache import IndexCache
from outcore.engine.terms import PARTS, WORDS, QueryMaker, analyzer, parts_of
from outcore.errors import ConfigError, OutcoreError
from outcore.kernel_sandbox.inside.cuts import cuts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from threading import Event

    from outcore.engine.corpus import Corpus
    from outcore.kernel_sandbox.inside.staged import Name

_VERSION = 1
_CACHE_BYTES = 2 << 30
_PASSAGE_CHARS = 1_000
_HEAP_BYTES = 128 << 20
_MOST_THREADS = 4
# Passages below this share of the best score hold little but the query's commonest words.
_GOOD = 0.2
_LOOK_EVERY = 1_000
_FIELDS = ("number", "start", "end")


class Passage(NamedTuple):
    """A passage that was found.

    Attributes:
        document: name of its document.
        offset: first character of it there.
        score: BM25; comparable within one query alone.
        text: the passage, as it stands in the corpus.
    """

    document: Name
    offset: int
    score: float
    text: str


class SearchIndex:
    """Finds passages of one corpus by their words. Threads may share it.

    Args:
        corpus: the texts.
        index: opened index over them.
    """

    def __init__(self, corpus: Corpus, index: tantivy.Index) -> None:
        self._corpus = corpus
        self._index = index
        self._queries = QueryMaker(index.schema)

    @classmethod
    def open_or_build(
        cls, corpus: Corpus, *, cache: Path | None = None, stop: Event | None = None
    ) -> SearchIndex:
        """The index of a corpus, built unless one of an equal corpus is kept.

        Args:
            corpus: the texts.
            cache: where indexes are kept, `$OUTCORE_HOME/index` unless given; at most 2 GB.
            stop: ends a build early when it is set.

        Raises:
            ConfigError: the cache can't be written to.
            OutcoreError: the build was stopped, or failed.
        """
        kept = IndexCache(cache if cache is not None else home() / "index", _CACHE_BYTES)
        key = f"{corpus.digest}-{_VERSION}"
        folder = kept.get(key)
        if folder is None:
            folder = kept.put(key, lambda folder: _build(corpus, folder, stop))
        try:
            index = tantivy.Index.open(str(folder))
        except ValueError as error:
            raise OutcoreError(
                f"can't open the search index {folder}: {error}; remove it, and ask again"
            ) from error
        return cls(corpus, index)

    def query(self, text: str, k: int = 5) -> list[Passage]:
        """At most `k` passages, best first; fewer where only chance words match the rest.

        Args:
            text: words in any form. What stands in quotes is looked for as a phrase, and
                where it stands nowhere, its words are.
            k: most passages.

        Raises:
            ConfigError: there is no word or number in `text`.
        """
        asked = self._queries.make(text)
        if asked.loose is None:
            raise ConfigError(
                f"search needs words or numbers to look for, and {text[:80]!r} has none; for "
                "other characters use grep"
            )
        found = self._best(asked.strict, k) if asked.strict is not None else []
        return found or self._best(asked.loose, k)

    def _best(self, query: tantivy.Query, k: int) -> list[Passage]:
        searcher = self._index.searcher()
        # More than k, so that which of several equal ones are returned does not depend on
        # how the build's threads shared them.
        hits = searcher.search(query, limit=2 * k + 20, count=False).hits
        if not hits:
            return []
        addresses = [address for _, address in hits]
        places = zip(
            *(searcher.fast_field_values(field, addresses) for field in _FIELDS), strict=True
        )
        ranked = sorted(
            (-round(score, 4), *place) for (score, _), place in zip(hits, places, strict=True)
        )
        least = ranked[0][0] * _GOOD
        corpus = self._corpus
        return [
            Passage(corpus.name(number), start, -score, corpus.slice(number, start, end))
            for score, number, start, end in ranked[:k]
            if score <= least
        ]


def _build(corpus: Corpus, folder: Path, stop: Event | None) -> None:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(WORDS, tokenizer_name="outcore", index_option="position")
    builder.add_text_field(PARTS, tokenizer_name="outcore", index_option="freq")
    for field in _FIELDS:
        builder.add_unsigned_field(field, fast=True)
    try:
        index = tantivy.Index(builder.build(), path=str(folder))
        index.register_tokenizer("outcore", analyzer())
        threads = min(_MOST_THREADS, os.cpu_count() or 1)
        writer = index.writer(heap_size=_HEAP_BYTES, num_threads=threads)
        for added, (number, start, end, text) in enumerate(_passages(corpus)):
            if stop is not None and added % _LOOK_EVERY == 0 and stop.is_set():
                raise OutcoreError("the search index was not built: the build was stopped")
            document = tantivy.Document()
            document.add_text(WORDS, text)
            document.add_text(PARTS, parts_of(text))
            for field, value in zip(_FIELDS, (number, start, end), strict=True):
                document.add_unsigned(field, value)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
    except ValueError as error:
        raise OutcoreError(f"the search index could not be built: {error}") from error


def _passages(corpus: Corpus) -> Iterator[tuple[int, int, int, str]]:
    for number in range(len(corpus.documents)):
        text = corpus.text(number)
        for start, end in cuts(text, _PASSAGE_CHARS):
            yield number, start, end, str(text[start:end])
