"""The processes of one kernel, one after another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from outcore.errors import SandboxError
from outcore.kernel_sandbox.ending import to_the_end
from outcore.kernel_sandbox.inside.keeping import RESTORE
from outcore.kernel_sandbox.process import KernelProcess, Setting
from outcore.reaper import remove

if TYPE_CHECKING:
    from outcore.kernel_sandbox.kept import Kept
    from outcore.kernel_sandbox.session import Session

_LOG = logging.getLogger(__name__)
_Work = Callable[[], Coroutine[Any, Any, None]]


class Succession:
    """One process at a time, each started with what the one before left.

    Attributes:
        setting: what the next one is started with.
        process: the one of now; None before the first, and after one that was not replaced.
        stale: whether the next cell needs a fresh one: a cell has begun and not ended in order.
        closed: whether no further one is to be started.
    """

    def __init__(self, setting: Setting, session: Session, kept: Kept) -> None:
        self.setting = setting
        self.process: KernelProcess | None = None
        self.stale = False
        self.closed = False
        self._session = session
        self._kept = kept
        self._part = 0
        self._clearing: dict[asyncio.Task[None], _Work] = {}

    async def fit(self) -> KernelProcess:
        """One that can run a cell, started where there is none; it may have died since.

        Raises:
            SandboxError: the kernel is closed, or none can be started.
        """
        if self.closed:
            raise SandboxError("the kernel is closed")
        if self.stale:
            await self.renew()
        assert self.process is not None
        return self.process

    async def renew(self) -> None:
        """Put a fresh process in the place of the one of now.

        Raises:
            SandboxError: it died at its start, did not answer in time, or the kernel was closed.
        """
        if self.closed:
            raise SandboxError("the kernel was closed while a cell ran")
        await self.discard()
        process = await self._started()
        if self.closed:
            await process.close()
            raise SandboxError("the kernel was closed while it started afresh")
        self.process = process
        self.stale = False

    async def discard(self) -> None:
        """End the process of now, with all it has on the host."""
        self.stale = True
        old, self.process = self.process, None
        if old is not None:
            await self._clear(old.close)
            remove(self._session.folder / str(self._part))

    async def end(self) -> None:
        """End the process of now, and what cancelled callers have left in the middle."""
        await self.discard()
        for task, work in tuple(self._clearing.items()):
            await asyncio.wait([task])
            if task.cancelled():
                # The loop ends, and may have cancelled it before it had begun.
                await work()

    def _clear(self, work: _Work) -> asyncio.Future[None]:
        """Have `work` done to its end, whatever becomes of those who wait for it."""
        task = asyncio.create_task(work(), name="ending: process")
        self._clearing[task] = work

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled():
                del self._clearing[task]

        task.add_done_callback(done)
        return asyncio.shield(task)

    async def _started(self) -> KernelProcess:
        setting = self.setting
        if self._kept:
            setting = replace(setting, hints={**setting.hints, RESTORE: True})
        while True:
            self._part += 1
            process = KernelProcess(setting, self._session.part(self._part))
            try:
                await self._begun(process)
            except Exception as error:
                remove(self._session.folder / str(self._part))
                if setting is self.setting or self.closed:
                    raise
                # What was kept is code that is not trusted, and may have made it look like any
                # other failure, such as a machine that can't isolate a kernel.
                _LOG.debug("kernel: what was kept is dropped: %s: %s", type(error).__name__, error)
                self._kept.drop()
                setting = self.setting
            else:
                return process

    async def _begun(self, process: KernelProcess) -> None:
        start = asyncio.create_task(process.start())
        try:
            await asyncio.shield(start)
        except asyncio.CancelledError:
            start.cancel()
            # Whoever cancels this does not wait for it; `end` does.
            self._clear(partial(_given_up, start, process))
            raise


async def _given_up(start: asyncio.Task[None], process: KernelProcess) -> None:
    async def work() -> None:
        await asyncio.wait([start])
        if not start.cancelled() and start.exception() is None:
            await process.close()

    await to_the_end(work)
