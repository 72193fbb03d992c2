"""How much of the host an attack takes: memory, and time of its event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from types import TracebackType

_EVERY = 0.1
_KIB = 1024
# What Linux needs for a file in memory besides its content.
_ENTRY = 1024
# Of /proc/meminfo: what is given to processes, files and the lists of free pages. What is left
# of all memory is the kernel's own: buffers of pipes and sockets, page tables, file entries.
_ACCOUNTED = ("MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "SReclaimable")


class Gauge:
    """Watches while its context lasts.

    Attributes:
        kernel: most memory of the processes below this one, apart from those there before,
            with what their folders in memory hold, in bytes.
        linux: most that Linux' own memory has grown by, in bytes. Other programs of the machine
            count too.
        tasks: most processes and threads below this one, apart from those there before.
        host: most that this process has grown by, in bytes.
        stall: longest time the event loop did not turn, in seconds of the processor it used:
            of others' the loop waits too, on a busy machine.
    """

    def __init__(self, others: set[psutil.Process]) -> None:
        self.kernel = self.linux = self.host = self.tasks = 0
        self.stall = 0.0
        self._others = others
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="gauge")
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Gauge:
        self._ticking = asyncio.create_task(self._tick())
        self._thread.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        assert self._ticking is not None
        self._ticking.cancel()
        await asyncio.to_thread(self._thread.join)

    async def _tick(self) -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(_EVERY)
            self.stall = max(self.stall, time.thread_time() - before)

    def _watch(self) -> None:
        this = psutil.Process()
        own, linux = this.memory_info().rss, _linux()
        while not self._stopped.wait(_EVERY):
            self.host = max(self.host, this.memory_info().rss - own)
            now = _linux()
            # What the attack before this one took may be on its way back.
            linux = min(linux, now)
            self.linux = max(self.linux, now - linux)
            self.kernel = max(self.kernel, self._below(this))

    def _below(self, this: psutil.Process) -> int:
        below = [one for one in this.children(recursive=True) if one not in self._others]
        folders: dict[int, int] = {}
        for one in below:
            folders |= _in_memory(one.pid)
        self.tasks = max(self.tasks, sum(_tasks(one.pid) for one in below))
        return sum(_share(one.pid) for one in below) + sum(folders.values())


def _share(pid: int) -> int:
    """Memory of a process, what it shares with others divided by their number."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * _KIB
    return 0


def _tasks(pid: int) -> int:
    try:
        return Path(f"/proc/{pid}/task").stat().st_nlink - 2
    except OSError:
        return 0


def _in_memory(pid: int) -> dict[int, int]:
    """Bytes in the folders in memory that a sandboxed process has, by file system."""
    found = {}
    for name in ("tmp", "dev/shm"):
        with contextlib.suppress(OSError):
            path = Path(f"/proc/{pid}/root/{name}")
            device = path.stat().st_dev
            if device == Path(f"/{name}").stat().st_dev:
                continue
            space = os.statvfs(path)
            used = (space.f_blocks - space.f_bfree) * space.f_frsize
            found[device] = used + (space.f_files - space.f_ffree) * _ENTRY
    return found


def _linux() -> int:
    told = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        told[name] = int(rest.split()[0]) * _KIB
    return told["MemTotal"] - sum(told.get(name, 0) for name in _ACCOUNTED)
