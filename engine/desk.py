"""Answers what the code in a kernel asks for: the host's end of the bridge's operations.

Everything that arrives here comes from code that is not trusted. Each operation checks what
it is given, and no more than the run's budget can be had from it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outcore.engine.children import Task
from outcore.engine.quotes import alike
from outcore.engine.subcalls import SubCalls, text_of
from outcore.errors import ConfigError, OutcoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outcore.engine.children import Children
    from outcore.engine.context.corpus import Corpus
    from outcore.engine.context.search import Passage, SearchIndex
    from outcore.models.engine import Engine

_MOST_PASSAGES = 100
_MOST_QUERIES = 20
# Of the passages that were shown, what is kept to find answers in.
_MOST_SHOWN = 5_000


@dataclass(slots=True)
class Draft:
    """The answer as the root's code has set it so far.

    Attributes:
        content: the answer.
        ready: whether the run may end with it.
        quotes: passages given with it, as they stand in the context.
        missing: passages given with it that stand nowhere.
    """

    content: str = ""
    ready: bool = False
    quotes: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(slots=True)
class Desk:
    """One run's operations. `handle` is the handler that a kernel is given.

    Attributes:
        corpus: the context, for quotes.
        index: its search index, perhaps still being built.
        sub: the sub-LM, for counting tokens.
        sub_calls: the way to it.
        children: child runs; None at the last level, where the sub-LM answers in their place.
        draft: the answer so far.
        shown: passages that searches have returned, in order; the last ones of very many.
    """

    corpus: Corpus
    index: asyncio.Future[SearchIndex]
    sub: Engine
    sub_calls: SubCalls
    children: Children | None = None
    draft: Draft = field(default_factory=Draft)
    shown: list[Passage] = field(default_factory=list)

    async def handle(self, op: str, params: dict[str, Any]) -> Any:
        """Answer one operation.

        Raises:
            OutcoreError: it can't be done; the message goes to the code that asked.
        """
        operations: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "llm_query": self._llm_query,
            "speculate": self._speculate,
            "rlm_query": self._rlm_query,
            "search": self._search,
            "count_tokens": self._count_tokens,
            "answer": self._answer,
        }
        if op not in operations:
            raise ConfigError(f"there is no operation {op!r}")
        return await operations[op](params)

    def end_cell(self) -> list[dict[str, Any]]:
        """The log of the cell's sub-calls; those that were only guessed are dropped."""
        return self.sub_calls.end_cell()

    async def _llm_query(self, params: dict[str, Any]) -> Any:
        return await self.sub_calls.ask(params)

    async def _speculate(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"started": await self.sub_calls.foresee(params.get("calls"))}

    async def _rlm_query(self, params: dict[str, Any]) -> Any:
        task = Task.read(params)
        if self.children is None:
            return await self.sub_calls.ask({"prompt": task.prompt, "text": task.flat()})
        return await self.children.answer(task)

    async def _search(self, params: dict[str, Any]) -> dict[str, Any]:
        queries = params.get("query")
        if isinstance(queries, list):
            queries = [text_of({"query": one}, "query") for one in queries[:_MOST_QUERIES]]
        else:
            queries = [text_of(params, "query")]
        k = params.get("k", 5)
        if not isinstance(k, int) or k < 1:
            raise ConfigError(f"k is {k!r:.50}; it must be a whole number above 0")
        index = await asyncio.shield(self.index)
        found = await asyncio.to_thread(index.find, queries, min(k, _MOST_PASSAGES))
        passages = found.passages[:_MOST_PASSAGES]
        self.shown += passages
        del self.shown[:-_MOST_SHOWN]
        return {"passages": [p._asdict() for p in passages], "note": found.note}

    async def _count_tokens(self, params: dict[str, Any]) -> int:
        return await self.sub.count_tokens(text_of(params, "text"))

    async def _answer(self, params: dict[str, Any]) -> dict[str, Any]:
        content = text_of(params, "content")
        quotes = params.get("quotes") or []
        if not isinstance(quotes, list) or not all(isinstance(quote, str) for quote in quotes):
            raise ConfigError("quotes must be a list of texts")
        stand, instead, missing = [], {}, []
        for quote in quotes:
            if quote.strip() and await asyncio.to_thread(self.corpus.find, quote) is not None:
                stand.append(quote)
            elif (found := await self._alike(quote)) is not None:
                instead[quote] = found
                stand.append(found)
            else:
                missing.append(quote)
        ready = params.get("ready") is True
        self.draft = Draft(content, ready, tuple(stand), tuple(missing))
        return {"missing": missing, "instead": instead}

    async def _alike(self, quote: str) -> str | None:
        """What stands in the context with the same words as a quote, where an index finds it."""
        try:
            index = await asyncio.shield(self.index)
            return await asyncio.to_thread(alike, self.corpus, index, quote)
        except OutcoreError:  # no index, or no word in the quote
            return None
