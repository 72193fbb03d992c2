"""The search index of a corpus: BM25 over passages of about a thousand characters."""

from __future__ import annotations

import os
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

import tantivy

from outcore.config import home
from outcore.engine.context.index_cache import IndexCache
from outcore.engine.context.near import Near, missing
from outcore.engine.context.ranking import Standing, Wanted, order, standing
from outcore.engine.context.terms import DEFINES, PARTS, SURE, WORDS, QueryMaker, analyzer, parts_of
from outcore.errors import ConfigError, OutcoreError
from outcore.kernel_sandbox.inside.cuts import cuts
from outcore.kernel_sandbox.inside.excerpts import excerpt
from outcore.kernel_sandbox.inside.languages import definitions, is_code, scope

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from threading import Event

    from outcore.engine.context.corpus import Corpus
    from outcore.engine.context.terms import Item
    from outcore.kernel_sandbox.inside.excerpts import Mark
    from outcore.kernel_sandbox.inside.staged import Name

_VERSION = 2
_CACHE_BYTES = 2 << 30
_PASSAGE_CHARS = 1_000
_HEAP_BYTES = 128 << 20
_MOST_THREADS = 4
# Passages below this share of the best score hold little but the query's commonest words.
_GOOD = 0.2
_LOOK_EVERY = 1_000
# More than asked for, so that which of several equal ones are returned does not depend on how
# the build's threads shared them, and the best by other signs are among them.
_MORE = 40
_MOST_RARE = 8
# A longer query is cut: it is a text, whose beginning tells as much.
_QUERY_CHARS = 4_000
_FIELDS = ("number", "start", "end")


class Passage(NamedTuple):
    """A passage that was found.

    Attributes:
        document: name of its document.
        offset: first character of it there.
        score: BM25; comparable within one query alone.
        text: the passage, as it stands in the corpus.
        marks: where in it the words of the query stand.
        line: number of its first line, where its document is source code; else 0.
        scope: the class and function that the best mark stands in, in source code; else "".
    """

    document: Name
    offset: int
    score: float
    text: str
    marks: tuple[Mark, ...] = ()
    line: int = 0
    scope: str = ""


class Found(NamedTuple):
    """What came of a search.

    Attributes:
        passages: the passages, best first.
        note: which words stand nowhere, and what is spelled like them; "" where all do.
    """

    passages: tuple[Passage, ...]
    note: str


class _Place(NamedTuple):
    number: int
    start: int
    end: int


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
            folder = kept.put(key, lambda folder: _build(corpus, folder, stop), stop)
        try:
            index = tantivy.Index.open(str(folder))
        except ValueError as error:
            raise OutcoreError(
                f"can't open the search index {folder}: {error}; remove it, and ask again"
            ) from error
        return cls(corpus, index)

    def query(self, text: str, k: int = 5) -> list[Passage]:
        """At most `k` passages, best first; fewer where only chance words match the rest.

        Those that define an identifier of the query come first, then those that hold all its
        rare words, then the others by BM25.

        Args:
            text: words in any form. What stands in quotes is looked for as a phrase, and
                where it stands nowhere, its words are.
            k: most passages.

        Raises:
            ConfigError: there is no word or number in `text`.
        """
        return list(self.find([text], k).passages)

    def find(self, texts: Sequence[str], k: int = 5) -> Found:
        """The same for several queries at once, with what is to be said of them.

        The best passages of each query come first, then the second best; none comes twice.

        Raises:
            ConfigError: there is no word or number in a query, or no query.
        """
        searcher = self._index.searcher()
        ranked, notes = [], []
        for text in texts:
            passages, note = self._find(searcher, text, k)
            ranked.append(passages)
            notes += [f"{text[:80]!r}: {note}" if len(texts) > 1 else note] if note else []
        if not ranked:
            raise ConfigError("search needs words or numbers to look for, and got none")
        mixed = (one for row in zip_longest(*ranked) for one in row if one is not None)
        once: dict[tuple[Name, int], Passage] = {}
        for one in mixed:
            once.setdefault((one.document, one.offset), one)
        return Found(tuple(once.values()), " ".join(notes))

    def _find(
        self, searcher: tantivy.Searcher, text: str, k: int, *, noted: bool = True
    ) -> tuple[list[Passage], str]:
        text = text.strip()[:_QUERY_CHARS]
        asked = self._queries.make(text)
        if asked.loose is None:
            raise ConfigError(
                f"search needs words or numbers to look for, and {text[:80]!r} has none; for "
                "other characters use grep"
            )
        counts = {item: self._count(searcher, item) for item in asked.items}
        wanted = Wanted.of(text, counts, searcher.num_docs)
        limit = 2 * k + _MORE
        hits: dict[_Place, float] = {}
        if asked.strict is not None:
            hits = _hits(searcher, asked.strict, limit)
            if wanted.names and hits:
                defining = self._queries.defining(wanted.names, asked.loose)
                both = self._queries.all((asked.strict, defining))
                hits = _hits(searcher, both, limit) | hits
        if not hits:
            hits = _hits(searcher, asked.loose, limit)
            least = max(hits.values(), default=0.0) * _GOOD
            hits = {place: score for place, score in hits.items() if score >= least}
            rare = [wanted.items[at] for at in sorted(wanted.rare)][:_MOST_RARE]
            if len(rare) > 1:
                hits = _hits(searcher, self._queries.all_of(rare, asked.loose), limit) | hits
            if wanted.names:
                defining = self._queries.defining(wanted.names, asked.loose)
                hits = _hits(searcher, defining, limit) | hits
        places = sorted(hits, key=lambda place: (-hits[place], place))
        texts = [self._corpus.slice(*place) for place in places]
        stands = [standing(one, wanted) for one in texts]
        best = order([(hits[place], how) for place, how in zip(places, stands, strict=True)])
        passages = [
            self._passage(places[at], hits[places[at]], texts[at], stands[at]) for at in best[:k]
        ]
        note = self._note(searcher, counts, found=bool(passages)) if noted else ""
        return passages, note

    def _count(self, searcher: tantivy.Searcher, item: Item) -> int:
        """In how many passages an item stands."""
        found = searcher.search(self._queries.query_of(item), limit=1, count=True)
        return int(found.count or 0)

    def _passage(self, place: _Place, score: float, text: str, how: Standing) -> Passage:
        number, start, _ = place
        name = self._corpus.name(number)
        if not is_code(name):
            return Passage(name, start, score, text, how.marks)
        whole = self._corpus.text(number)
        best = max(how.marks, key=lambda mark: mark.weight, default=None)
        within = scope(whole, start + (best.start if best else 0))
        line = 1 + whole.count("\n", 0, start)
        return Passage(name, start, score, text, how.marks, line, within)

    def _note(self, searcher: tantivy.Searcher, counts: Mapping[Item, int], *, found: bool) -> str:
        """What of a query stands nowhere, and what in the corpus is spelled like it."""
        if all(counts.values()):
            return ""
        near = Near(searcher, self._queries, self._corpus)
        alike = near.alike(counts)
        parts = [*missing(counts, found=found), *(f"spelled alike: {one!r}" for one in alike)]
        if not found:
            parts += (self._shown(searcher, word) for word in alike[:1])
        return "; ".join(parts) + "."

    def _shown(self, searcher: tantivy.Searcher, word: str) -> str:
        """The best passage for a word that does occur, cut."""
        # Without a note of its own: what is spelled like this word may be the first one again.
        passages, _ = self._find(searcher, word, 1, noted=False)
        if not passages:
            return f"try search({word!r})"
        best = passages[0]
        return f"{best.document} @ {best.offset} has it: {excerpt(best.text, best.marks)!r}"


def _build(corpus: Corpus, folder: Path, stop: Event | None) -> None:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field(WORDS, tokenizer_name="outcore", index_option="position")
    builder.add_text_field(PARTS, tokenizer_name="outcore", index_option="freq")
    builder.add_text_field(DEFINES, tokenizer_name="raw", index_option="basic")
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
            for name in _defined(text):
                document.add_text(DEFINES, name)
            for field, value in zip(_FIELDS, (number, start, end), strict=True):
                document.add_unsigned(field, value)
            writer.add_document(document)
        writer.commit()
        writer.wait_merging_threads()
    except ValueError as error:
        raise OutcoreError(f"the search index could not be built: {error}") from error


def _defined(text: str) -> set[str]:
    """The names that a passage defines, as the index keeps them."""
    found = list(definitions(text))
    return {one.name for one in found} | {f"{SURE}{one.name}" for one in found if one.sure}


def _hits(searcher: tantivy.Searcher, query: tantivy.Query, limit: int) -> dict[_Place, float]:
    """Places of the passages that match, with their scores."""
    hits = searcher.search(query, limit=limit, count=False).hits
    addresses = [address for _, address in hits]
    fields = [searcher.fast_field_values(field, addresses) for field in _FIELDS] if hits else []
    places = zip(*fields, strict=True) if hits else ()
    return {_Place(*place): round(score, 4) for (score, _), place in zip(hits, places, strict=True)}


def _passages(corpus: Corpus) -> Iterator[tuple[int, int, int, str]]:
    for number in range(len(corpus.documents)):
        text = corpus.text(number)
        for start, end in cuts(text, _PASSAGE_CHARS):
            yield number, start, end, str(text[start:end])
