"""How text becomes the terms of the search index, and a question a query over them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import tantivy

if TYPE_CHECKING:
    from collections.abc import Iterable

WORDS = "words"
PARTS = "parts"
# Scripts written without spaces, or with particles joined to words: a term a character.
_DENSE = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LONGEST_TERM = 200
_MOST_TERMS = 64
_WORD = re.compile(r"\w+")
_ASCII_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_PART = re.compile(r"[^\W\d_]+|\d+")
_QUOTED = re.compile(r"[\"\u201c\u201d]([^\"\u201c\u201d]+)[\"\u201c\u201d]|`([^`]+)`")
_PART_WEIGHT = 0.5
_PHRASE_WEIGHT = 1.5


class Question(NamedTuple):
    """A query as two: with what was quoted required, and with it only preferred.

    Attributes:
        strict: None where nothing was quoted.
        loose: None where the text holds no term.
    """

    strict: tantivy.Query | None
    loose: tantivy.Query | None


def analyzer() -> tantivy.TextAnalyzer:
    """Words in lower case, without accents, with English endings cut off."""
    pattern = rf"[{_DENSE}]|[\w--[{_DENSE}]]+"
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.regex(pattern))
    for step in (
        tantivy.Filter.remove_long(_LONGEST_TERM),
        tantivy.Filter.lowercase(),
        tantivy.Filter.ascii_fold(),
        tantivy.Filter.stemmer("english"),
    ):
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


def question(schema: tantivy.Schema, words: tantivy.TextAnalyzer, text: str) -> Question:
    """Turn free text into a query. Nothing in it is syntax but quotes, which make phrases."""
    required = [
        phrase
        for match in _QUOTED.findall(text)
        if (phrase := _phrase(schema, words.analyze("".join(match)))) is not None
    ]
    wanted = list(_wanted(schema, words, text))
    if not wanted:
        return Question(None, None)
    should = [(tantivy.Occur.Should, query) for query in wanted]
    preferred = [
        (tantivy.Occur.Should, tantivy.Query.boost_query(one, _PHRASE_WEIGHT)) for one in required
    ]
    loose = tantivy.Query.boolean_query([*preferred, *should])
    if not required:
        return Question(None, loose)
    must = [(tantivy.Occur.Must, phrase) for phrase in required]
    return Question(tantivy.Query.boolean_query([*must, *should]), loose)


def _wanted(
    schema: tantivy.Schema, words: tantivy.TextAnalyzer, text: str
) -> Iterable[tantivy.Query]:
    terms: dict[str, None] = {}
    for chunk in text.split():
        found = words.analyze(chunk)
        terms |= dict.fromkeys(found)
        # `3.14`, `engine.run`, `2021-03-04`, and words of dense scripts.
        if 1 < len(found) <= _MOST_TERMS:
            yield tantivy.Query.boost_query(_phrase(schema, found), _PHRASE_WEIGHT)
        if len(terms) > _MOST_TERMS:
            break
    parts = dict.fromkeys(words.analyze(parts_of(text)))
    for term in list(terms)[:_MOST_TERMS]:
        yield _term(schema, WORDS, term)
        if term not in parts:
            yield tantivy.Query.boost_query(_term(schema, PARTS, term), _PART_WEIGHT)
    for term in list(parts)[:_MOST_TERMS]:
        for field in (WORDS, PARTS):
            yield tantivy.Query.boost_query(_term(schema, field, term), _PART_WEIGHT)


def _phrase(schema: tantivy.Schema, terms: list[str]) -> tantivy.Query | None:
    if len(terms) > 1:
        return tantivy.Query.phrase_query(schema, WORDS, terms)
    return _term(schema, WORDS, terms[0]) if terms else None


def _term(schema: tantivy.Schema, field: str, term: str) -> tantivy.Query:
    return tantivy.Query.term_query(schema, field, term)
