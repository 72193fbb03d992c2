"""Single flight: equal requests under way at once are answered by one generation.

Each request keeps its own fate: it can be cancelled or run out of budget while the others
wait on, and the generation ends early only when nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outcore.engine.budget import Usage
    from outcore.models.engine import Generation, Priority

Admit = Callable[[], None]


@dataclass(slots=True, eq=False)
class Waiter:
    """One request that waits for a flight.

    Attributes:
        usage: its run's counters.
        admit: raises what keeps it from being made, when its turn has come.
        guess: whether nobody has asked for it yet.
        future: its answer.
    """

    usage: Usage
    admit: Admit
    guess: bool
    future: asyncio.Future[Generation]


@dataclass(slots=True, eq=False)
class Flight:
    """One generation under way, and who waits for it.

    Attributes:
        priority: that of the most urgent request.
        waiters: in the order they came.
        urged: called when a more urgent request has joined.
        task: makes the generation.
        ended: whether it has been given up: whoever comes now needs another.
    """

    priority: Priority
    waiters: list[Waiter] = field(default_factory=list)
    urged: Callable[[Priority], None] | None = None
    task: asyncio.Task[None] | None = None
    ended: bool = False

    async def join(
        self, usage: Usage, admit: Admit, priority: Priority, *, guess: bool
    ) -> Generation:
        """Wait for the generation. Cancelling it leaves the others alone."""
        waiter = Waiter(usage, admit, guess, asyncio.get_running_loop().create_future())
        self.waiters.append(waiter)
        self.urge(priority)
        try:
            return await waiter.future
        finally:
            if waiter in self.waiters:
                self.waiters.remove(waiter)
                if not self.waiters and self.task is not None:
                    self.ended = True
                    self.task.cancel()

    def urge(self, priority: Priority) -> None:
        """Make it at least this urgent."""
        if priority < self.priority:
            self.priority = priority
            if self.urged is not None:
                self.urged(priority)

    def admit(self) -> bool:
        """Turn away those who may not be served any more; whether anyone is left."""
        for waiter in tuple(self.waiters):
            try:
                waiter.admit()
            except Exception as error:
                self._settle(waiter, error)
        return bool(self.waiters)

    def land(self, result: Generation | BaseException) -> None:
        """Give everyone who waits the answer; the first is the one it was made for."""
        if isinstance(result, BaseException):
            for waiter in tuple(self.waiters):
                self._settle(waiter, result)
            return
        guessed = bool(self.waiters) and self.waiters[0].guess
        for number, waiter in enumerate(tuple(self.waiters)):
            if result.origin == "memo":
                waiter.usage.remembered += not waiter.guess
                self._settle(waiter, result)
            elif number == 0:
                self._settle(waiter, result)
            else:
                waiter.usage.merged += not guessed
                self._settle(waiter, replace(result, origin="guess" if guessed else "merged"))

    def _settle(self, waiter: Waiter, result: Generation | BaseException) -> None:
        self.waiters.remove(waiter)
        if waiter.future.done():
            return
        if isinstance(result, asyncio.CancelledError):
            waiter.future.cancel()
        elif isinstance(result, BaseException):
            waiter.future.set_exception(result)
        else:
            waiter.future.set_result(result)
