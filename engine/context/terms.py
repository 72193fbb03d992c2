"""How text becomes the terms of the search index, and a question a query over them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import tantivy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

WORDS = "words"
PARTS = "parts"
DEFINES = "defines"
# Before a name in DEFINES where a keyword or a type says that it is defined.
SURE = "!"
# Scripts written without spaces, or with particles joined to words: a term a character.
_DENSE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# Words that tell a question from a statement, but not one passage from another.
_FUNCTION_WORDS = re.findall(
    r"\w+",
    "a an and are as at be been but by can could did do does for from had has have he her his how "
    "i if in into is it its me my no not of on or our she so such tell than that the their them "
    "then there these they this those to was we were what when where which who whom whose why "
    "will with would you your",
)
_LONGEST_TERM = 200
_MOST_TERMS = 64
_MOST_IN_KEY = 4
# Characters of a query whose identifiers are taken apart.
_PARTED = 4_000
_WORD = re.compile(r"\w+")
_ASCII_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PART = re.compile(r"[^\W\d_]+|\d+")
_QUOTED = re.compile(r"[\"\u201c\u201d]([^\"\u201c\u201d]+)[\"\u201c\u201d]|`([^`]+)`")
# Numbers with marks between the thousands: 1,234,567 or 1.234.567.
_GROUPED = re.compile(
    r"(?<![\w.,])\d{1,3}(?:(?:[,'\u2019\u00a0\u202f_]\d{3})+|(?:\.\d{3}){2,})(?![\w,]|\.\d)"
)
_PUNCTUATION = "\"'`.,;:!?()[]{}<>\u201c\u201d\u2018\u2019"
_PART_WEIGHT = 0.5
_PHRASE_WEIGHT = 1.5


class Item(NamedTuple):
    """One thing that a query names: a word, a key of several words, or a phrase in quotes.

    Attributes:
        text: as it stands in the query.
        ways: the terms, in a row, in which a text may have it.
        quoted: whether it stood in quotes.
    """

    text: str
    ways: tuple[tuple[str, ...], ...]
    quoted: bool = False


class Queries(NamedTuple):
    """One question as two: with what was quoted required, and with it only preferred.

    Attributes:
        strict: None where nothing was quoted.
        loose: None where the text holds no term.
        items: what is asked for, one by one; of a key such as `blue-harbour` its words too.
    """

    strict: tantivy.Query | None
    loose: tantivy.Query | None
    items: tuple[Item, ...] = ()


def analyzer(*, function_words: bool = True) -> tantivy.TextAnalyzer:
    """Words in lower case, without accents, with English endings cut off."""
    steps = [
        tantivy.Filter.remove_long(_LONGEST_TERM),
        tantivy.Filter.lowercase(),
        tantivy.Filter.ascii_fold(),
    ]
    if not function_words:
        steps.append(tantivy.Filter.custom_stopword(_FUNCTION_WORDS))
    steps.append(tantivy.Filter.stemmer("english"))
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(rf"[{_DENSE}]|[\w--[{_DENSE}]]+"))
    for step in steps:
        builder = builder.filter(step)
    return builder.build()


def parts_of(text: str) -> str:
    """The parts of the identifiers in `text`: `get_KVCache2` gives `get KV Cache 2`.

    Numbers that are written in groups come as one: `1,234` gives `1234`.
    """
    parts = filter(None, map(_split, dict.fromkeys(_WORD.findall(text))))
    return " ".join((*parts, *(number for number, _, _ in grouped_numbers(text))))


def grouped_numbers(text: str) -> Iterator[tuple[str, int, int]]:
    """The numbers in `text` that are written in groups, as one, with their bounds."""
    for found in _GROUPED.finditer(text):
        yield re.sub(r"\D", "", found.group()), *found.span()


@lru_cache(maxsize=1 << 16)
def _split(word: str) -> str:
    if word.isalpha() and (word.islower() or word.istitle() or word.isupper()):
        return ""
    parts = (_ASCII_PART if word.isascii() else _PART).findall(word)
    return "" if parts == [word] else " ".join(parts)


class QueryMaker:
    """Turns free text into queries. Nothing in it is syntax but quotes, which make phrases.

    Args:
        schema: of the index.
    """

    def __init__(self, schema: tantivy.Schema) -> None:
        self._schema = schema
        self._all = analyzer()
        self._telling = analyzer(function_words=False)

    def make(self, text: str) -> Queries:
        """The query for a text of any kind and length."""
        # A lone surrogate is in no index, and no text to Rust.
        text = text.encode("utf-8", "replace").decode()
        wanted = list(self._wanted(text, self._telling)) or list(self._wanted(text, self._all))
        if not wanted:
            return Queries(None, None)
        quoted = [
            self.phrase(terms)
            for found in _QUOTED.findall(text)
            if (terms := self._all.analyze("".join(found)))
        ]
        items = tuple(self._items(text))
        should = [(tantivy.Occur.Should, query) for query in wanted]
        required = [(tantivy.Occur.Must, query) for query in quoted]
        preferred = [(tantivy.Occur.Should, _weighed(query, _PHRASE_WEIGHT)) for query in quoted]
        return Queries(
            tantivy.Query.boolean_query([*required, *should]) if quoted else None,
            tantivy.Query.boolean_query([*preferred, *should]),
            items,
        )

    def query_of(self, item: Item) -> tantivy.Query:
        """The query for one item alone."""
        ways = [self.phrase(way) for way in item.ways]
        if any(len(way) == 1 for way in item.ways):
            ways += [self._term(PARTS, way[0]) for way in item.ways if len(way) == 1]
        return tantivy.Query.boolean_query([(tantivy.Occur.Should, way) for way in ways])

    def all_of(self, items: Sequence[Item], text: tantivy.Query) -> tantivy.Query:
        """The query for passages that hold every item, those that fit `text` first."""
        must = [(tantivy.Occur.Must, _weighed(self.query_of(item), 0.0)) for item in items]
        return tantivy.Query.boolean_query([*must, (tantivy.Occur.Should, text)])

    def all(self, queries: Sequence[tantivy.Query]) -> tantivy.Query:
        """The query for what meets each of several."""
        return tantivy.Query.boolean_query([(tantivy.Occur.Must, one) for one in queries])

    def defining(self, names: Mapping[str, bool], text: tantivy.Query) -> tantivy.Query:
        """The query for passages that define a name, those that fit `text` first.

        Args:
            names: the names, and whether a line that only assigns to one will do.
            text: the rest of the question.
        """
        ways = [
            (tantivy.Occur.Should, self._term(DEFINES, name if loose else f"{SURE}{name}"))
            for name, loose in names.items()
        ]
        must = _weighed(tantivy.Query.boolean_query(ways), 0.0)
        return tantivy.Query.boolean_query(
            [(tantivy.Occur.Must, must), (tantivy.Occur.Should, text)]
        )

    def like(self, term: str, distance: int) -> tantivy.Query:
        """The query for words that differ from a term in few letters."""
        return tantivy.Query.fuzzy_term_query(self._schema, WORDS, term, distance)

    def _items(self, text: str) -> Iterator[Item]:
        seen: set[tuple[str, ...]] = set()
        quoted = ["".join(found) for found in _QUOTED.findall(text)]
        chunks = [chunk.strip(_PUNCTUATION) for chunk in text.split()[:_MOST_TERMS]]
        for number, chunk in enumerate((*quoted, *chunks)):
            terms = tuple(self._all.analyze(chunk))
            ways = [terms, *((one,) for one, _, _ in grouped_numbers(chunk))]
            if 1 < len(terms) <= _MOST_IN_KEY and "-" in chunk:
                ways.append(("".join(terms),))
            if terms and terms not in seen and len(terms) <= _MOST_TERMS:
                seen.add(terms)
                telling = self._telling.analyze(chunk)
                if telling:
                    yield Item(chunk, tuple(dict.fromkeys(ways)), number < len(quoted))
                if number >= len(quoted) and len(terms) > 1:
                    for word in _WORD.findall(chunk):
                        one = tuple(self._telling.analyze(word))
                        if len(one) == 1 and one not in seen:
                            seen.add(one)
                            yield Item(word, (one,))

    def _wanted(self, text: str, words: tantivy.TextAnalyzer) -> Iterator[tantivy.Query]:
        terms: dict[str, None] = {}
        for chunk in text.split():
            found = words.analyze(chunk)
            terms |= dict.fromkeys(found)
            # `3.14`, `engine.run`, `2021-03-04`, and words of dense scripts.
            if 1 < len(found) <= _MOST_TERMS:
                yield _weighed(self.phrase(self._all.analyze(chunk)), _PHRASE_WEIGHT)
            if len(terms) > _MOST_TERMS:
                break
        parts = dict.fromkeys(words.analyze(parts_of(text[:_PARTED])))
        for term in list(terms)[:_MOST_TERMS]:
            yield self._term(WORDS, term)
            if term not in parts:
                yield _weighed(self._term(PARTS, term), _PART_WEIGHT)
        for term in list(parts)[:_MOST_TERMS]:
            for field in (WORDS, PARTS):
                yield _weighed(self._term(field, term), _PART_WEIGHT)

    def phrase(self, terms: Sequence[str]) -> tantivy.Query:
        """The query for terms in a row."""
        if len(terms) == 1:
            return self._term(WORDS, terms[0])
        return tantivy.Query.phrase_query(self._schema, WORDS, list(terms))

    def _term(self, field: str, term: str) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, field, term)


def _weighed(query: tantivy.Query, weight: float) -> tantivy.Query:
    return tantivy.Query.boost_query(query, weight)
