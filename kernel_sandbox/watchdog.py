"""Keeps a sandbox as a whole within its limits; the system's own count each process alone.

A thread of its own looks ten times a second, and a hundred times while much of the memory is
taken, since several processes can fill a gigabyte in a tenth of a second. What the code allocates
does not wait for the host's event loop. Where a control group caps the memory, it looks once a
second.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from outcore.kernel_sandbox.meter import used_below

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcore.kernel_sandbox.limits import Limits
    from outcore.kernel_sandbox.meter import Meter, Process

_SECONDS = 0.1
_SECONDS_CAPPED = 1.0
_SECONDS_CLOSE = 0.01
# Share of the memory from which on it looks so often.
_CLOSE = 0.25
# Looking closer takes longer, and may take these shares of the time.
_MEMORY_SHARE, _DISK_SHARE = 0.2, 0.05
# Processes of bubblewrap's own.
_OWN = 8


class Watchdog:
    """Watches one sandbox from `start` to `stop`.

    Args:
        meter: measures it.
        limits: what it may use.
        end: ends the sandbox, from any thread.
        folder: the folder its code may write to, where that is on the host's disk.
        capped: whether a control group holds its memory down.

    Attributes:
        verdict: why it was ended; None while it was not.
    """

    def __init__(
        self,
        meter: Meter,
        limits: Limits,
        end: Callable[[], None],
        *,
        folder: str | None = None,
        capped: bool = False,
    ) -> None:
        self.verdict: str | None = None
        self._meter = meter
        self._limits = limits
        self._end = end
        self._folder = folder
        self._capped = capped
        self._seconds = _SECONDS_CAPPED if capped else _SECONDS
        self._memory_pace = _Pace(_MEMORY_SHARE)
        self._disk_pace = _Pace(_DISK_SHARE)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it: after this nothing is ended any more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds):
            self.verdict = self.look()
            if self.verdict is not None:
                self._end()
                return

    def look(self) -> str | None:
        """Measure once; returns which limit was passed, as the end of "the kernel was"."""
        processes = self._meter.processes()
        tasks = sum(one.threads for one in processes)
        most = self._limits.processes
        if tasks > most + _OWN:
            return f"killed for its processes: {tasks:,} with their threads, the limit is {most:,}"
        return self._over_memory(processes) or self._over_disk(processes)

    def _over_memory(self, processes: list[Process]) -> str | None:
        most = self._limits.total
        in_sockets = self._meter.in_sockets(processes)
        held = self._meter.held(processes) + in_sockets
        if not self._capped:
            self._seconds = _SECONDS_CLOSE if held > _CLOSE * most else _SECONDS
        if held <= most or not self._memory_pace.due:
            return None
        with self._memory_pace:
            held = self._meter.shared_out(processes) + in_sockets
        if held <= most:
            return None
        return (
            f"killed for the memory it used: all its processes and files in memory together took "
            f"{_gib(held)} GiB, the limit is {_gib(most)} GiB"
        )

    def _over_disk(self, processes: list[Process]) -> str | None:
        if self._folder is None or not self._disk_pace.due:
            return None
        limits = self._limits
        with self._disk_pace:
            used, files = used_below(self._folder, limits.files)
            with contextlib.suppress(OSError):
                device = os.stat(self._folder).st_dev  # noqa: PTH116
                used += self._meter.unlinked(processes, device)
        if used > limits.tmp:
            return f"killed for its files: {used:,} bytes on the disk, the limit is {limits.tmp:,}"
        if files > limits.files:
            return (
                f"killed for its files: more than {limits.files:,} of them, or some that can't be "
                "looked at"
            )
        return None


class _Pace:
    """Keeps what is done in its context to a share of the time."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._began = self._next = 0.0

    @property
    def due(self) -> bool:
        """Whether it may be done again."""
        return time.monotonic() >= self._next

    def __enter__(self) -> None:
        self._began = time.monotonic()

    def __exit__(self, *_: object) -> None:
        took = time.monotonic() - self._began
        self._next = self._began + took / self._share


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f}"
