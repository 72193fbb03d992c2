"""Jupyter's way to start a kernel: here, in the sandbox."""

from __future__ import annotations

import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.provisioning import KernelProvisionerBase
from traitlets import Any as AnyTrait

from outcore.errors import SandboxError
from outcore.kernel_sandbox.launch import Launch, spawn

if TYPE_CHECKING:
    from outcore.kernel_sandbox.child import Child

NAME = "outcore-sandbox"
PORTS = {"shell": 1, "iopub": 2, "stdin": 3, "hb": 4, "control": 5}


class SandboxProvisioner(KernelProvisionerBase):  # type: ignore[misc]
    """Starts ipykernel under bubblewrap, or bare where that was asked for.

    The kernel gets its listening sockets as open descriptors and sees no folder of the host
    it can write to.

    Attributes:
        launch: what to start.
        child: the process, once started.
    """

    launch: Launch | None = AnyTrait(None)
    child: Child | None = AnyTrait(None)

    @property
    def has_process(self) -> bool:
        """Whether a process is being managed."""
        return self.child is not None

    async def poll(self) -> int | None:
        """Exit status, None while it runs."""
        if self.child is None or not self.child.died.done():
            return None
        return self.child.died.result()

    async def wait(self) -> int | None:
        """Exit status, once it has ended."""
        if self.child is None:
            return None
        status = await self.child.died
        self.child = None
        return status

    async def send_signal(self, signum: int) -> None:
        """Interrupt or end the kernel; other signals have no meaning here."""
        if self.child is not None:
            if signum == signal.SIGINT:
                self.child.interrupt()
            elif signum in (signal.SIGTERM, signal.SIGKILL):
                await self.child.kill()

    async def kill(self, restart: bool = False) -> None:
        """End the kernel and all it has started."""
        if self.child is not None:
            await self.child.kill()

    async def terminate(self, restart: bool = False) -> None:
        """Same as `kill`: there is nothing in a kernel worth a goodbye."""
        await self.kill(restart)

    async def cleanup(self, restart: bool = False) -> None:
        """Nothing is held besides the process."""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Write the connection file and settle the command.

        Raises:
            SandboxError: made by Jupyter from its entry point, without a launch.
        """
        if self.launch is None:
            raise SandboxError(
                f"the provisioner {NAME!r} starts outcore's own kernels alone; use "
                "outcore.kernel_sandbox.Kernel"
            )
        manager = self.parent
        manager.write_connection_file()
        self.connection_info = manager.get_connection_info()
        return {"cmd": list(self.kernel_spec.argv), "env": {}, **kwargs}

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Start the process and return Jupyter's connection info.

        Raises:
            SandboxUnavailable: a folder the sandbox's user must read is closed to it.
            SandboxError: the process can't be started.
        """
        launch = self.launch
        assert launch is not None
        listeners: dict[int, socket.socket] = {}
        try:
            for port in PORTS.values():
                listeners[port] = _listen(Path(f"{self.parent.ip}-{port}"))
            connection = Path(self.parent.connection_file)
            self.child = spawn(launch, cmd, connection, listeners)
        except OSError as error:
            raise SandboxError(f"the kernel can't be started: {error}") from error
        finally:
            for listener in listeners.values():
                listener.close()
        return self.connection_info


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener
