"""An engine that is started again when it has died, but not for ever."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol

from outcore.errors import EngineDied, ModelError, WeightsError
from outcore.models.engine import CacheStats, Engine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from outcore.models.engine import Asked, Dialogue, Generation, Prompt, Request

_LOG = logging.getLogger(__name__)

# An engine that dies more often than this needs a person, not another start.
_MOST_STARTS = 2
_WITHIN_SECONDS = 600.0


class Mortal(Engine, Protocol):
    """An engine whose processes are this machine's, and may die."""

    @property
    def dead(self) -> bool:
        """Whether they have died, or were ended."""
        ...

    def death(self) -> EngineDied:
        """What is known of it: what happened, the log, and what to do."""
        ...


class Supervised:
    """An engine that outlives its processes.

    The first call that meets a dead engine starts it again, and all calls wait for that. Calls
    that were under way when it died are made once more, so that a call which kills engines fails
    at its second. After two starts within ten minutes it stays down until these have passed, and
    calls fail at once.

    Args:
        engine: what runs now.
        start: starts another one like it; is told which one this is, from 2 on.

    Attributes:
        starts: how often it was started again.
    """

    def __init__(self, engine: Mortal, start: Callable[[int], Awaitable[Mortal]]) -> None:
        self.name = engine.name
        self.digest = engine.digest
        self.window = engine.window
        self.in_flight = engine.in_flight
        self.capacity = engine.capacity
        self.block = engine.block
        self.replicas = engine.replicas
        self.starts = 0
        self._engine = engine
        self._start = start
        self._lately: list[float] = []
        self._starting: asyncio.Task[None] | None = None
        self._counted = CacheStats(0, 0, 0)
        self._closed = False

    def dialogue(self, system: str) -> Dialogue:
        """A new chat that begins with a system message."""
        return self._engine.dialogue(system)

    def prompts(self, asked: Sequence[Asked]) -> list[Prompt]:
        """Make prompts of questions."""
        return self._engine.prompts(asked)

    def label_tokens(self, labels: Sequence[str]) -> tuple[tuple[int, ...], ...] | None:
        """Each label's ids as the start of a reply."""
        return self._engine.label_tokens(labels)

    def length(self, prompt: Prompt) -> int:
        """Length of a prompt in tokens."""
        return self._engine.length(prompt)

    async def count_tokens(self, text: str) -> int:
        """Length of a text in tokens."""
        return await self._engine.count_tokens(text)

    async def generate(self, request: Request) -> Generation:
        """Answer one request; once more where the engine dies of it, or beside it.

        Raises:
            PromptTooLong: prompt and reply don't fit the window.
            EngineDied: it died at the second try too, or is not started again for now.
            WeightsError: its weights are not there any more, or not the same.
            ModelError: the engine refused, or could not be started again.
        """
        engine = await self._living()
        try:
            return await engine.generate(request)
        except EngineDied:
            engine = await self._living()
        return await engine.generate(request)

    def cache_stats(self) -> CacheStats | None:
        """Counters of the prefix cache, over all that have run."""
        now, before = self._engine.cache_stats(), self._counted
        if now is None:
            return None
        return CacheStats(before.queried + now.queried, before.hit + now.hit, now.capacity)

    async def close(self) -> None:
        """End the engine, and a start that is under way. Closing twice is fine."""
        self._closed = True
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait((self._starting,))
        await self._engine.close()

    async def _living(self) -> Mortal:
        while self._engine.dead:
            if self._closed:
                raise ModelError(f"{self.name}: the engine has been closed")
            if self._starting is None:
                self._starting = asyncio.create_task(self._start_again())
                self._starting.add_done_callback(self._started)
            # One for all who wait: that one of them goes must not end it.
            await asyncio.shield(self._starting)
        return self._engine

    def _started(self, task: asyncio.Task[None]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # told to those who wait, of whom there may be none

    async def _start_again(self) -> None:
        dead, now = self._engine, time.monotonic()
        self._lately = [one for one in self._lately if now - one < _WITHIN_SECONDS]
        if len(self._lately) >= _MOST_STARTS:
            wait = _WITHIN_SECONDS - (now - self._lately[0])
            raise EngineDied(
                f"{dead.death()}. It was started again {_MOST_STARTS} times within "
                f"{_WITHIN_SECONDS / 60:.0f} minutes, and is not for another {wait:.0f} s"
            )
        self._lately.append(now)
        self.starts += 1
        _LOG.warning(
            "%s. It is started again, and asked again what it had not answered.", dead.death()
        )
        await dead.close()
        engine = await self._start(self.starts + 1)
        if engine.digest != self.digest:
            await engine.close()
            raise WeightsError(
                f"the weights of {self.name} have changed since it was first started, and answers "
                "of two models must not be mixed: end this run and start anew"
            )
        if (counted := self.cache_stats()) is not None:
            self._counted = counted
        self._engine = engine
