"""Where an answer stands in the context.

Quotes that the root gave are looked up word for word. Where it gave none that stands there,
the answer itself is looked for, first in the passages the root was shown.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from outcore.engine.result import Citation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.engine.context.corpus import Corpus
    from outcore.engine.context.search import Passage

_MOST = 5
_LONGEST_LINE = 400
# An answer this short stands everywhere by chance.
_LEAST_ANSWER = 4
# A telling part of an answer: a number, an identifier, a capitalised name, something quoted.
_TELLING = re.compile(
    r"[\"'`]([^\"'`\n]{4,200})[\"'`]"
    r"|\b(\d[\w.,:-]{3,}|\w*_\w+|[A-Z]\w+(?: [A-Z]\w+)*)"
)


def cite(
    corpus: Corpus, question: str, answer: str, quotes: Sequence[str], shown: Sequence[Passage]
) -> tuple[Citation, ...]:
    """The passages that bear an answer out, at most five; none where none is found."""
    found = [
        citation
        for quote in quotes[:_MOST]
        if quote.strip() and (citation := _shown(corpus, quote, shown) or _anywhere(corpus, quote))
    ]
    if found:
        return tuple(found)
    stripped = answer.strip().strip(".\"'`")
    whole = stripped if len(stripped) >= _LEAST_ANSWER else ""
    # A capital at the start of a sentence makes no name.
    names = re.sub(r"(?:^|[.!?]\s+)[A-Z][a-z]+\b(?! [A-Z])", " ", answer)
    parts = sorted({a or b for a, b in _TELLING.findall(names)}, key=len, reverse=True)
    # What the question named already tells where the answer stands only if nothing else does.
    parts.sort(key=lambda part: part in question)
    for wanted in (whole, *parts):
        if not wanted or len(wanted) < _LEAST_ANSWER:
            continue
        if citation := _shown(corpus, wanted, shown):
            return (citation,)
    places = corpus.find_all(whole, 2) if whole else []
    # Found twice, nothing tells which of the places was meant.
    if len(places) == 1:
        return (_line_around(corpus, places[0].document, places[0].offset, len(whole)),)
    return ()


def _shown(corpus: Corpus, wanted: str, shown: Sequence[Passage]) -> Citation | None:
    """The line of the first passage shown that holds `wanted`."""
    for passage in shown:
        at = passage.text.find(wanted)
        if at >= 0:
            return _line_around(corpus, passage.document, passage.offset + at, len(wanted))
    return None


def _anywhere(corpus: Corpus, quote: str) -> Citation | None:
    place = corpus.find(quote)
    return Citation(str(place.document), place.offset, place.text) if place else None


def _line_around(corpus: Corpus, document: str | int, offset: int, length: int) -> Citation:
    """The line that holds a place, cut to a readable length around it."""
    first = max(0, offset - _LONGEST_LINE)
    text = corpus.read(document, first, offset + length + _LONGEST_LINE)
    at = offset - first
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at + length)
    end = len(text) if end < 0 else end
    line = text[start:end]
    lead = len(line) - len(line.lstrip())
    return Citation(str(document), first + start + lead, line.strip())
