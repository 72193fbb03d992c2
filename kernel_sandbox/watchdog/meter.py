"""What the processes of one sandbox use together, read from /proc."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_READ = 1 << 16
_KIB = 1 << 10
_HELD = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB", re.MULTILINE)
_SHARE = re.compile(rb"^(?:Pss_Anon|Pss_Shmem|SwapPss):\s+(\d+) kB", re.MULTILINE)
# What Linux keeps for each file of a file system in memory besides what is in it.
_FILE_BYTES = 1536
# Where so many descriptors are open, sockets are counted at the most a full one holds.
_MANY_OPEN = 2000
_SOCKET_BYTES = 208 * _KIB


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the sandbox.

    Attributes:
        pid: as the host sees it.
        threads: how many it has.
    """

    pid: int
    threads: int


@dataclass(frozen=True, slots=True)
class Meter:
    """Adds up what a process and all below it use.

    Attributes:
        top: pid of the first of them.
        disks: folders where file systems that live in memory are mounted, as the host reaches
            them.
        proc: where the process file system is.
    """

    top: int
    disks: tuple[str, ...] = ()
    proc: str = "/proc"

    def processes(self) -> list[Process]:
        """Those there are; one that ends meanwhile may be missing, with those it leaves."""
        found: list[Process] = []
        pending = [self.top]
        for pid in pending:
            try:
                threads = os.listdir(f"{self.proc}/{pid}/task")  # noqa: PTH208 - ten times a second
            except OSError:
                continue
            found.append(Process(pid, len(threads)))
            for thread in threads:
                pending += map(int, self._read(f"{pid}/task/{thread}/children").split())
        return found

    def held(self, processes: Iterable[Process]) -> int:
        """Bytes of memory, at most: what processes share is counted for each of them."""
        return sum(map(self._held, processes)) + self._on_disks()

    def shared_out(self, processes: Iterable[Process], most: int) -> int:
        """Bytes of memory; what processes share is counted once. Takes longer than `held`.

        Where it is more than `most` the rest is not looked at: of processes that fill their memory
        Linux tells slowly, and only as fast as they let it.
        """
        total = self._on_disks()
        for process in sorted(processes, key=self._held, reverse=True):
            if total > most:
                break
            found = _SHARE.findall(self._read(f"{process.pid}/smaps_rollup"))
            # Not to be read for a process that has hidden itself.
            total += _bytes(found) if found else self._held(process)
        return total

    def in_sockets(self, processes: Iterable[Process]) -> int:
        """Bytes that may wait in sockets; 0 while few files are open."""
        pids = [process.pid for process in processes]
        opened = {pid: self._descriptors(pid) for pid in pids}
        if sum(map(len, opened.values())) < _MANY_OPEN:
            return 0
        sockets = {
            target
            for pid, names in opened.items()
            for name in names
            if (target := self._target(f"{pid}/fd/{name}")).startswith("socket:")
        }
        return len(sockets) * _SOCKET_BYTES

    def unlinked(self, processes: Iterable[Process], device: int) -> int:
        """Bytes on a file system in files that have no name any more, but are still open."""
        sizes = {}
        for process in processes:
            for name in self._descriptors(process.pid):
                with contextlib.suppress(OSError):
                    file = os.stat(f"{self.proc}/{process.pid}/fd/{name}")  # noqa: PTH116
                    if file.st_dev == device and not file.st_nlink:
                        sizes[file.st_ino] = file.st_blocks * 512
        return sum(sizes.values())

    def _held(self, process: Process) -> int:
        return _bytes(_HELD.findall(self._read(f"{process.pid}/status")))

    def _on_disks(self) -> int:
        total = 0
        for disk in self.disks:
            with contextlib.suppress(OSError):
                found = os.statvfs(disk)
                total += (found.f_blocks - found.f_bfree) * found.f_frsize
                total += (found.f_files - found.f_ffree) * _FILE_BYTES
        return total

    def _descriptors(self, pid: int) -> list[str]:
        with contextlib.suppress(OSError):
            return os.listdir(f"{self.proc}/{pid}/fd")  # noqa: PTH208
        return []

    def _target(self, name: str) -> str:
        with contextlib.suppress(OSError):
            return os.readlink(f"{self.proc}/{name}")  # noqa: PTH115
        return ""

    def _read(self, name: str) -> bytes:
        # open() and its buffers take three times as long.
        try:
            fd = os.open(f"{self.proc}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            return os.read(fd, _READ)
        except OSError:
            return b""
        finally:
            os.close(fd)


def _bytes(kib: Iterable[bytes]) -> int:
    return sum(map(int, kib)) * _KIB


def used_below(folder: str, most: int) -> tuple[int, int]:
    """Bytes and number of files and folders in a folder; the count stops past `most` files.

    One that can't be looked into counts as more than `most`: it may hold anything.
    """
    total = count = 0
    pending = [folder]
    while pending and count <= most:
        path = pending.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    count += 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    with contextlib.suppress(FileNotFoundError):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
        except (FileNotFoundError, NotADirectoryError):
            continue  # gone meanwhile
        except OSError:
            # Too deep, or closed. It is not opened up: what is at the path may be a link by now.
            count = most + 1
    return total, count
