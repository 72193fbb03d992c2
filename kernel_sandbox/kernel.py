"""A Python REPL for code that is not trusted."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from outcore.errors import SandboxError
from outcore.kernel_sandbox import tiers
from outcore.kernel_sandbox.ending import to_the_end
from outcore.kernel_sandbox.interpreter import Interpreter
from outcore.kernel_sandbox.kept import Kept
from outcore.kernel_sandbox.limits import Limits
from outcore.kernel_sandbox.output import Output
from outcore.kernel_sandbox.process import Setting
from outcore.kernel_sandbox.session import Session
from outcore.kernel_sandbox.succession import Succession

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from outcore.config import Tier
    from outcore.kernel_sandbox.channel import Execution
    from outcore.kernel_sandbox.connection import Handler
    from outcore.kernel_sandbox.process import KernelProcess

Status = Literal["ok", "error", "interrupted", "killed"]

_NUDGE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """What a kernel is started with.

    Attributes:
        context: folder of the staged context.
        tier: isolation asked for.
        limits: what it may use.
        hints: settings of its tools, JSON: `slice_tokens`, `chars_per_token`, and `speculate`,
            false for no dry runs.
        late: whether the folder is still empty: context and hints are put there before the
            first cell, see `kernel_sandbox/warm.py`.
    """

    context: Path
    tier: Tier = "auto"
    limits: Limits = field(default_factory=Limits)
    hints: Mapping[str, Any] = field(default_factory=dict)
    late: bool = False


@dataclass(frozen=True, slots=True)
class CellResult:
    """How a cell ended.

    Attributes:
        status: `ok`; `error`, its code raised; `interrupted`, at its deadline or for too much
            output, its variables stand; `killed`, the kernel is a fresh one, with what could be
            restored, as `error` says.
        output: stdout, stderr, values and traceback in the order they came, the middle cut.
        error: `Kind: message`, or why it was interrupted or killed; None when all went well.
        seconds: wall clock of the cell.
        dropped: bytes cut out of the output.
    """

    status: Status
    output: str
    error: str | None
    seconds: float
    dropped: int


class Kernel:
    """A sandboxed kernel, and a fresh one whenever it dies.

        async with await Kernel.start(KernelSpec(context=folder), handler) as kernel:
            result = await kernel.run("print(len(context))", seconds=60)

    Start it on a thread that lives as long as the kernel: it ends with that thread.

    Attributes:
        tier: isolation in force.
        warning: why it is weaker than it could be, where that was not asked for; else None.
        folder: session folder on the host; gone after `close`, left only by a killed host.
    """

    def __init__(self, setting: Setting, session: Session, kept: Kept) -> None:
        """Use `Kernel.start`."""
        self.tier: str = setting.confinement.tier
        self.warning = setting.confinement.warning
        self.folder = session.folder
        self._limits = setting.limits
        self._session = session
        self._kept = kept
        self._line = Succession(setting, session, kept)
        self._ending: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    @classmethod
    async def start(cls, spec: KernelSpec, handler: Handler) -> Kernel:
        """Start a kernel; `handler` answers the calls its code makes.

        Raises:
            SandboxUnavailable: this machine can't isolate it as asked.
            SandboxError: it died at its start, or did not answer in time.
        """
        if not spec.context.is_dir():
            raise SandboxError(f"the staged context {spec.context} is not a folder")
        confinement = await asyncio.to_thread(tiers.choose, spec.tier)
        kept = Kept(handler)
        setting = Setting(
            context=spec.context,
            confinement=confinement,
            interpreter=Interpreter.current(),
            limits=spec.limits,
            hints=dict(spec.hints),
            handler=kept,
            late=spec.late,
        )
        kernel = cls(setting, Session.create(), kept)
        try:
            await kernel._line.renew()
        except BaseException:
            await kernel.close()
            raise
        return kernel

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """Its process on the host, the outermost of the sandbox; None while none runs."""
        process = self._line.process
        return None if process is None or process.child.died.done() else process.child.pid

    def settle(self, spec: KernelSpec, handler: Handler) -> None:
        """What processes that replace the one of now are started with."""
        self._kept.handler = handler
        self._line.setting = replace(
            self._line.setting, context=spec.context, hints=dict(spec.hints), late=spec.late
        )

    async def __aenter__(self) -> Kernel:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def run(
        self, code: str, *, seconds: float, grace: float | None = None, last: bool = False
    ) -> CellResult:
        """Run one cell and wait for its end, `seconds` at most and a short grace.

        At the deadline the cell is interrupted; one that does not end then, and a kernel that
        dies, come back as `killed`, with a fresh kernel in place. Cells run one at a time.

        Args:
            code: the cell.
            seconds: until it is interrupted.
            grace: seconds it then has to end, at most those of the limits.
            last: whether none is to come after its deadline: a kernel that has to be killed at
                it is not replaced before the next cell.

        Raises:
            SandboxError: the kernel is closed, or no fresh one can be started.
        """
        async with self._lock:
            process = await self._line.fit()
            if process.child.died.done():
                return await self._bury(process, Output(1), 0.0, "the cell was not run")
            started = time.monotonic()
            output = Output(self._limits.output)
            self._line.stale = True
            execution = process.channel.execute(code, output, self._limits.flood)
            stopped = await self._supervise(process, execution, seconds, grace)
            elapsed = time.monotonic() - started
            if not _ended(execution):
                return await self._bury(process, output, elapsed, stopped, last=last)
            self._line.stale = False
            status: Status = "ok" if execution.error is None else "error"
            if stopped is not None:
                status = "interrupted"
            error = stopped or execution.error
            return CellResult(status, output.text(), error, elapsed, output.dropped)

    async def close(self) -> None:
        """End the kernel; no process, socket or folder is left. May be called twice.

        Cancelling it does not stop the ending, which then goes on by itself.
        """
        self._line.closed = True
        if self._ending is None or self._ending.cancelled():
            self._ending = asyncio.create_task(self._end(), name="ending: kernel")
        try:
            await asyncio.shield(self._ending)
        except asyncio.CancelledError:
            if self._ending.cancelling():
                # The loop ends, and may have cancelled it before it had begun.
                await asyncio.wait([self._ending])
                await self._end()
            raise

    async def _end(self) -> None:
        try:
            await to_the_end(self._line.end)
        finally:
            self._session.remove()

    async def _supervise(
        self,
        process: KernelProcess,
        execution: Execution,
        seconds: float,
        grace: float | None,
    ) -> str | None:
        """Watch a cell to its end, its kernel's end, or the end of its grace.

        Returns why it was stopped, None if it was not.
        """
        finished = asyncio.create_task(execution.finished())
        ends: tuple[asyncio.Future[Any], ...] = (finished, process.child.died)
        first = asyncio.FIRST_COMPLETED
        try:
            await asyncio.wait((*ends, execution.flooded), timeout=seconds, return_when=first)
            if finished.done() or process.child.died.done():
                return None
            if execution.flooded.done():
                stopped = f"the cell printed more than {self._limits.flood:,} characters"
            else:
                stopped = f"the cell ran into its limit of {seconds:.4g} s"
            most = self._limits.grace_seconds
            deadline = time.monotonic() + (most if grace is None else min(grace, most))
            while (left := deadline - time.monotonic()) > 0:
                process.child.interrupt()
                done, _ = await asyncio.wait(
                    ends, timeout=min(left, _NUDGE_SECONDS), return_when=first
                )
                if done:
                    break
            return stopped
        finally:
            finished.cancel()

    async def _bury(
        self,
        process: KernelProcess,
        output: Output,
        elapsed: float,
        stopped: str | None,
        *,
        last: bool = False,
    ) -> CellResult:
        if process.child.died.done():
            status = process.child.died.result()
            verdict = await process.verdict() or _verdict(status)
            reason = f"the kernel died: {verdict}"
            reason = reason if stopped is None else f"{reason}; {stopped}"
        else:
            reason = f"{stopped}, and did not end when interrupted"
        if last and stopped is not None:
            await self._line.discard()
        else:
            await self._line.renew()
            reason += f". {self._kept.told()}"
        return CellResult("killed", output.text(), reason, elapsed, output.dropped)


def _ended(execution: Execution) -> bool:
    return execution.replied.done() or execution.idle.done()


def _verdict(status: int) -> str:
    number = -status if status < 0 else status - 128
    if number == 9:
        return "killed, most likely for the memory it used"
    return f"signal {number}" if number > 0 else f"exit status {status}"
