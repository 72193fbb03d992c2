"""How text becomes the terms of the search index, and a question a query over them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import tantivy

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS = "words"
PARTS = "parts"
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
# Characters of a query whose identifiers are taken apart.
_PARTED = 4_000
_WORD = re.compile(r"\w+")
_ASCII_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PART = re.compile(r"[^\W\d_]+|\d+")
_QUOTED = re.compile(r"[\"\u201c\u201d]([^\"\u201c\u201d]+)[\"\u201c\u201d]|`([^`]+)`")
_PART_WEIGHT = 0.5
_PHRASE_WEIGHT = 1.5


class Queries(NamedTuple):
    """One question as two: with what was quoted required, and with it only preferred.

    Attributes:
        strict: None where nothing was quoted.
        loose: None where the text holds no term.
    """

    strict: tantivy.Query | None
    loose: tantivy.Query | None


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
    """The parts of the identifiers in `text`: `get_KVCache2` gives `get KV Cache 2`."""
    return " ".join(filter(None, map(_split, dict.fromkeys(_WORD.findall(text)))))


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
            self._phrase(terms)
            for found in _QUOTED.findall(text)
            if (terms := self._all.analyze("".join(found)))
        ]
        should = [(tantivy.Occur.Should, query) for query in wanted]
        required = [(tantivy.Occur.Must, query) for query in quoted]
        preferred = [(tantivy.Occur.Should, _weighed(query, _PHRASE_WEIGHT)) for query in quoted]
        return Queries(
            tantivy.Query.boolean_query([*required, *should]) if quoted else None,
            tantivy.Query.boolean_query([*preferred, *should]),
        )

    def _wanted(self, text: str, words: tantivy.TextAnalyzer) -> Iterator[tantivy.Query]:
        terms: dict[str, None] = {}
        for chunk in text.split():
            found = words.analyze(chunk)
            terms |= dict.fromkeys(found)
            # `3.14`, `engine.run`, `2021-03-04`, and words of dense scripts.
            if 1 < len(found) <= _MOST_TERMS:
                yield _weighed(self._phrase(found), _PHRASE_WEIGHT)
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

    def _phrase(self, terms: list[str]) -> tantivy.Query:
        if len(terms) == 1:
            return self._term(WORDS, terms[0])
        return tantivy.Query.phrase_query(self._schema, WORDS, terms)

    def _term(self, field: str, term: str) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, field, term)


def _weighed(query: tantivy.Query, weight: float) -> tantivy.Query:
    return tantivy.Query.boost_query(query, weight)
