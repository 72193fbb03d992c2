"""Where all sub-calls of a process meet before they reach an engine.

vLLM batches whatever is in its queue at each step, so full batches need only two things:
that calls arrive together, from every cell and run at once, and that no more are under way
than the engine can order well.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcore.models.engine import Engine, Generation, Request


@dataclass(slots=True)
class Traffic:
    """What a batcher has let through.

    Attributes:
        waiting: calls that wait for their turn.
        running: calls in the engine.
        peak: most calls that were in the engine at once.
        finished: calls answered.
        failed: calls that raised or were cancelled.
    """

    waiting: int = 0
    running: int = 0
    peak: int = 0
    finished: int = 0
    failed: int = 0


class Batcher:
    """Admits calls to one engine, in the order they come, `engine.in_flight` at once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.traffic = Traffic()
        self._places = asyncio.Semaphore(engine.in_flight)

    async def submit(
        self, request: Request, admit: Callable[[], None] = lambda: None
    ) -> Generation:
        """Answer one call. Cancelling it frees its place and takes it out of the engine.

        Args:
            request: what to answer.
            admit: is called when the call's turn has come; what it raises ends the call. Much
                may have been spent since the call was made.

        Raises:
            ModelError: as `Engine.generate`; the other calls are not touched.
        """
        traffic = self.traffic
        traffic.waiting += 1
        try:
            await self._places.acquire()
        finally:
            traffic.waiting -= 1
        traffic.running += 1
        traffic.peak = max(traffic.peak, traffic.running)
        try:
            admit()
            generation = await self.engine.generate(request)
        except BaseException:
            traffic.failed += 1
            raise
        else:
            traffic.finished += 1
            return generation
        finally:
            traffic.running -= 1
            self._places.release()
