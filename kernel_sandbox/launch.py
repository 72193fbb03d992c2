"""Starting the process of a kernel: what it is told, what it sees, how it is confined."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outcore.errors import SandboxUnavailable
from outcore.kernel_sandbox import bwrap, seccomp
from outcore.kernel_sandbox.child import Child

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

    from outcore.kernel_sandbox.identity import Identity
    from outcore.kernel_sandbox.interpreter import Interpreter
    from outcore.kernel_sandbox.limits import Limits
    from outcore.kernel_sandbox.tiers import Confinement

LIBRARY = Path(__file__).resolve().parent / "inside"

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


def program(interpreter: Interpreter, library: str) -> list[str]:
    """Command of a kernel up to the path of its start file; `library` is the `inside` folder."""
    parent = str(Path(library).parent)
    # -I and -S: no environment, no user site, none of the host's .pth files.
    flags = ["-I", "-S", "-B", "-X", "utf8"]
    return [str(interpreter.executable), *flags, "-c", _START.format(parent=parent)]


def spawn(
    launch: Launch,
    cmd: list[str],
    start: Path,
    connection: Path,
    listeners: Mapping[int, socket.socket],
) -> Child:
    """Start `cmd` on the start file written to `start`.

    Args:
        connection: Jupyter's connection file, written already.
        listeners: listening sockets by the ports of that file.

    Raises:
        SandboxUnavailable: a folder the sandbox's user must read is closed to it.
        OSError: the process can't be started.
    """
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
        "late": launch.late,
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
        check_readable((*folders, LIBRARY, launch.context, *launch.context.iterdir()))
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


def check_readable(paths: tuple[Path, ...]) -> None:
    """See that a user who owns nothing can read these files and folders.

    Raises:
        SandboxUnavailable: one is closed to others; the message holds the fix.
    """
    for path in paths:
        mode = path.stat().st_mode
        wanted = 0o005 if path.is_dir() else 0o004
        if mode & wanted != wanted:
            raise SandboxUnavailable(
                f"{path} can be read by its owner alone, and the sandbox drops root: run "
                f"`chmod -R o+rX {path}`"
            )


def _memory(data: bytes) -> int:
    fd = os.memfd_create("arguments")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
