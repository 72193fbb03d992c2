"""Words of a corpus that are spelled like one that stands nowhere in it."""

from __future__ import annotations

import re
import time
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from outcore.engine.context.ranking import tokens
from outcore.engine.context.terms import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import tantivy

    from outcore.engine.context.corpus import Corpus
    from outcore.engine.context.terms import Item, QueryMaker

_WORD = re.compile(r"\w+")
_SECONDS = 0.3
_TERMS = 2_000
_PASSAGES = 20
_MOST_TOLD = 8
_MOST_NEAR = 3
_ALIKE = 0.72
# Shortest terms in which one letter, or two, may be another.
_SHORT, _LONG = 4, 6
_PLACE = ("number", "start", "end")


class Near:
    """Looks for words in one index.

    Args:
        searcher: of the index.
        queries: makes the queries.
        corpus: the texts.
    """

    def __init__(self, searcher: tantivy.Searcher, queries: QueryMaker, corpus: Corpus) -> None:
        self._searcher = searcher
        self._queries = queries
        self._corpus = corpus

    def alike(self, counts: Mapping[Item, int]) -> list[str]:
        """The keys, else the words, that are spelled like items which stand nowhere.

        Args:
            counts: in how many passages each item stands.
        """
        rows = sorted(item.ways[0] for item, count in counts.items() if not count)
        keys = [row for row in rows if len(row) > 1]
        found = [word for key in keys[:_MOST_NEAR] if (word := self.key(key))]
        if not found:
            terms = sorted((row[0] for row in rows if len(row) == 1), key=len, reverse=True)
            found = [word for term in terms[:_MOST_NEAR] if (word := self.word(term))]
        return list(dict.fromkeys(found))

    def word(self, term: str) -> str:
        """The word most like a term of the index's kind, or "" where none is."""
        if len(term) < _SHORT:
            return ""
        for distance in (1, 2) if len(term) >= _LONG else (1,):
            if found := self._best(term, self._words(self._queries.like(term, distance))):
                return found
        until = time.monotonic() + _SECONDS
        for size in (3, 2):
            known = self._searcher.terms_with_prefix(WORDS, term[:size], limit=_TERMS)
            terms = [one for one, _ in known if abs(len(one) - len(term)) <= len(term) // 2]
            if found := self._best(term, terms, until):
                # What the index holds is a stem; its word is in a text.
                return self._best(found, self._words(self._queries.phrase([found]))) or found
        return ""

    def key(self, terms: Sequence[str]) -> str:
        """The key of several words that differs from `terms` in one of them, or ""."""
        for at, term in enumerate(terms):
            if len(term) < _SHORT:
                continue
            others = [self._queries.phrase([one]) for one in (*terms[:at], *terms[at + 1 :])]
            query = self._queries.all([self._queries.like(term, 2), *others])
            for text in self._texts(query):
                row, _ = tokens(text)
                for first in range(len(row) - len(terms) + 1):
                    some = row[first : first + len(terms)]
                    if all(
                        one.term == wanted or number == at
                        for number, (one, wanted) in enumerate(zip(some, terms, strict=True))
                    ) and self._best(term, [some[at].term]):
                        return text[some[0].start : some[-1].end]
        return ""

    def _words(self, query: tantivy.Query) -> Iterable[str]:
        words: dict[str, None] = {}
        for text in self._texts(query):
            words |= dict.fromkeys(_WORD.findall(text))
        return words

    def _texts(self, query: tantivy.Query) -> Iterator[str]:
        hits = self._searcher.search(query, limit=_PASSAGES, count=False).hits
        if hits:
            addresses = [address for _, address in hits]
            fields = [self._searcher.fast_field_values(field, addresses) for field in _PLACE]
            for place in sorted(zip(*fields, strict=True)):
                yield self._corpus.slice(*place)

    def _best(self, term: str, words: Iterable[str], until: float | None = None) -> str:
        matcher = SequenceMatcher(autojunk=False)
        matcher.set_seq2(term)
        best, found = _ALIKE, ""
        for word in words:
            if until is not None and time.monotonic() > until:
                break
            matcher.set_seq1(word.casefold())
            if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best:
                ratio = matcher.ratio()
                if ratio > best:
                    best, found = ratio, word
        return found


def missing(counts: Mapping[Item, int], *, found: bool) -> list[str]:
    """Which items stand nowhere, in words; where nothing was found, how often the others do."""
    keys = [item.ways[0] for item, count in counts.items() if not count and len(item.ways[0]) > 1]
    # The words of a key that stands nowhere are not told apart from it.
    told = [
        item
        for item in counts
        if item.ways[0] in keys or not any(item.ways[0][0] in key for key in keys)
    ]
    return [
        f"{item.text!r} is in {counts[item]:,} passage{'' if counts[item] == 1 else 's'}"
        if counts[item]
        else f"{item.text!r} is nowhere in the context"
        for item in told[:_MOST_TOLD]
        if not found or not counts[item]
    ]
