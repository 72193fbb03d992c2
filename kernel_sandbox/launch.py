"""Starting the process of a kernel: what it is told, what it sees, how it is confined."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outcore.kernel_sandbox import bwrap, seccomp, walls
from outcore.kernel_sandbox.child import Child
from outcore.kernel_sandbox.inside import landlock
from outcore.kernel_sandbox.reach import check_reachable, check_readable
from outcore.kernel_sandbox.walls import LIBRARY

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from outcore.kernel_sandbox.identity import Identity
    from outcore.kernel_sandbox.interpreter import Interpreter
    from outcore.kernel_sandbox.limits import Limits
    from outcore.kernel_sandbox.tiers import Confinement

HOME = "home"

_START = "import sys; sys.path.append({parent!r}); from inside import bootstrap; bootstrap.main()"


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
        late: whether the context is put into its folder later.
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
    late: bool

    @property
    def home(self) -> Path:
        """The one folder the kernel can write to, where it has no mounts of its own."""
        return self.folder / HOME

    @property
    def start(self) -> Path:
        """Its start file, see `inside/bootstrap.py`."""
        return self.folder / "start.json"


def program(interpreter: Interpreter, library: str) -> list[str]:
    """Command of a kernel up to the path of its start file; `library` is the `inside` folder."""
    parent = str(Path(library).parent)
    # -I and -S: no environment, no user site, none of the host's .pth files.
    flags = ["-I", "-S", "-B", "-X", "utf8"]
    return [str(interpreter.executable), *flags, "-c", _START.format(parent=parent)]


def spawn(
    launch: Launch,
    cmd: list[str],
    connection: Path,
    listeners: Mapping[int, socket.socket],
) -> Child:
    """Start `cmd` on a start file.

    Args:
        connection: Jupyter's connection file, written already.
        listeners: listening sockets by the ports of that file.

    Raises:
        SandboxUnavailable: a folder the sandbox's user must read is closed to it.
        OSError: the process can't be started.
    """
    fds = {port: one.fileno() for port, one in listeners.items()}
    if launch.confinement.tier == "bwrap":
        return _spawn_boxed(launch, cmd, connection, fds)
    launch.home.mkdir(mode=0o700)
    if launch.confinement.tier == "landlock":
        return _spawn_walled(launch, cmd, connection, fds)
    report = _report(launch, connection=str(connection), sockets=fds, parent=os.getpid())
    launch.start.write_text(json.dumps(report))
    return Child.spawn(
        [*cmd, str(launch.start)],
        env=_environment(launch.home),
        fds=list(fds.values()),
        cwd=str(launch.home),
        reaped=True,
    )


def _report(launch: Launch, **differing: Any) -> dict[str, Any]:
    size = sum(one.stat().st_size for one in launch.context.rglob("*") if one.is_file())
    shared = launch.identity is None and launch.confinement.tier != "bwrap"
    return {
        "path": [str(one) for one in launch.interpreter.packages],
        "bridge": str(launch.bridge),
        "token": launch.token,
        "frame": launch.limits.frame,
        "context": str(launch.context),
        "rlimits": launch.limits.rlimits(context=size, shared_uid=shared),
        "hints": {**launch.hints, "total": launch.limits.total},
        "late": launch.late,
        "parent": 0,
        "rules": [],
        "seccomp": "",
        **differing,
    }


def _write_private(launch: Launch, report: dict[str, Any], connection: Path) -> None:
    launch.start.write_text(json.dumps(report))
    for file in (launch.start, connection):
        file.chmod(0o400)
        if launch.identity is not None:
            os.chown(file, launch.identity.uid, launch.identity.gid)


def _spawn_walled(launch: Launch, cmd: list[str], connection: Path, fds: dict[int, int]) -> Child:
    folders, identity = (*launch.interpreter.folders, LIBRARY), launch.identity
    argv = [*cmd, str(launch.start)]
    if identity is not None:
        check_reachable((launch.interpreter.executable, *folders))
        check_readable((launch.context, *launch.context.iterdir()))
        walls.open_way(launch.home, identity)
        argv = identity.command(str(launch.confinement.setpriv), argv)
    # By a descriptor: folders above it may be closed to the user the kernel runs as.
    context = os.open(launch.context, os.O_PATH | os.O_DIRECTORY)
    try:
        report = _report(
            launch,
            context=f"/proc/self/fd/{context}",
            connection=str(connection),
            sockets=fds,
            parent=os.getpid(),
            rules=[
                *walls.rules(folders, (launch.start, connection), launch.home),
                (context, landlock.READ),
            ],
            seccomp=seccomp.program(shared=True).hex(),
        )
        if identity is None:
            report["rlimits"]["NPROC"] = walls.tasks_allowed(launch.limits.processes)
        _write_private(launch, report, connection)
        return Child.spawn(
            argv,
            env=_environment(launch.home),
            fds=[*fds.values(), context],
            cwd=str(launch.home),
            reaped=True,
        )
    finally:
        os.close(context)


def _spawn_boxed(launch: Launch, cmd: list[str], connection: Path, fds: dict[int, int]) -> Child:
    assert launch.confinement.program is not None
    folders = launch.interpreter.folders
    if launch.identity is not None:
        check_readable((*folders, LIBRARY, launch.context, *launch.context.iterdir()))
    box = bwrap.Box(
        binds=(
            *(bwrap.Bind(one, str(one)) for one in folders),
            bwrap.Bind(LIBRARY, bwrap.LIBRARY),
            bwrap.Bind(launch.context.resolve(), bwrap.CONTEXT),
            bwrap.Bind(launch.bridge, f"{bwrap.RUN}/bridge.sock"),
            bwrap.Bind(launch.start, f"{bwrap.RUN}/start.json"),
            bwrap.Bind(connection, f"{bwrap.RUN}/kernel.json"),
        ),
        tmp=launch.limits.tmp,
        shm=launch.limits.shm,
        identity=launch.identity,
        setpriv=str(launch.confinement.setpriv),
    )
    report = _report(
        launch,
        bridge=f"{bwrap.RUN}/bridge.sock",
        context=bwrap.CONTEXT,
        connection=f"{bwrap.RUN}/kernel.json",
        sockets=fds,
        rules=walls.rules_in(box),
    )
    _write_private(launch, report, connection)
    with contextlib.ExitStack() as held:
        status, status_end = os.pipe()
        held.callback(os.close, status_end)
        try:
            filtered = _held(held, seccomp.descriptor())
            args = bwrap.arguments(box, seccomp_fd=filtered, status_fd=status_end)
            # Through a descriptor, or the paths would stand in /proc/1/cmdline inside.
            told = _held(held, _memory("\0".join(args).encode()))
            child = Child.spawn(
                [
                    str(launch.confinement.program),
                    *("--args", str(told), "--"),
                    *bwrap.command(box, [*cmd, f"{bwrap.RUN}/start.json"]),
                ],
                env=_environment(Path("/tmp")),  # noqa: S108 - the sandbox's own
                fds=[*fds.values(), status_end, filtered, told],
            )
        except BaseException:
            os.close(status)
            raise
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


def _held(held: contextlib.ExitStack, fd: int) -> int:
    held.callback(os.close, fd)
    return fd


def _memory(data: bytes) -> int:
    fd = os.memfd_create("arguments")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
