"""`search`: the passages that fit some words best, found by the host's index."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

from collections.abc import Mapping
from typing import Any

from .bridge import Bridge
from .excerpts import Mark, excerpt, numbered
from .forgiving import COUNTS, QUERIES, Given, is_count
from .hits import Hits, Part
from .queries import as_text

_USAGE = 'it is search("words", k=5)'
_LONGEST_QUERY = 2_000
_SHOWN = 80


class Search:
    """The search, bound to one bridge."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def search(self, query: Any = None, k: Any = 5, **more: Any) -> Hits:
        """Find the k passages of the context that fit the words best.

        print(search("rare words of the question"))
        print(search("class TokenCache"))                 # where a name is defined
        print(search('"an exact phrase" 3141', k=10))      # phrases, numbers, keys
        print(search(["first words", "other words"]))     # the best of each

        Each hit is a string, its passage, with .document, .offset (in characters) and .score.
        Printing the hits shows the sentences with the words; print(hits[0]) the whole passage.
        """
        given = Given(_USAGE, more)
        query = given.take(QUERIES, query)
        count = given.take(COUNTS, None)
        given.end()
        queries, k = _sorted_out(query, k)
        k = k if count is None else count
        if not queries:
            raise TypeError(f"search() was given nothing to look for: {_USAGE}")
        asked: Any = queries if len(queries) > 1 else queries[0]
        reply = self._bridge.call("search", {"query": asked, "k": given.whole(k, "k", 5)})
        hits = [_part(one) for one in reply["passages"]]
        return Hits(hits, _note(queries, hits, reply["note"]))


def _sorted_out(query: Any, k: Any) -> tuple[list[str], Any]:
    """The queries and the count, from arguments that may be in each other's place."""
    if is_count(query) and k is not None and not is_count(k):
        query, k = k, query
    many = query if isinstance(query, (list, tuple, set)) else [query]
    if not is_count(k):
        if isinstance(k, str) and (len(k) <= _LONGEST_QUERY or _is_long(query)):
            # Either one query more, or the context came first.
            many = [k] if _is_long(query) else [*many, k]
        k = None
    texts = [as_text(one) for one in many if one is not None and not _is_long(one)]
    if not texts and isinstance(query, str):
        texts = [query]
    return list(dict.fromkeys(one for one in texts if one.strip())), k


def _is_long(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        not isinstance(value, (int, float))
        and hasattr(value, "__len__")
        and not isinstance(value, (list, tuple, set))
        and len(value) > _LONGEST_QUERY
    )


def _part(passage: Mapping[str, Any]) -> Part:
    text, line = passage["text"], passage["line"]
    marks = [Mark(*one) for one in passage["marks"]]
    best = max(marks, key=lambda one: one.weight, default=None)
    return Part(
        text,
        passage["document"],
        passage["offset"],
        match="" if best is None else text[best.start : best.end],
        score=passage["score"],
        shown=numbered(text, marks, line) if line else excerpt(text, marks),
        line=line,
        scope=passage["scope"],
    )


def _note(queries: list[str], hits: list[Part], told: str) -> str:
    asked = ", ".join(repr(one[:_SHOWN]) for one in queries)
    if hits:
        # How many there are is no answer to any question, and weak roots take it for one.
        what = "the passage" if len(hits) == 1 else "the best passages, in their order,"
        return f"{what} for {asked}" + (f" ({told})" if told else "")
    return f"no passage for {asked}: {told} Search other words, or grep a part of a word."
