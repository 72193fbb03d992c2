"""Who the kernel runs as when the host runs as root."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Above what systemd gives to containers (0x6fffffff) and below the sign bit.
_FIRST = 0x7000_0000
_PER_PROCESS = 64
_PIDS = 1 << 22
_serial = itertools.count()


@dataclass(frozen=True, slots=True)
class Identity:
    """A user and group with no name, no files and no other processes."""

    uid: int
    gid: int

    def command(self, setpriv: str, program: Sequence[str]) -> list[str]:
        """`program`, run as this user and with no right of root's, by util-linux' setpriv."""
        return [
            setpriv,
            f"--reuid={self.uid}",
            f"--regid={self.gid}",
            "--clear-groups",
            "--bounding-set=-all",
            "--inh-caps=-all",
            "--no-new-privs",
            "--",
            *program,
        ]


def unused(pid: int) -> Identity:
    """Identity for one more kernel of the host process `pid`.

    Kernels get different ones, so that a limit on the number of processes holds for each.
    """
    serial = next(_serial)
    return Identity(
        uid=pick(Path("/proc/self/uid_map").read_text(), pid, serial),
        gid=pick(Path("/proc/self/gid_map").read_text(), pid, serial),
    )


def pick(id_map: str, pid: int, serial: int) -> int:
    """Id for kernel `serial` of process `pid`, among those the map of the user namespace has.

    Args:
        id_map: text of `/proc/self/uid_map`: lines of first id inside, first outside, count.
    """
    wanted = _FIRST + pid % _PIDS * _PER_PROCESS + serial % _PER_PROCESS
    ranges = [
        range(int(first), int(first) + int(count))
        for first, _, count in (line.split() for line in id_map.splitlines())
    ]
    if any(wanted in one for one in ranges):
        return wanted
    # In a container with few ids the highest are the least likely to own files.
    last = max(one[-1] for one in ranges)
    return last - 1 - serial % _PER_PROCESS
