"""A dry run's bounds: it ends by itself, and nothing it does is seen outside it.

Of `/proc` it may have no more than the kernel's own folder, and then reads there what was true
of the process it is a copy of.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import platform
import re
import resource
import signal
import stat
from pathlib import Path
from typing import Any

from . import allowed

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_MODE_FILTER, _TSYNC = 1, 1
_PAGE = resource.getpagesize()
# What a dry run may use more of than the kernel does already, and what it needs.
_MEMORY = 1 << 30
_LEAST_MEMORY = 32 << 20
_HELD = re.compile(rb"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+) kB", re.MULTILINE)
_ROUND_UP_SECONDS = 1
_MAP_FIXED = 0x10
_COPIED = 64 << 20
_SHARED = re.compile(
    rb"^(?P<start>[0-9a-f]+)-(?P<end>[0-9a-f]+) .w.s \S+ \S+ \S+ *(?P<path>.*)$", re.MULTILINE
)


class _Filter(ctypes.Structure):
    """The kernel's `struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def room(total: int) -> int:
    """Bytes that a copy of this process may come to hold beside those it is made with.

    What either of them touches is no longer shared, at worst all of it. As much again stays for
    the process itself.

    Args:
        total: bytes that all processes may hold together.

    Raises:
        OSError: there are too few.
    """
    held = sum(int(kib) << 10 for kib in _HELD.findall(_told_of_this("status")))
    left = (total - 2 * held) // 2
    if left < _LEAST_MEMORY:
        raise OSError(errno.ENOMEM, "a copy would take more memory than there may be")
    return min(_MEMORY, left)


def end_in(seconds: float, parent: int, memory: int) -> None:
    """Have the kernel end this process after `seconds`, or with the thread that made it.

    It may use `memory` bytes more than it does already.
    """
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM, signal.SIGINT))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    whole = int(seconds) + _ROUND_UP_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (whole, whole))
    pages = int(_told_of_this("statm").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * _PAGE + memory
    if soft == resource.RLIM_INFINITY or most < soft:
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    # Where memory runs out, this process is the one to go.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def own_descriptors(report: int) -> tuple[int, ...]:
    """Cut every open file loose from the parent's; returns those that may be written to.

    The position in a file is shared with the parent, so files are opened anew where they
    stood. Pipes, sockets and what is open for writing alone become `/dev/null`.
    """
    writable = [report]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for fd in _open_descriptors():
        if fd in (report, null):
            continue
        try:
            fresh = _reopened(fd)
        except OSError:
            fresh = None
        inherited = _inherited(fd)
        if inherited is None:
            continue
        os.dup2(null if fresh is None else fresh, fd, inheritable=inherited)
        if fresh is None:
            writable.append(fd)
        else:
            os.close(fresh)
    return tuple(writable)


def own_memory() -> None:
    """Put a private copy in the place of all memory that others could see this process write.

    Raises:
        OSError: it is a device's, or too much.
    """
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    shared = [*_SHARED.finditer(_told_of_this("maps"))]
    bounds = [(int(one["start"], 16), int(one["end"], 16)) for one in shared]
    if sum(end - start for start, end in bounds) > _COPIED or any(map(_is_device, shared)):
        raise OSError(errno.ENOTSUP, "memory that can't be copied")
    for start, end in bounds:
        size = end - start
        held = ctypes.string_at(start, size)
        flags = _MAP_FIXED | mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        at = libc.mmap(
            *(ctypes.c_void_p(start), ctypes.c_size_t(size)),
            *(mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, ctypes.c_long(0)),
        )
        if at != start:
            raise OSError(ctypes.get_errno(), "memory that can't be copied")
        ctypes.memmove(start, held, size)


def _told_of_this(name: str) -> bytes:
    try:
        return Path("/proc/self", name).read_bytes()
    except PermissionError:
        return Path("/proc", str(os.getppid()), name).read_bytes()


def _open_descriptors() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208 - not in the way
    except PermissionError:
        return [*range(resource.getrlimit(resource.RLIMIT_NOFILE)[0])]


def _is_device(mapped: re.Match[bytes]) -> bool:
    path: bytes = mapped["path"]
    return path.startswith(b"/dev/") and not path.startswith((b"/dev/shm/", b"/dev/zero"))


def _inherited(fd: int) -> bool | None:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return None


def _reopened(fd: int) -> int | None:
    kind = os.fstat(fd).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        return None
    if fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
        return None
    position = os.lseek(fd, 0, os.SEEK_CUR)
    fresh = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    os.lseek(fresh, position, os.SEEK_SET)
    return fresh


def shut(writable: tuple[int, ...]) -> None:
    """Give up all system calls but those of `allowed`.

    Raises:
        OSError: the kernel refuses the filter.
        KeyError: there is no table for this machine.
    """
    put_on(allowed.program(platform.machine(), writable))


def put_on(code: bytes, *, all_threads: bool = False) -> None:
    """Load a seccomp filter for this thread and what comes of it, or for the whole process.

    Raises:
        OSError: the kernel refuses it.
        KeyError: this machine is not known.
    """
    libc: Any = ctypes.CDLL(None, use_errno=True)
    filtered = _Filter(len(code) // 8, code)
    call, flags = _SECCOMP[platform.machine()], _TSYNC if all_threads else 0
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(
        call, _SET_MODE_FILTER, flags, ctypes.byref(filtered)
    ):
        raise OSError(ctypes.get_errno(), "the filter of system calls can't be put on")
