"""Guesses: calls that a dry run of the cell foresaw, started before the code makes them.

What a guess costs is compute that the run pays for; what it gains is that a loop of calls
takes as long as a batch. The kernel's side is `inside/dry_run/rehearsal.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from outcore.models.engine import Asked, Priority

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.engine.budget import Spending
    from outcore.engine.way import Way
    from outcore.models.engine import Generation, Request

# Characters of guesses that are not answered yet. Calls wait in the kernel until there is room
# for them; guesses would all wait here.
_MOST_CHARS = 64 << 20


@dataclass(slots=True, eq=False)
class _Guess:
    """One call that may be made.

    Attributes:
        way: to the model that answers it.
        task: answers it.
        started: whether it is out of the queue.
        used: whether the code has made it.
        waiting: how many calls wait for it.
    """

    way: Way
    task: asyncio.Task[Generation] = field(init=False)
    started: bool = False
    used: bool = False
    waiting: int = 0


class Speculation:
    """The guesses of one cell, to whichever model they go.

    Args:
        spending: the run's account; guesses are charged for the tokens they cost.
    """

    def __init__(self, spending: Spending) -> None:
        self._spending = spending
        self._guesses: dict[bytes, _Guess] = {}
        self._chars = 0
        self._made: set[bytes] = set()
        self._unknown = 0

    def foresee(self, foreseen: Sequence[tuple[Way, Request] | None]) -> int:
        """Start what a dry run foresaw; returns how many calls that is.

        Args:
            foreseen: requests with their ways, in program order; None for a call whose prompt
                hangs on an answer.
        """
        left = self._spending.guesses_left
        started = 0
        for one in foreseen:
            if one is None:
                self._unknown += 1
                continue
            way, request = one
            key = way.batcher.identity(request)
            if key is None or key in self._guesses or key in self._made:
                continue  # a fast engine has answered the first calls before the dry run is over
            if started >= left or self._chars >= _MOST_CHARS:
                break
            guess = self._guesses[key] = _Guess(way)
            guess.task = asyncio.create_task(self._answer(guess, key, request))
            self._spending.guessed += 1
            self._hold(guess.task, request)
            started += 1
            way.usage.speculated += 1
        return started

    async def claim(self, key: bytes) -> Generation | None:
        """The answer to a call that was foreseen; None for any other, and for one that failed.

        A call that nothing foresaw means that the program took another way than the dry run:
        what has not been started by then is dropped.

        Args:
            key: the call's identity.
        """
        guess = self._guesses.get(key)
        self._made.add(key)
        if guess is None:
            if self._unknown:
                self._unknown -= 1
            else:
                self._drop_waiting()
            return None
        if not guess.used:
            guess.used = True
            self._spending.guessed -= 1
            guess.way.usage.used += 1
        if not guess.task.done():
            guess.way.batcher.urge(key, Priority.SUB_CALL)
            await self._wait(key, guess)
        if guess.task.cancelled() or guess.task.exception() is not None:
            return None
        generation = guess.task.result()
        guess.way.usage.remembered += generation.origin == "memo"
        return replace(generation, origin="memo" if generation.origin == "memo" else "guess")

    def end(self) -> None:
        """The cell has ended: stop what it has not waited for."""
        for guess in self._guesses.values():
            guess.way.usage.wasted += not guess.used
            guess.task.cancel()
        self._guesses.clear()
        self._spending.guessed = 0
        self._made.clear()
        self._unknown = 0

    async def _wait(self, key: bytes, guess: _Guess) -> None:
        guess.waiting += 1
        try:
            await asyncio.wait({guess.task})
        except asyncio.CancelledError:
            # As any call does that nobody waits for any more, it leaves the engine.
            if guess.waiting == 1 and self._guesses.get(key) is guess:
                del self._guesses[key]
                guess.task.cancel()
            raise
        finally:
            guess.waiting -= 1

    def _drop_waiting(self) -> None:
        for key, guess in tuple(self._guesses.items()):
            if not guess.started and not guess.used:
                # Another dry run may foresee it again.
                del self._guesses[key]
                self._spending.guessed -= 1
                guess.way.usage.wasted += 1
                guess.task.cancel()

    async def _answer(self, guess: _Guess, key: bytes, request: Request) -> Generation:
        def admit() -> None:
            guess.started = True
            self._spending.check_call()

        generation = await guess.way.batcher.submit(
            replace(request, priority=Priority.SPECULATION),
            guess.way.usage,
            admit,
            key=key,
            guess=True,
        )
        guess.way.usage.spend(generation)
        return generation

    def _hold(self, task: asyncio.Task[Generation], request: Request) -> None:
        """Count a guess's text as long as it is kept."""
        asked = request.prompt
        chars = len(asked.question) + len(asked.text or "") if isinstance(asked, Asked) else 0
        self._chars += chars

        def ended(task: asyncio.Task[Generation]) -> None:
            self._chars -= chars
            # A guess that fails is nobody's error until the code makes the call itself.
            if not task.cancelled():
                task.exception()

        task.add_done_callback(ended)
