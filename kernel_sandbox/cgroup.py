"""A control group of Linux (version 2) for one sandbox: memory and processes, capped together.

It is used where a part of the hierarchy was handed to this user: by systemd, which says so in
an attribute of the folder, or in a container without systemd, by the folder's own rights.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outcore.kernel_sandbox.limits import Limits

_MOUNT = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")
_SYSTEMD = Path("/run/systemd/system")
_NEEDED = {"memory", "pids"}
_DELEGATED = ("user.delegate", "trusted.delegate")
_EMPTY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A group made for one sandbox.

    Attributes:
        folder: its folder in the hierarchy.
    """

    folder: Path

    @classmethod
    def create(cls, parent: Path, name: str, limits: Limits) -> Cgroup:
        """New group with the caps of `limits`.

        Args:
            parent: see `delegated`.
            name: of the group.
            limits: of the sandbox.

        Raises:
            OSError: it can't be made, or can't be capped.
        """
        group = cls(parent / name)
        group.folder.mkdir()
        try:
            group._write("memory.max", limits.total)
            group._write("pids.max", 2 * limits.processes)
            # Where its memory ends all of it ends, not a process that happens to be the largest.
            group._write("memory.oom.group", 1)
            # A machine without swap has no such file.
            with contextlib.suppress(FileNotFoundError):
                group._write("memory.swap.max", 0)
        except OSError:
            group.remove()
            raise
        return group

    def take(self, pids: Iterable[int]) -> None:
        """Move processes into it; what they start later is in it from the beginning.

        Raises:
            OSError: one can't be moved.
        """
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                self._write("cgroup.procs", pid)

    @property
    def ran_out(self) -> bool:
        """Whether Linux has killed processes of it for their memory."""
        try:
            events = self.folder.joinpath("memory.events").read_text()
        except OSError:
            return False
        counts = dict(line.split() for line in events.splitlines())
        return any(int(counts.get(name, 0)) for name in ("oom_kill", "oom_group_kill"))

    def remove(self) -> None:
        """Remove the group; its processes have been killed."""
        until = time.monotonic() + _EMPTY_SECONDS
        while True:
            try:
                self.folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                # Its last process is still being cleared away.
                if time.monotonic() > until:
                    return
                time.sleep(0.01)
            else:
                return

    def _write(self, name: str, value: int) -> None:
        # Opened as it is: a file that isn't there must not be made.
        fd = os.open(self.folder / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(value).encode())
        finally:
            os.close(fd)


def delegated(mount: Path = _MOUNT, own: Path = _OWN, systemd: Path = _SYSTEMD) -> Path | None:
    """The nearest group above this process in which it may make capped ones; None without one.

    Args:
        mount: where the hierarchy is.
        own: the file that tells this process' group.
        systemd: there if systemd runs the machine.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    name = next((line[3:] for line in lines if line.startswith("0::")), None)
    if name is None:
        return None
    group = mount / name.lstrip("/")
    for folder in (group, *group.parents):
        if not folder.is_relative_to(mount):
            break
        if _is_open(folder) and (not systemd.exists() or _is_handed(folder, mount)):
            return folder
    return None


def _is_open(folder: Path) -> bool:
    """Whether groups below it can be capped, and processes of ours moved there."""
    try:
        enabled = folder.joinpath("cgroup.subtree_control").read_text().split()
    except OSError:
        return False
    writable = (folder, folder / "cgroup.procs")
    return set(enabled) >= _NEEDED and all(os.access(one, os.W_OK) for one in writable)


def _is_handed(folder: Path, mount: Path) -> bool:
    """Whether systemd has given up this group, or one above it."""
    for one in (folder, *folder.parents):
        if one == mount or not one.is_relative_to(mount):
            return False
        for name in _DELEGATED:
            with contextlib.suppress(OSError):
                if os.getxattr(one, name) == b"1":
                    return True
    return False
