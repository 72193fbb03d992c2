"""Kernels for child runs: a bounded number, and the next ones up before they are asked for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import shutil
from collections import deque
from typing import TYPE_CHECKING

from outcore.errors import SandboxError
from outcore.kernel_sandbox.kernel import Kernel
from outcore.kernel_sandbox.warm import WarmKernel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from outcore.kernel_sandbox.connection import Handler
    from outcore.kernel_sandbox.kernel import KernelSpec

_LOG = logging.getLogger(__name__)
_MOST_WARM = 2


class Pool:
    """Lends kernels, each to one borrower and never again.

    From the first loan on, one or two kernels wait, up but without a context; they come on top
    of those lent. All its work has to be done on one event loop.

    Args:
        folder: for contexts; is made when needed and removed with `close`.
        most: kernels lent at once, on each level. A borrower that waits for a loan on the level
            below holds its own meanwhile, so one bound over all levels could lock for good.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._places: dict[int, asyncio.Semaphore] = {}
        self._warm: deque[asyncio.Task[WarmKernel]] = deque()
        # All of those, and those that a borrower waits for.
        self._started: set[asyncio.Task[WarmKernel]] = set()
        self._lent: set[WarmKernel | Kernel] = set()
        self._numbers = itertools.count(1)
        self._closed = False

    def scratch(self) -> Path:
        """A new folder in the pool's; contexts in such a one are handed over fastest.

        Raises:
            SandboxError: it can't be made.
        """
        folder = self._folder / str(next(self._numbers))
        try:
            folder.mkdir(parents=True)
            folder.chmod(0o755)
        except OSError as error:
            raise SandboxError(
                f"can't make {folder}: {error.strerror}; make room, or point OUTCORE_HOME elsewhere"
            ) from error
        return folder

    @contextlib.asynccontextmanager
    async def lend(
        self, spec: KernelSpec, handler: Handler, *, level: int, seconds: float
    ) -> AsyncIterator[Kernel]:
        """A kernel, once one may be had; it ends with the block.

        Args:
            spec: what it is for.
            handler: answers the calls of its code.
            level: how deep the borrower stands; see `most`.
            seconds: longest wait for those lent to come back.

        Raises:
            SandboxError: none came back in time, none can be started, or the pool is closed.
            SandboxUnavailable: as `Kernel.start`.
        """
        places = self._places.setdefault(level, asyncio.Semaphore(self._most))
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await places.acquire()
        except TimeoutError:
            raise SandboxError(
                f"no kernel became free within {seconds:.0f} s: {self._most} child runs at once "
                "have one; ask for fewer at a time, or raise --kernels"
            ) from None
        held: WarmKernel | Kernel | None = None
        try:
            self._check_open()
            warm = await self._next(spec)
            held = warm if warm is not None else await Kernel.start(spec, handler)
            self._lent.add(held)
            self._check_open()
            kernel = held.hand_over(spec, handler) if isinstance(held, WarmKernel) else held
            self._refill(spec)
            yield kernel
        finally:
            try:
                if held is not None:
                    await held.close()
                    self._lent.discard(held)
            finally:
                places.release()

    async def close(self) -> None:
        """End all kernels, lent ones too, and remove the folder. May be called twice."""
        self._closed = True
        started = tuple(self._started)
        for task in started:
            # A second cancelling would break off the first one's clearing away.
            if not task.done() and not task.cancelling():
                task.cancel()
        if started:
            await asyncio.wait(started)
        ready = [task.result() for task in started if _came_up(task)]
        closing = (one.close() for one in (*ready, *self._lent))
        for outcome in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(outcome, BaseException):
                _LOG.warning("pool: a kernel did not end well: %r", outcome)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _next(self, spec: KernelSpec) -> WarmKernel | None:
        """The warm kernel that has been there longest; one still starting is waited for."""
        while self._warm:
            task = self._warm.popleft()
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                self._warm.appendleft(task)
                raise
            self._started.discard(task)
            if _came_up(task):
                warm = task.result()
                if warm.suits(spec):
                    return warm
                await warm.close()
        return None

    def _refill(self, spec: KernelSpec) -> None:
        while len(self._warm) < min(_MOST_WARM, self._most) and not self._closed:
            task = asyncio.create_task(self._start(spec))
            self._warm.append(task)
            self._started.add(task)

    async def _start(self, spec: KernelSpec) -> WarmKernel:
        return await WarmKernel.start(spec, self.scratch())

    def _check_open(self) -> None:
        if self._closed:
            raise SandboxError("the pool of kernels is closed")


def _came_up(task: asyncio.Task[WarmKernel]) -> bool:
    if task.cancelled():
        return False
    error = task.exception()
    if error is not None:
        _LOG.warning("pool: a kernel did not start: %s: %s", type(error).__name__, error)
    return error is None
