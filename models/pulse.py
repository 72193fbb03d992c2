"""What tells an engine that hangs from one that is slow: signs of life, while calls wait for it.

A hung engine is alive to the operating system: deadlocked, stopped, or waiting for a device that
never returns. What it has in common with no slow one is that nothing comes of it at all. So
whatever only a working engine gives is a sign of life: a step done, an output, processor time
used, an answer to a question. It is looked for a few times over the whole silence, and only a
row of looks that all found nothing means a hang: when it is this process that was stopped, or
kept from running, that is one look that came late.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

# A step of an engine that works takes seconds, or minutes of a processor that can be seen at
# work. It is also what vLLM allows the workers of a split model for one step, by default.
SILENT_SECONDS = 300.0
_LOOKS = 10
# Share of one core. An idle engine was seen to use 0.014 of one, and one that computes gets more
# than this even where it has to leave the machine to others.
_AT_WORK = 0.05


@dataclass(slots=True)
class _Replica:
    waiting: int = 0
    beaten: bool = False
    silent: int = 0


class Pulse:
    """Watches one engine while calls wait for it; of no cost but a timer as long as it beats.

    A replica that is silent while calls wait for it is enough: that others work doesn't help
    its calls. Not told from work are a loop without end on a processor, and a request that the
    engine has lost while it still answers.

    Args:
        hung: is told, once, what was waited for in vain.
        silent: seconds without a sign of life that mean a hang; it is noticed within another
            tenth of them.
        replicas: copies of the model that work side by side.
        spent: processor seconds that the engine has used so far, where they tell of work.
        ask: asks the engine, all replicas of it, what it answers between two steps.
    """

    def __init__(
        self,
        hung: Callable[[str], None],
        *,
        silent: float,
        replicas: int = 1,
        spent: Callable[[], float] | None = None,
        ask: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._hung = hung
        self._silent = silent
        self._replicas = [_Replica() for _ in range(replicas)]
        self._spent = spent
        self._ask = ask
        self._timer: asyncio.TimerHandle | None = None
        self._asked: asyncio.Task[object] | None = None
        # When processor time was last looked at, and what it was.
        self._measured: tuple[float, float] | None = None
        self._closed = False

    def beat(self, replica: int = 0) -> None:
        """Take note of a sign of life of one replica."""
        if replica < len(self._replicas):
            self._replicas[replica].beaten = True

    @contextlib.contextmanager
    def waiting(self, replica: int = 0) -> Iterator[None]:
        """While this lasts, a call waits for a replica."""
        watched = self._replicas[replica]
        watched.waiting += 1
        if self._timer is None and not self._closed:
            self._arm()
        try:
            yield
        finally:
            watched.waiting -= 1

    def close(self) -> None:
        """Look no more. Closing twice is fine."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asked is not None:
            self._asked.cancel()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._silent / _LOOKS, self._look)

    def _look(self) -> None:
        self._timer = None
        quiet = [one for one in self._replicas if one.waiting and not one.beaten]
        if not quiet:
            self._measured = None
        elif self._at_work():
            quiet = []
        else:
            self._question()
        for one in self._replicas:
            one.silent = one.silent + 1 if one in quiet else 0
            one.beaten = False
        # The first of them came in the middle of the silence that it found.
        if any(one.silent > _LOOKS for one in quiet):
            calls = sum(one.waiting for one in quiet)
            self.close()
            self._hung(f"no sign of life for {self._silent:,.0f} s, calls waiting: {calls:,}")
        elif any(one.waiting for one in self._replicas):
            self._arm()

    def _at_work(self) -> bool:
        if self._spent is None:
            return False
        before = self._measured
        self._measured = now, spent = asyncio.get_running_loop().time(), self._spent()
        return before is not None and spent - before[1] >= _AT_WORK * (now - before[0])

    def _question(self) -> None:
        # One at a time: it is answered when the step is done, however long that takes.
        if self._ask is not None and self._asked is None:
            self._asked = asyncio.ensure_future(_result(self._ask))
            self._asked.add_done_callback(self._answered)

    def _answered(self, asked: asyncio.Task[object]) -> None:
        self._asked = None
        if not asked.cancelled() and asked.exception() is None:
            for replica in range(len(self._replicas)):
                self.beat(replica)


async def _result(ask: Callable[[], Awaitable[object]]) -> object:
    return await ask()


async def outlasts(call: asyncio.Future[Any], signs: Callable[[], int], silent: float) -> bool:
    """Wait for a call as long as whoever is to answer it gives signs of life.

    Args:
        call: what is waited for; it is left as it is.
        signs: how many there have been so far.
        silent: seconds without one, and without the answer, that are enough.

    Returns:
        Whether the call has ended.
    """
    looks, seen = 0, signs()
    while looks < _LOOKS:
        done, _ = await asyncio.wait((call,), timeout=silent / _LOOKS)
        if done:
            return True
        looks, seen = (looks + 1 if signs() == seen else 0), signs()
    return False


class ProcessorTime:
    """Processor time of processes and of all below them, in seconds.

    Args:
        pids: the processes.
        spins: whether they use it without working, as they do that wait for a GPU: then only
            what they have started from now on counts, such as compilers.
    """

    def __init__(self, pids: Sequence[int], *, spins: bool = False) -> None:
        self._pids = tuple(pids)
        self._spinning = frozenset(one.pid for one in self._all()) if spins else frozenset()

    def spent(self) -> float:
        """What they have used so far; less, where one has gone that nobody has waited for."""
        total = 0.0
        for process in self._all():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                total += times.children_user + times.children_system
                if process.pid not in self._spinning:
                    total += times.user + times.system
        return total

    def _all(self) -> list[psutil.Process]:
        found: list[psutil.Process] = []
        for pid in self._pids:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                found += [process, *process.children(recursive=True)]
        return found
