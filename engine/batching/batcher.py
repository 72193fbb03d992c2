"""Where all generations of a process meet on their way to one engine.

    single flight -> memo -> tokenize -> group by prefix -> admit -> engine

Each stage is a module of its own: single_flight, memo, encoder, prefix_queue, admission; with
several replicas, affinity. vLLM batches whatever is in its queue at each step, so full batches
need calls that arrive together, from every cell, child and run at once, and in an order in which
they share what the prefix cache holds.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from outcore.engine.batching.admission import Admission
from outcore.engine.batching.affinity import Affinity
from outcore.engine.batching.encoder import Encoder
from outcore.engine.batching.identity import identity
from outcore.engine.batching.prefix_queue import Ticket
from outcore.engine.batching.retries import persistently
from outcore.engine.batching.single_flight import Admit, Flight
from outcore.engine.batching.traffic import Traffic
from outcore.engine.budget import Usage
from outcore.models.engine import Asked, TokenPrompt, check_chars, check_fits

if TYPE_CHECKING:
    from outcore.engine.batching.memo import Memo
    from outcore.models.engine import Engine, Generation, Priority, Request


@dataclass(frozen=True, slots=True)
class Batchers:
    """The ways to both models; one and the same where one engine has both roles.

    Attributes:
        root: answers the turns.
        sub: answers the sub-calls.
        judge: that of the two which chooses labels.
    """

    root: Batcher
    sub: Batcher
    judge: Batcher

    @classmethod
    def of(
        cls, root: Engine, sub: Engine, memo: Memo | None, *, judge: Engine | None = None
    ) -> Batchers:
        """Batchers for two engines.

        Args:
            root: answers the turns.
            sub: answers the sub-calls.
            memo: remembers replies of both.
            judge: that of the two which chooses labels; None for the sub-LM.
        """
        way = Batcher(root, memo)
        below = way if sub is root else Batcher(sub, memo)
        return cls(way, below, way if judge is root else below)

    def close(self) -> None:
        """End their threads."""
        self.root.close()
        self.sub.close()


def _free() -> None:
    """Nothing speaks against it."""


class Batcher:
    """Answers requests with one engine.

    Args:
        engine: what answers.
        memo: remembers replies; None asks the engine each time.
        ordered: whether calls are put in the order of their prefixes.

    Attributes:
        traffic: counters of everything it has let through.
    """

    def __init__(self, engine: Engine, memo: Memo | None = None, *, ordered: bool = True) -> None:
        self.engine = engine
        self.traffic = Traffic()
        self._memo = memo if engine.digest is not None else None
        self._encoder = Encoder(engine)
        self._flights: dict[bytes, Flight] = {}
        self._replicas = [
            Admission(engine.in_flight, engine.capacity, engine.block, ordered=ordered)
            for _ in range(engine.replicas)
        ]
        self._affinity = Affinity(self._replicas)

    async def submit(
        self,
        request: Request,
        usage: Usage | None = None,
        admit: Admit = _free,
        *,
        key: bytes | None = None,
        guess: bool = False,
    ) -> Generation:
        """Answer one request. Cancelling it takes it out of the engine if no one else waits.

        Args:
            request: what to answer; its prompt may be an `Asked`. Its replica is chosen here.
            usage: counters of the run that asks, which also stand for it where runs take turns.
            admit: is called when the request's turn has come; what it raises ends the request.
                Much may have been spent since the call was made.
            key: its `identity`, where the caller has it already.
            guess: whether nobody has asked for it yet; see `Speculation`.

        Raises:
            ModelError: as `Engine.generate`; the other requests are not touched.
        """
        usage = Usage() if usage is None else usage
        key = key or self.identity(request)
        flight = self._flights.get(key) if key is not None else None
        if flight is None or flight.ended:
            flight = Flight(request.priority)
            if key is not None:
                self._flights[key] = flight
            flight.task = asyncio.create_task(self._fly(flight, key, request, usage))
        return await flight.join(usage, admit, request.priority, guess=guess)

    def identity(self, request: Request) -> bytes | None:
        """What it has in common with equal requests; None for a reply left to chance."""
        return identity(self.engine.digest or "", request)

    def urge(self, key: bytes, priority: Priority) -> None:
        """Let a request that is under way go as early as a priority allows."""
        flight = self._flights.get(key)
        if flight is not None:
            flight.urge(priority)

    def close(self) -> None:
        """End the threads. The engine stays."""
        self._encoder.close()

    async def _fly(self, flight: Flight, key: bytes | None, request: Request, usage: Usage) -> None:
        result: Generation | BaseException = asyncio.CancelledError()
        try:
            result = await self._answer(flight, key, request, usage)
        except Exception as error:  # belongs to those who wait
            result = error
        finally:
            if key is not None and self._flights.get(key) is flight:
                del self._flights[key]
            flight.land(result)

    async def _answer(
        self, flight: Flight, key: bytes | None, request: Request, usage: Usage
    ) -> Generation:
        memo = self._memo
        if memo is not None and key is not None:
            remembered = await memo.get(key)
            if remembered is not None:
                return remembered
        engine = self.engine
        if isinstance(request.prompt, Asked):
            check_chars(engine, request.prompt, request.max_tokens)
            request = replace(request, prompt=await self._encoder.prompt(request.prompt))
        assert not isinstance(request.prompt, Asked)
        length = engine.length(request.prompt)
        if isinstance(request.prompt, TokenPrompt):
            # In the line it would hold up all others until the engine is empty.
            check_fits(engine, length, request.max_tokens)
        replica, cost = self._affinity.choose(request.prompt, length, request.max_tokens)
        admission = self._replicas[replica]
        ticket = Ticket(
            usage=usage,
            priority=flight.priority,
            prompt=request.prompt,
            length=length,
            max_tokens=request.max_tokens,
            cost=cost,
            entered=time.monotonic(),
            turn=asyncio.get_running_loop().create_future(),
        )
        flight.urged = lambda priority: admission.urge(ticket, priority)
        traffic = self.traffic
        traffic.waiting += 1
        try:
            await admission.enter(ticket)
        finally:
            traffic.waiting -= 1
        traffic.running += 1
        traffic.peak = max(traffic.peak, traffic.running)
        try:
            if not flight.admit():
                raise asyncio.CancelledError
            request = replace(request, priority=flight.priority, replica=replica)
            generation = await self._generate(request)
        except BaseException as error:
            traffic.failed += 1
            if isinstance(error, asyncio.CancelledError) and flight.ended:
                usage.abandon(length)
            raise
        finally:
            traffic.running -= 1
            admission.leave(ticket)
        traffic.finished += 1
        if memo is not None and key is not None:
            memo.put(key, generation)
        return generation

    async def _generate(self, request: Request) -> Generation:
        return await persistently(partial(self.engine.generate, request), self._asked_again)

    def _asked_again(self) -> None:
        self.traffic.retried += 1
