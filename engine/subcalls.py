"""Sub-calls: from what a kernel asks for to what a model answers.

Choices among labels go to the judge, which may be the root; all others go to the sub-LM.

Everything that arrives here comes from code that is not trusted. Each parameter is checked,
and no more than the run's budget can be had.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from outcore.engine.guide import Guide
from outcore.engine.labels import Ballot, ballot
from outcore.engine.speculation import Speculation
from outcore.engine.way import Way
from outcore.errors import ConfigError, OutcoreError
from outcore.models.engine import Asked, Priority, Request
from outcore.models.typed import Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from outcore.engine.batching.batcher import Batchers
    from outcore.engine.budget import Spending
    from outcore.models.engine import Generation

_SHOWN_QUESTION = 200
_SHOWN_REPLY = 500
# What stands around a value that is no object: {"value": ...}.
_WRAPPING_TOKENS = 8


@dataclass(frozen=True, slots=True)
class _SubCall:
    """A call as it was asked for, and what answers it.

    Attributes:
        question: as the code put it; of many items, what is asked of all.
        text: what it is about, if that came apart.
        way: to the model that answers it.
        requests: what the batcher gets, all at once: one, or several that score labels.
        read: makes the call's answer of what they came to.
    """

    question: str
    text: str | None
    way: Way
    requests: tuple[Request, ...]
    read: Callable[[Sequence[Generation]], Any]


class SubCalls:
    """What one run's code asks of models.

    Args:
        batchers: the ways to the models.
        spending: the run's account.
        max_tokens: longest answer of a call that does not say.

    Attributes:
        log: what became of each call since it was last taken.
    """

    def __init__(self, batchers: Batchers, spending: Spending, max_tokens: int) -> None:
        self.log: list[dict[str, Any]] = []
        self._sub = self._judge = Way(batchers.sub, spending.sub)
        if batchers.judge is not batchers.sub:
            self._judge = Way(batchers.judge, spending.root)
        self._spending = spending
        self._max_tokens = max_tokens
        self._speculation = Speculation(spending)
        self._cell = 0
        self._closed = False

    async def ask(self, params: dict[str, Any]) -> Any:
        """Answer one call.

        Raises:
            OutcoreError: it can't be made, or failed; the message goes to the code that asked.
        """
        self._spending.charge_call()
        call = await self._read_apart(params) if _typed(params) else self._read(params)
        entry = _entry(call)
        self.log.append(entry)
        began = time.monotonic()
        try:
            if len(call.requests) == 1:
                generations = [await self._generate(call.way, call.requests[0])]
            else:
                generations = await self._together(call)
            answer = call.read(generations)
        except OutcoreError as error:
            entry["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            entry["seconds"] = round(time.monotonic() - began, 3)
        self._spending.sub.calls += 1
        for name in ("tokens_in", "tokens_cached", "tokens_out"):
            entry[name] = sum(getattr(one, name) for one in generations)
        # A single label needs nobody to choose it.
        for first in generations[:1]:
            entry |= {"origin": first.origin, "reply": first.text[:_SHOWN_REPLY]}
        return answer

    async def foresee(self, calls: Any) -> int:
        """Start calls that a dry run foresaw; returns how many.

        Args:
            calls: parameters of each, or None where they could not be known.

        Raises:
            ConfigError: it is no such list.
        """
        if not isinstance(calls, list):
            raise ConfigError("calls must be a list")
        cell, left = self._cell, self._spending.guesses_left
        foreseen: list[tuple[Way, Request] | None] = []
        for params in calls:
            # Making grammars takes time, and the cell may have ended in it.
            if self._closed or cell != self._cell:
                return 0
            if len(foreseen) > 2 * left:
                break
            try:
                if not isinstance(params, dict):
                    foreseen.append(None)
                    continue
                call = await self._read_apart(params) if _typed(params) else self._read(params)
                foreseen += [(call.way, one) for one in call.requests]
            except ConfigError:
                # The code hears of it when it makes the call.
                foreseen.append(None)
        if self._closed or cell != self._cell:
            return 0
        return self._speculation.foresee(foreseen)

    def end_cell(self) -> list[dict[str, Any]]:
        """Drop the guesses that the cell has not used; returns the log since the last cell."""
        self._cell += 1
        self._speculation.end()
        taken, self.log = self.log, []
        return taken

    def close(self) -> None:
        """The run has ended, in whatever way: drop all guesses, and take no more."""
        self._closed = True
        self._speculation.end()

    async def _together(self, call: _SubCall) -> list[Generation]:
        tasks = [asyncio.create_task(self._generate(call.way, one)) for one in call.requests]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise

    async def _generate(self, way: Way, request: Request) -> Generation:
        key = way.batcher.identity(request)
        assert key is not None  # sub-calls are greedy
        generation = await self._speculation.claim(key)
        if generation is None:
            generation = await way.batcher.submit(
                request, way.usage, self._spending.check_call, key=key
            )
        way.usage.spend(generation)
        return generation

    async def _read_apart(self, params: dict[str, Any]) -> _SubCall:
        # A grammar can take seconds to make.
        return await asyncio.to_thread(self._read, params)

    def _read(self, params: dict[str, Any]) -> _SubCall:
        question = text_of(params, "prompt")
        text = text_of(params, "text") if params.get("text") is not None else None
        max_tokens = params.get("max_tokens")
        max_tokens = self._max_tokens if max_tokens is None else max_tokens
        if type(max_tokens) is not int or max_tokens < 1:
            raise ConfigError(
                f"max_tokens is {max_tokens!r:.50}; it must be a whole number above 0"
            )
        shape = Shape.of(params.get("schema"), params.get("choices"))
        asked = Asked(question if shape is None else shape.told(question), text)
        if params.get("guide") is not None:
            asked = _guided(params, question, text, shape)
            question = params["guide"]
        if shape is not None and shape.wrapped:
            max_tokens += _WRAPPING_TOKENS
        request = Request(asked, max_tokens, shape=shape, priority=Priority.SUB_CALL)
        if shape is None:
            return _SubCall(question, text, self._sub, (request,), _text_of_reply)
        if not shape.choices:
            return _SubCall(question, text, self._sub, (request,), partial(_value, shape))
        scores = params.get("scores") is True
        judge = self._judge
        cast = ballot(judge.batcher.engine, request, shape.choices, scores=scores)
        return _SubCall(question, text, judge, cast.requests, partial(_choice, cast))


def _typed(params: dict[str, Any]) -> bool:
    return params.get("schema") is not None or params.get("choices") is not None


def _guided(params: dict[str, Any], question: str, text: str | None, shape: Shape | None) -> Asked:
    if shape is None or not shape.choices or text is None:
        raise ConfigError("guide goes with choices and a text")
    guide = Guide.of(text_of(params, "guide"), shape.choices, params.get("meanings"))
    return guide.asked(text, question)


def _text_of_reply(generations: Sequence[Generation]) -> str:
    return generations[0].text


def _value(shape: Shape, generations: Sequence[Generation]) -> Any:
    [reply] = generations
    return shape.read(reply.text, cut=reply.finish == "length", tokens=reply.tokens_out)


def _choice(cast: Ballot, generations: Sequence[Generation]) -> Any:
    label, scores = cast.decide(generations)
    return label if scores is None else {"value": label, "scores": scores}


def text_of(params: dict[str, Any], name: str) -> str:
    """A parameter that must be text.

    Raises:
        ConfigError: it is missing or something else.
    """
    value = params.get(name)
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text, not {type(value).__name__}")
    # Python strings, and so a kernel's, may hold halves of characters that no file can.
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _entry(call: _SubCall) -> dict[str, Any]:
    return {
        "question": call.question[:_SHOWN_QUESTION],
        "chars": len(call.question) + len(call.text or ""),
    }
