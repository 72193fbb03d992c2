"""Holds what a sandbox uses against its limits; the system's own count each process alone.

Ten times a second, and a hundred times while much of the memory is taken, since several processes
can fill a gigabyte in a tenth of a second. Where a control group caps the memory, once a second.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import NamedTuple

from .meter import Meter, Process, used_below

_SECONDS = 0.1
_SECONDS_CAPPED = 1.0
_SECONDS_CLOSE = 0.01
# Share of the memory from which on it looks so often.
_CLOSE = 0.25
# Looking closer takes longer, and may take these shares of the time: far from the limit and near.
_FAR_SHARE, _NEAR_SHARE, _DISK_SHARE = 0.2, 0.5, 0.05
# Bytes that processes can fill in a second, on as many cores as the largest machines have.
_FILLED = 8 << 30
# Processes of bubblewrap's own.
_OWN = 8


class Bounds(NamedTuple):
    """What a sandbox as a whole may use.

    Attributes:
        processes: processes and threads together.
        total: memory of all processes together, in bytes.
        tmp: bytes in its folder, where that is on the host's disk.
        files: files and folders there.
    """

    processes: int
    total: int
    tmp: int
    files: int


class Looks:
    """Looks at one sandbox.

    Args:
        meter: measures it.
        bounds: what it may use.
        folder: the folder its code may write to, where that is on the host's disk.
        capped: whether a control group holds its memory down.

    Attributes:
        seconds: until the next look.
    """

    def __init__(
        self, meter: Meter, bounds: Bounds, *, folder: str | None = None, capped: bool = False
    ) -> None:
        self.seconds = _SECONDS_CAPPED if capped else _SECONDS
        self._meter = meter
        self._bounds = bounds
        self._folder = folder
        self._capped = capped
        self._closer_from = self._disk_from = 0.0

    def look(self) -> str | None:
        """Measure once; returns which limit was passed, as the end of "the kernel was"."""
        processes = self._meter.processes()
        tasks = sum(one.threads for one in processes)
        most = self._bounds.processes
        if tasks > most + _OWN:
            return f"killed for its processes: {tasks:,} with their threads, the limit is {most:,}"
        return self._over_memory(processes) or self._over_disk(processes)

    def _over_memory(self, processes: list[Process]) -> str | None:
        most = self._bounds.total
        in_sockets = self._meter.in_sockets(processes)
        seen = self._meter.held(processes) + in_sockets
        if not self._capped:
            self.seconds = _SECONDS_CLOSE if seen > _CLOSE * most else _SECONDS
        began = time.monotonic()
        if seen <= most or began < self._closer_from:
            return None
        held = self._meter.shared_out(processes, most - in_sockets) + in_sockets
        if held > most:
            return (
                f"killed for the memory it used: all its processes and files in memory together "
                f"took {_gib(held)} GiB or more, the limit is {_gib(most)} GiB"
            )
        room = most - held
        far = min(_pause(began, _FAR_SHARE), room / _FILLED)
        pause = max(far, _pause(began, _NEAR_SHARE))
        # While this took its time they may have filled the room.
        grown = self._meter.held(self._meter.processes()) + in_sockets - seen
        self._closer_from = time.monotonic() + (0 if grown > room else pause)
        return None

    def _over_disk(self, processes: list[Process]) -> str | None:
        began = time.monotonic()
        if self._folder is None or began < self._disk_from:
            return None
        bounds = self._bounds
        used, files = used_below(self._folder, bounds.files)
        with contextlib.suppress(OSError):
            device = os.stat(self._folder).st_dev  # noqa: PTH116
            used += self._meter.unlinked(processes, device)
        self._disk_from = time.monotonic() + _pause(began, _DISK_SHARE)
        if used > bounds.tmp:
            return f"killed for its files: {used:,} bytes on the disk, the limit is {bounds.tmp:,}"
        if files > bounds.files:
            return (
                f"killed for its files: more than {bounds.files:,} of them, or some that can't be "
                "looked at"
            )
        return None


def _pause(began: float, share: float) -> float:
    """Seconds after which what began then, and is done now, has taken this share of the time."""
    return (time.monotonic() - began) * (1 / share - 1)


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f}"
