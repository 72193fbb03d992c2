"""bubblewrap's argument list for one kernel: what it sees, and nothing else.

Only flags of bubblewrap 0.8 (Debian 12) are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from outcore.kernel_sandbox.identity import Identity

CONTEXT = "/context"
LIBRARY = "/opt/outcore/inside"
RUN = "/run/outcore"
DISKS = ("/tmp", "/dev/shm")  # noqa: S108 - the sandbox's own

# What setpriv needs to become someone else and to give up the rest for good.
_DROP_CAPS = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")
ROOT_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
ETC = ("ld.so.cache", "localtime", "alternatives")


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or folder of the host, seen read-only at `target`."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True)
class Box:
    """Everything that decides the argument list.

    Attributes:
        binds: what is seen of the host besides `/usr`.
        tmp: size of `/tmp` in bytes.
        shm: size of `/dev/shm` in bytes.
        identity: whom the kernel runs as, for a host that is root. None for a host that is
            not: the kernel then runs as the same user, in a user namespace of its own.
        setpriv: path of util-linux' setpriv, needed with `identity`.
    """

    binds: tuple[Bind, ...]
    tmp: int
    shm: int
    identity: Identity | None = None
    setpriv: str = "/usr/bin/setpriv"


def arguments(box: Box, *, seccomp_fd: int, status_fd: int, root: Path = Path("/")) -> list[str]:
    """Arguments for bwrap, without its path and without the command.

    Args:
        seccomp_fd: descriptor holding the BPF program.
        status_fd: descriptor that receives the pid of the sandbox as JSON.
        root: the host's root folder, looked at for the links `/bin`, `/lib` and so on.
    """
    args = ["--die-with-parent", "--unshare-ipc", "--unshare-pid", "--unshare-net"]
    args += ["--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox", "--cap-drop", "ALL"]
    if box.identity is None:
        args += ["--unshare-user", "--disable-userns"]
    else:
        # A user namespace made by root would map the kernel onto root's own files. As real
        # root bwrap needs none, and can mount what only root can read.
        for cap in _DROP_CAPS:
            args += ["--cap-add", cap]
    args += ["--ro-bind", "/usr", "/usr"]
    for name in ROOT_LINKS:
        host = root / name
        if host.is_symlink():
            args += ["--symlink", str(host.readlink()), f"/{name}"]
        elif host.is_dir():
            args += ["--ro-bind", str(host), f"/{name}"]
    # Left to itself bwrap may close the folders above a target to all but root.
    args += ["--perms", "0755", "--dir", "/etc"]
    for name in ETC:
        args += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    args += ["--proc", "/proc", "--dev", "/dev"]
    # Owned by root but for all to write, as everywhere.
    args += ["--perms", "1777", "--size", str(box.shm), "--tmpfs", "/dev/shm"]  # noqa: S108
    args += ["--perms", "1777", "--size", str(box.tmp), "--tmpfs", "/tmp"]  # noqa: S108
    for folder in _above(bind.target for bind in box.binds):
        args += ["--perms", "0755", "--dir", folder]
    for bind in box.binds:
        args += ["--ro-bind", str(bind.source), bind.target]
    args += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"]  # noqa: S108
    return [*args, "--json-status-fd", str(status_fd), "--seccomp", str(seccomp_fd)]


def _above(targets: Iterable[str]) -> list[str]:
    """Folders that lead to `targets`, each before those in it; none of `/usr`."""
    folders = {str(one) for target in targets for one in PurePosixPath(target).parents}
    return sorted(one for one in folders - {"/"} if not one.startswith("/usr"))


def command(box: Box, program: Sequence[str]) -> list[str]:
    """What runs in the sandbox: `program`, by way of setpriv where a user is to be dropped."""
    if box.identity is None:
        return list(program)
    return box.identity.command(box.setpriv, program)
