"""Which of the passages that were found come first, and where in them the words stand."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from outcore.engine.context.terms import analyzer, grouped_numbers, parts_of
from outcore.kernel_sandbox.inside.excerpts import Mark
from outcore.kernel_sandbox.inside.languages import definitions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import tantivy

    from outcore.engine.context.terms import Item

_WORD = re.compile(r"\w+")
# Where one begins is in no doubt, and it is no longer than names are, so that no word takes long.
_IDENTIFIER = re.compile(
    r"(?<![A-Za-z\d_$])(?:[A-Za-z$]\w{0,99}(?:_\w+|[a-z\d][A-Z]\w*)|_\w+|[A-Z]{2,99}[a-z]\w*"
    r"|[A-Za-z]\w{0,99}(?:\.[A-Za-z_]\w*)+)"
)
_NAME = re.compile(r"[A-Za-z_$][\w$]*")
# A question with one of these asks for code, where any word of it may be a name.
_OF_CODE = re.compile(
    r"\b(?:def|class|classes|function|method|struct|enum|interface|trait|macro|constant|variable|"
    r"attribute|constructor|subclass(?:es)?|defin\w+|declar\w+|implement\w*)\b",
    re.IGNORECASE,
)
_SOME = 5
_SHARE = 100
# What is found of a word is a part of an identifier, or a definition of it.
_PART = 0.4
_DEFINED = 2.0


class Token(NamedTuple):
    """A term of a text, with its bounds there."""

    term: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a query asks for, weighed by how rare it is in the corpus.

    Attributes:
        items: what is asked for and occurs.
        weights: of each item, the larger the rarer.
        rare: numbers of the items that occur in few passages.
        names: identifiers that may be defined somewhere, and whether any line that assigns to
            them will do.
    """

    items: tuple[Item, ...]
    weights: tuple[float, ...]
    rare: frozenset[int]
    names: Mapping[str, bool]

    @classmethod
    def of(cls, query: str, counts: Mapping[Item, int], passages: int) -> Wanted:
        """Weigh the items of a query.

        Args:
            query: the query.
            counts: in how many passages each item occurs.
            passages: how many there are.
        """
        present = [item for item, count in counts.items() if count]
        # Where a key occurs whole, its words alone tell nothing.
        keys = [set(way) for one in present for way in one.ways if len(way) > 1]
        items = tuple(
            one
            for one in present
            if len(one.ways[0]) > 1 or not any(one.ways[0][0] in key for key in keys)
        )
        few = max(_SOME, passages // _SHARE)
        return cls(
            items,
            tuple(math.log(1 + passages / counts[one]) for one in items),
            frozenset(at for at, one in enumerate(items) if counts[one] <= few),
            _names(query),
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """How a passage meets a query.

    Attributes:
        marks: where the items stand in it.
        defined: how many of the names the query has are defined in it.
        whole: whether it holds all rare items.
        exact: how many keys and phrases stand in it to the letter, hyphens and all.
    """

    marks: tuple[Mark, ...]
    defined: int
    whole: bool
    exact: int


def standing(text: str, wanted: Wanted) -> Standing:
    """How the passage `text` meets a query."""
    row, beside = tokens(text)
    marks: list[Mark] = []
    held: set[int] = set()
    at: dict[str, list[int]] = {}
    for number, token in enumerate(row):
        at.setdefault(token.term, []).append(number)
    for number, (item, weight) in enumerate(zip(wanted.items, wanted.weights, strict=True)):
        for way in item.ways:
            for first in at.get(way[0], ()):
                some = row[first : first + len(way)]
                if [one.term for one in some] == list(way):
                    held.add(number)
                    marks.append(Mark(number, some[0].start, some[-1].end, weight))
            if len(way) == 1:
                for token in beside:
                    if token.term == way[0]:
                        grouped = token.term.isdigit()
                        if grouped:
                            held.add(number)
                        share = weight if grouped else _PART * weight
                        marks.append(Mark(number, token.start, token.end, share))
    defined: set[str] = set()
    if wanted.names:
        most = max(wanted.weights, default=1.0)
        for name, start, end, sure in definitions(text):
            if name in wanted.names and (sure or wanted.names[name]):
                defined.add(name)
                marks.append(Mark(-1 - len(defined), start, end, _DEFINED * most))
    folded = text.casefold()
    exact = sum(len(item.ways[0]) > 1 and item.text.casefold() in folded for item in wanted.items)
    whole = bool(wanted.rare) and wanted.rare <= held
    return Standing(tuple(marks), len(defined), whole, exact)


def tokens(text: str) -> tuple[list[Token], list[Token]]:
    """The terms of a text in a row, and those that stand beside the row: parts, whole numbers."""
    row: list[Token] = []
    beside = [Token(*found) for found in grouped_numbers(text)]
    for found in _WORD.finditer(text):
        start, end = found.span()
        terms, parts = _terms(found.group())
        if len(terms) > 1 and len(terms) == end - start:
            row += (Token(term, start + at, start + at + 1) for at, term in enumerate(terms))
        else:
            row += (Token(term, start, end) for term in terms)
        beside += (Token(part, start, end) for part in parts)
    return row, beside


@lru_cache(maxsize=1)
def _analyzer() -> tantivy.TextAnalyzer:
    return analyzer()


@lru_cache(maxsize=1 << 16)
def _terms(word: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    analyze = _analyzer().analyze
    return tuple(analyze(word)), tuple(analyze(parts_of(word)))


def _names(query: str) -> dict[str, bool]:
    """Names that a query may want defined; true for those that are names by their look."""
    names: dict[str, bool] = {}
    for found in _IDENTIFIER.finditer(query):
        names |= dict.fromkeys(_NAME.findall(found.group().rpartition(".")[2]), True)
        names |= {name: names.get(name, False) for name in _NAME.findall(found.group())}
    for quoted in re.findall(r"[`'\"]([A-Za-z_$][\w$]*)(?:\(\))?[`'\"]", query):
        names.setdefault(quoted, False)
    for called in re.findall(r"\b([A-Za-z_$][\w$]*)\(", query):
        names.setdefault(called, False)
    code = _OF_CODE.search(query) is not None
    for word in _NAME.findall(query):
        if (code and len(word) > 2) or (word[:1].isupper() and len(word) > 3):
            names.setdefault(word, False)
    return names


def order(scored: Sequence[tuple[float, Standing]]) -> list[int]:
    """Numbers of the passages, best first; equal ones stay in their order."""

    def key(at: int) -> tuple[float, ...]:
        score, how = scored[at]
        return -how.defined, not how.whole, -how.exact, -score

    return sorted(range(len(scored)), key=key)
