"""One kernel process with all that belongs to it: broker, provisioner, channels."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.kernelspec import KernelSpec as JupyterSpec
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager

from outcore.errors import SandboxError, SandboxUnavailable
from outcore.kernel_sandbox import bwrap, identity
from outcore.kernel_sandbox.broker import Broker
from outcore.kernel_sandbox.channel import Channel
from outcore.kernel_sandbox.ending import to_the_end
from outcore.kernel_sandbox.fixes import explain
from outcore.kernel_sandbox.guard import Guard
from outcore.kernel_sandbox.launch import Launch, program
from outcore.kernel_sandbox.provisioner import NAME, PORTS, SandboxProvisioner
from outcore.kernel_sandbox.walls import LIBRARY
from outcore.kernel_sandbox.zmtp import ZmtpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.kernel_sandbox.child import Child
    from outcore.kernel_sandbox.connection import Handler
    from outcore.kernel_sandbox.interpreter import Interpreter
    from outcore.kernel_sandbox.limits import Limits
    from outcore.kernel_sandbox.tiers import Confinement

_LAST_WORDS_SECONDS = 10.0
_LOG = logging.getLogger(__name__)
# Jupyter logs at error level what it also raises.
_QUIET = logging.getLogger("outcore.jupyter")
_QUIET.addHandler(logging.NullHandler())
_QUIET.propagate = False


@dataclass(frozen=True, slots=True)
class Setting:
    """What all processes of one kernel have in common."""

    context: Path
    confinement: Confinement
    interpreter: Interpreter
    limits: Limits
    hints: Mapping[str, Any]
    handler: Handler
    late: bool


class _Specs(KernelSpecManager):  # type: ignore[misc]
    """Knows one kernelspec, which lives in memory alone."""

    def __init__(self, spec: JupyterSpec) -> None:
        super().__init__()
        self._spec = spec

    def get_kernel_spec(self, kernel_name: str) -> JupyterSpec:
        """The one there is."""
        return self._spec


class KernelProcess:
    """A running kernel.

    Attributes:
        channel: runs cells.
        child: its process.
        broker: its bridge.
    """

    def __init__(self, setting: Setting, folder: Path) -> None:
        tier = setting.confinement.tier
        drops = tier != "none" and os.geteuid() == 0
        self._identity = identity.unused(os.getpid()) if drops else None
        uid = os.geteuid() if self._identity is None else self._identity.uid
        token = secrets.token_hex(32)
        bridge = folder / "bridge.sock"
        self.broker = Broker(bridge, token, uid, self._answer, setting.limits)
        self._handler = setting.handler
        self._limits = setting.limits
        self._sockets = str(folder / "kernel")
        launch = Launch(
            folder=folder,
            bridge=bridge,
            token=token,
            context=setting.context,
            confinement=setting.confinement,
            identity=self._identity,
            interpreter=setting.interpreter,
            limits=setting.limits,
            hints=setting.hints,
            late=setting.late,
        )
        self._manager = self._make_manager(
            launch, bwrap.LIBRARY if tier == "bwrap" else str(LIBRARY)
        )
        self._channel: Channel | None = None
        self._launch = launch
        self._guard: Guard | None = None
        self._guarded = asyncio.Event()

    def _make_manager(self, launch: Launch, library: str) -> Any:
        spec = JupyterSpec(
            argv=program(launch.interpreter, library),
            display_name="outcore",
            language="python",
            metadata={"kernel_provisioner": {"provisioner_name": NAME}},
        )
        manager = AsyncKernelManager(
            kernel_name="outcore",
            kernel_spec_manager=_Specs(spec),
            transport="ipc",
            ip=self._sockets,
            connection_file=str(launch.folder / "kernel.json"),
            log=_QUIET,
            **{f"{name}_port": port for name, port in PORTS.items()},
        )
        # Given here, not looked up by the name, so that it also works from a bare checkout.
        manager.provisioner = SandboxProvisioner(
            kernel_spec=spec, kernel_id=NAME, parent=manager, launch=launch
        )
        manager.kernel_id = NAME
        return manager

    @property
    def child(self) -> Child:
        """Its process; only a started kernel has one."""
        child: Child | None = self._manager.provisioner.child
        assert child is not None
        return child

    @property
    def channel(self) -> Channel:
        """Where cells run; only a started kernel has one."""
        assert self._channel is not None
        return self._channel

    async def start(self) -> None:
        """Start it and wait until it takes cells. On failure nothing is left.

        Raises:
            SandboxUnavailable: bubblewrap refused on this machine.
            SandboxError: it died at the start, or did not answer in time.
        """
        try:
            await self.broker.start()
            await self._manager.start_kernel()
            await self._come_up()
        except BaseException:
            await self.close()
            raise

    async def _come_up(self) -> None:
        ready = asyncio.create_task(self._ready())
        try:
            await asyncio.wait(
                (ready, self.child.died),
                timeout=self._limits.start_seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self.child.died.done():
                # The rest of what it had to say arrives with its end.
                await asyncio.sleep(0)
                raise await self._stillborn()
            if not ready.done():
                raise SandboxError(
                    f"the kernel did not start within {self._limits.start_seconds:g} s. "
                    f"It said: {self.child.stderr.strip() or 'nothing'}"
                )
            ready.result()
        finally:
            ready.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await ready

    async def verdict(self) -> str | None:
        """Why it was killed for what it used; None where it was not. It has died."""
        return None if self._guard is None else await asyncio.to_thread(self._guard.stop)

    async def _ready(self) -> None:
        pid = await self.broker.first_pid
        self.child.adopt(pid)
        await self._watch(pid)
        self._guarded.set()
        await self._channel_ready()

    async def _answer(self, op: str, params: dict[str, Any]) -> Any:
        # What the one before it has kept is code that runs at the start, and needs a guard then.
        await self._guarded.wait()
        return await self._handler(op, params)

    async def _watch(self, kernel: int) -> None:
        if self._launch.confinement.tier != "none":
            launch = self._launch
            self._guard = Guard(
                self.child, kernel, launch.confinement.tier, launch.home, launch.limits
            )
            await asyncio.to_thread(self._guard.start)

    async def _channel_ready(self) -> None:
        shell, iopub = (Path(f"{self._sockets}-{PORTS[name]}") for name in ("shell", "iopub"))
        most = self._limits.message
        # A kernel whose channels are gone answers nothing any more: it is started afresh.
        try:
            self._channel = await Channel.open(
                self._manager.session, shell, iopub, most, self.child.strike
            )
        except (ZmtpError, OSError, EOFError) as error:
            # One that has died says more of it by its end.
            await asyncio.wait((self.child.died,), timeout=_LAST_WORDS_SECONDS)
            raise SandboxError(f"the kernel does not answer as one: {error}") from error
        await self._channel.ready()

    async def _stillborn(self) -> SandboxError | SandboxUnavailable:
        said = self.child.stderr
        if "bwrap: " in said:
            return SandboxUnavailable(f"the sandbox can't be made: {explain(said)}")
        _LOG.debug("kernel: died at its start; it said:\n%s", said)
        last = said.strip().rpartition("\n")[2] or "nothing"
        how = await self.verdict() or f"status {self.child.died.result()}"
        return SandboxError(f"the kernel died at its start ({how}). It said: {last}")

    async def close(self) -> None:
        """End it; no process, socket or connection of it is left, not even where the loop ends."""
        await to_the_end(self._end)

    async def _end(self) -> None:
        if self._guard is not None:
            await asyncio.to_thread(self._guard.stop)
        if self._manager.provisioner.child is not None:
            await self._manager.provisioner.kill()
            await self._manager.provisioner.wait()
        if self._channel is not None:
            await self._channel.close()
        if self._guard is not None:
            await asyncio.to_thread(self._guard.clear)
        await self._manager.cleanup_resources()
        await self.broker.close()
