"""Answers what the code in a kernel asks for: the host's end of the bridge's operations.

Everything that arrives here comes from code that is not trusted. Each operation checks what
it is given, and no more than the run's budget can be had from it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outcore.errors import ConfigError, OutcoreError
from outcore.models.engine import Priority, Request
from outcore.models.typed import Shape

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outcore.engine.batcher import Batcher
    from outcore.engine.budget import Spending
    from outcore.engine.corpus import Corpus
    from outcore.engine.search import Passage, SearchIndex

_MOST_PASSAGES = 100


@dataclass(slots=True)
class Draft:
    """The answer as the root's code has set it so far."""

    content: str = ""
    ready: bool = False
    quotes: tuple[str, ...] = ()


@dataclass(slots=True)
class Desk:
    """One run's operations. `handle` is the handler that a kernel is given.

    Attributes:
        corpus: the context, for quotes.
        index: its search index, perhaps still being built.
        batcher: the way to the sub-LM.
        spending: the run's account.
        sub_tokens: longest answer of a sub-call that does not say.
        draft: the answer so far.
        shown: passages that searches have returned, in order.
        calls: what became of each sub-call since the log was last taken.
    """

    corpus: Corpus
    index: asyncio.Future[SearchIndex]
    batcher: Batcher
    spending: Spending
    sub_tokens: int
    draft: Draft = field(default_factory=Draft)
    shown: list[Passage] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)

    async def handle(self, op: str, params: dict[str, Any]) -> Any:
        """Answer one operation.

        Raises:
            OutcoreError: it can't be done; the message goes to the code that asked.
        """
        operations: dict[str, Callable[[dict[str, Any]], Awaitable[Any]]] = {
            "llm_query": self._llm_query,
            "search": self._search,
            "count_tokens": self._count_tokens,
            "answer": self._answer,
        }
        if op not in operations:
            raise ConfigError(f"there is no operation {op!r}")
        return await operations[op](params)

    def take_calls(self) -> list[dict[str, Any]]:
        """The log of sub-calls since it was last taken."""
        taken, self.calls = self.calls, []
        return taken

    async def _llm_query(self, params: dict[str, Any]) -> Any:
        question = _text(params, "prompt")
        text = _text(params, "text") if params.get("text") is not None else None
        shape = Shape.of(params.get("schema"), params.get("choices"))
        max_tokens = params.get("max_tokens") or self.sub_tokens
        if not isinstance(max_tokens, int) or max_tokens < 1:
            raise ConfigError(
                f"max_tokens is {max_tokens!r:.50}; it must be a whole number above 0"
            )
        engine = self.batcher.engine
        prompt = await asyncio.to_thread(engine.question, question, text)
        self.spending.charge_call()
        asked = time.monotonic()
        entry: dict[str, Any] = {
            "question": question[:200],
            "digest": _digest(question, text),
            "chars": len(question) + len(text or ""),
        }
        try:
            generation = await self.batcher.submit(
                Request(prompt, max_tokens, shape=shape, priority=Priority.SUB_CALL),
                admit=self.spending.check_call,
            )
        except OutcoreError as error:
            self.calls.append(entry | {"error": f"{type(error).__name__}: {error}"})
            raise
        self.spending.sub.add(generation)
        self.calls.append(
            entry
            | {
                "tokens_in": generation.tokens_in,
                "tokens_cached": generation.tokens_cached,
                "tokens_out": generation.tokens_out,
                "seconds": round(time.monotonic() - asked, 3),
                "reply": generation.text[:500],
            }
        )
        if shape is not None:
            return shape.read(generation.text, cut=generation.finish == "length")
        return generation.text

    async def _search(self, params: dict[str, Any]) -> list[dict[str, Any]]:
        query = _text(params, "query")
        k = params.get("k", 5)
        if not isinstance(k, int) or k < 1:
            raise ConfigError(f"k is {k!r:.50}; it must be a whole number above 0")
        index = await asyncio.shield(self.index)
        found = await asyncio.to_thread(index.query, query, min(k, _MOST_PASSAGES))
        self.shown += found
        return [
            {"document": p.document, "offset": p.offset, "score": p.score, "text": p.text}
            for p in found
        ]

    async def _count_tokens(self, params: dict[str, Any]) -> int:
        return await self.batcher.engine.count_tokens(_text(params, "text"))

    async def _answer(self, params: dict[str, Any]) -> dict[str, Any]:
        content = _text(params, "content")
        quotes = params.get("quotes") or []
        if not isinstance(quotes, list) or not all(isinstance(quote, str) for quote in quotes):
            raise ConfigError("quotes must be a list of texts")
        missing = [
            quote
            for quote in quotes
            if not quote.strip() or await asyncio.to_thread(self.corpus.find, quote) is None
        ]
        self.draft = Draft(content, params.get("ready") is True, tuple(quotes))
        return {"missing": missing}


def _text(params: dict[str, Any], name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text, not {type(value).__name__}")
    # Python strings, and so a kernel's, may hold halves of characters that no file can.
    return value.encode("utf-8", "replace").decode()


def _digest(question: str, text: str | None) -> str:
    data = f"{text or ''}\0{question}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:16]
