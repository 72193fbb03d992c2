"""Jupyter's way to start a kernel: here, in the sandbox."""

from __future__ import annotations

import json
import os
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_client.provisioning import KernelProvisionerBase
from traitlets import Any as AnyTrait

from outcore.errors import SandboxError, SandboxUnavailable
from outcore.kernel_sandbox import bwrap, seccomp
from outcore.kernel_sandbox.child import Child

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.kernel_sandbox.identity import Identity
    from outcore.kernel_sandbox.interpreter import Interpreter
    from outcore.kernel_sandbox.limits import Limits
    from outcore.kernel_sandbox.tiers import Confinement

NAME = "outcore-sandbox"
LIBRARY = Path(__file__).resolve().parent / "inside"
PORTS = {"shell": 1, "iopub": 2, "stdin": 3, "hb": 4, "control": 5}

_START = "import sys; sys.path.append({parent!r}); from inside import bootstrap; bootstrap.main()"
_READABLE = 0o005


@dataclass(frozen=True, slots=True)
class Launch:
    """One kernel process to be started.

    Attributes:
        folder: receives its sockets and start files.
        bridge: the broker's socket.
        token: secret for it.
        context: staged context.
        identity: whom the kernel runs as; None for the host's own user.
        hints: settings for the tools in the REPL, JSON.
    """

    folder: Path
    bridge: Path
    token: str
    context: Path
    confinement: Confinement
    identity: Identity | None
    interpreter: Interpreter
    limits: Limits
    hints: Mapping[str, Any]


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
            start = launch.folder / "start.json"
            self.child = _spawn(launch, cmd, start, connection, listeners)
        except OSError as error:
            raise SandboxError(f"the kernel can't be started: {error}") from error
        finally:
            for listener in listeners.values():
                listener.close()
        return self.connection_info


def program(interpreter: Interpreter, library: str) -> list[str]:
    """Command of a kernel up to the path of its start file; `library` is the `inside` folder."""
    parent = str(Path(library).parent)
    # -I and -S: no environment, no user site, none of the host's .pth files.
    flags = ["-I", "-S", "-B", "-X", "utf8"]
    return [str(interpreter.executable), *flags, "-c", _START.format(parent=parent)]


def _spawn(
    launch: Launch,
    cmd: list[str],
    start: Path,
    connection: Path,
    listeners: Mapping[int, socket.socket],
) -> Child:
    boxed = launch.confinement.program is not None
    size = sum(one.stat().st_size for one in launch.context.rglob("*") if one.is_file())
    shared = launch.identity is None and not boxed
    report = {
        "path": [str(one) for one in launch.interpreter.packages],
        "bridge": f"{bwrap.RUN}/bridge.sock" if boxed else str(launch.bridge),
        "token": launch.token,
        "frame": launch.limits.frame,
        "context": bwrap.CONTEXT if boxed else str(launch.context),
        "connection": f"{bwrap.RUN}/kernel.json" if boxed else str(connection),
        "sockets": {port: one.fileno() for port, one in listeners.items()},
        "rlimits": launch.limits.rlimits(context=size, shared_uid=shared),
        "hints": dict(launch.hints),
        "parent": 0 if boxed else os.getpid(),
    }
    start.write_text(json.dumps(report))
    fds = [one.fileno() for one in listeners.values()]
    if not boxed:
        home = launch.folder / "home"
        home.mkdir()
        return Child.spawn([*cmd, str(start)], env=_environment(home), fds=fds, cwd=str(home))
    for file in (start, connection):
        file.chmod(0o400)
        if launch.identity is not None:
            os.chown(file, launch.identity.uid, launch.identity.gid)
    return _spawn_boxed(launch, cmd, (start, connection), fds)


def _spawn_boxed(launch: Launch, cmd: list[str], files: tuple[Path, Path], fds: list[int]) -> Child:
    assert launch.confinement.program is not None
    start, connection = files
    folders = launch.interpreter.folders
    if launch.identity is not None:
        _check_readable((*folders, LIBRARY, launch.context, *launch.context.iterdir()))
    box = bwrap.Box(
        binds=(
            *(bwrap.Bind(one, str(one)) for one in folders),
            bwrap.Bind(LIBRARY, bwrap.LIBRARY),
            bwrap.Bind(launch.context.resolve(), bwrap.CONTEXT),
            bwrap.Bind(launch.bridge, f"{bwrap.RUN}/bridge.sock"),
            bwrap.Bind(start, f"{bwrap.RUN}/start.json"),
            bwrap.Bind(connection, f"{bwrap.RUN}/kernel.json"),
        ),
        tmp=launch.limits.tmp,
        shm=launch.limits.shm,
        identity=launch.identity,
        setpriv=str(launch.confinement.setpriv),
    )
    status, status_end = os.pipe()
    ours = [status_end]
    try:
        ours.append(seccomp.descriptor())
        args = bwrap.arguments(box, seccomp_fd=ours[1], status_fd=status_end)
        # Through a descriptor, or the paths would stand in /proc/1/cmdline inside.
        ours.append(_memory("\0".join(args).encode()))
        child = Child.spawn(
            [
                str(launch.confinement.program),
                *("--args", str(ours[2]), "--"),
                *bwrap.command(box, [*cmd, f"{bwrap.RUN}/start.json"]),
            ],
            env=_environment(Path("/tmp")),  # noqa: S108 - the sandbox's own
            fds=[*fds, *ours],
        )
    except BaseException:
        os.close(status)
        raise
    finally:
        for fd in ours:
            os.close(fd)
    child.watch_status(status)
    return child


def _environment(home: Path) -> dict[str, str]:
    """Environment of a kernel, built from nothing."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TMPDIR": str(home),
        "IPYTHONDIR": str(home / ".ipython"),
        "USER": "sandbox",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "PAGER": "cat",
        "MPLBACKEND": "agg",
        # Each arena reserves 64 MiB of the address space that RLIMIT_AS counts.
        "MALLOC_ARENA_MAX": "2",
    }


def _check_readable(paths: tuple[Path, ...]) -> None:
    for path in paths:
        mode = path.stat().st_mode
        wanted = _READABLE if path.is_dir() else 0o004
        if mode & wanted != wanted:
            raise SandboxUnavailable(
                f"{path} can be read by its owner alone, and the sandbox drops root: run "
                f"`chmod -R o+rX {path}`"
            )


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener


def _memory(data: bytes) -> int:
    fd = os.memfd_create("arguments")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
