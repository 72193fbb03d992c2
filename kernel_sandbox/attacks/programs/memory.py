"""Memory in every form, until `goal` bytes are in use or something says no."""

from __future__ import annotations

import array
import contextlib
import ctypes
import mmap
import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from .attack import Aim, Stopped, attack
from .line import keep
from .machine import call

_OUTSIDE = "it would fill the memory of the machine"
_MIB = 1 << 20
_STEP = 32 * _MIB
_HOLD = 3.0
_NORESERVE = 0x4000
_FILLING = """
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
for _ in range(16):
    if not os.fork():
        full = bytearray(b"x") * ({goal} // 16)
        time.sleep(600)
time.sleep(600)
"""


def _filled(size: int) -> mmap.mmap:
    """Memory that is really there."""
    held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    for at in range(0, size, mmap.PAGESIZE):
        held[at] = 1
    return held


def _until_the_goal(aim: Aim, take: Callable[[], int]) -> str:
    """Call `take`, which returns bytes, until it raises or the goal is reached; hold it a while."""
    used = 0
    try:
        while used < aim.goal:
            used += take()
    except (MemoryError, OSError) as error:
        return f"{type(error).__name__} after {used // _MIB} MiB"
    time.sleep(_HOLD)
    return f"used {used // _MIB} MiB"


@attack(expected="contained", control=_OUTSIDE)
def objects(aim: Aim) -> str:
    """Python objects without end."""
    held: list[bytearray] = []

    def take() -> int:
        held.append(bytearray(b"x" * _STEP))
        return _STEP

    return _until_the_goal(aim, take)


@attack(expected="contained", control=_OUTSIDE)
def one_huge_object(aim: Aim) -> str:
    """One object of all the memory there is."""
    try:
        held = bytearray(aim.goal)
    except MemoryError:
        return "MemoryError"
    return f"{len(held)} bytes"


@attack(expected="contained", control=_OUTSIDE)
def private_mappings(aim: Aim) -> str:
    """Anonymous mappings without end."""
    held: list[mmap.mmap] = []

    def take() -> int:
        held.append(_filled(_STEP))
        return _STEP

    return _until_the_goal(aim, take)


@attack(expected="contained", control=_OUTSIDE)
def shared_mappings(aim: Aim) -> str:
    """Shared anonymous mappings, which a process can let go of without freeing them."""
    held: list[mmap.mmap] = []

    def take() -> int:
        one = mmap.mmap(-1, _STEP)
        for at in range(0, _STEP, mmap.PAGESIZE):
            one[at] = 1
        held.append(one)
        return _STEP

    return _until_the_goal(aim, take)


@attack(expected="contained", control=_OUTSIDE)
def memory_of_native_code(aim: Aim) -> str:
    """Memory that libc sets aside, past Python."""
    libc: Any = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]

    def take() -> int:
        at = libc.malloc(_STEP)
        if not at:
            raise MemoryError
        ctypes.memset(at, 1, _STEP)
        return _STEP

    return _until_the_goal(aim, take)


@attack(expected="contained", control=_OUTSIDE)
def locked_memory(aim: Aim) -> str:
    """Memory that can't be paged out."""
    held: list[mmap.mmap] = []
    libc: Any = ctypes.CDLL(None, use_errno=True)

    def take() -> int:
        one = _filled(_STEP)
        held.append(one)
        address = ctypes.addressof(ctypes.c_char.from_buffer(one))
        if libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(_STEP)):
            raise OSError(ctypes.get_errno(), "mlock")
        return _STEP

    return _until_the_goal(aim, take)


def _children(count: int, work: Callable[[], object]) -> list[int]:
    pids = []
    with contextlib.suppress(OSError):
        for _ in range(count):
            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(BaseException):
                    work()
                os._exit(0)
            pids.append(pid)
    return pids


def _waited(pids: list[int]) -> str:
    ended = [os.waitpid(pid, 0)[1] for pid in pids]
    return f"{len(ended)} children, {sum(os.WIFSIGNALED(one) for one in ended)} of them killed"


@attack(expected="contained", control=_OUTSIDE, seconds=20)
def memory_of_many_children(aim: Aim) -> str:
    """Children that each stay within their limit, and together use all memory there is."""
    each = 192 * _MIB

    def work() -> None:
        held = _filled(each)
        time.sleep(_HOLD)
        held.close()

    return _waited(_children(aim.goal // each + 1, work))


@attack(expected="contained", control=_OUTSIDE, seconds=20)
def memory_shared_by_children(aim: Aim) -> str:
    """Shared memory of children that have let go of it in turn, but not all at once."""
    each = 192 * _MIB

    def work() -> None:
        with mmap.mmap(-1, each) as held:
            for at in range(0, each, mmap.PAGESIZE):
                held[at] = 1
            time.sleep(_HOLD)

    return _waited(_children(aim.goal // each + 1, work))


@attack(expected="contained", control=_OUTSIDE, seconds=20)
def generations_of_children(aim: Aim) -> str:
    """Children of children, whose parents have gone: daemons that each hold memory."""
    each = 192 * _MIB

    def work() -> None:
        os.setsid()
        if os.fork() == 0:
            held = _filled(each)
            time.sleep(_HOLD)
            held.close()
        os._exit(0)

    said = _waited(_children(aim.goal // each + 1, work))
    time.sleep(_HOLD)
    return said


@attack(expected="contained", control=_OUTSIDE, seconds=20)
def stacks_of_threads(aim: Aim) -> str:
    """Threads with stacks as large as they may be."""
    size = 64 * _MIB
    gate = threading.Event()
    before = threading.stack_size(size)
    threads = []
    try:
        for _ in range(aim.goal // size + 1):
            thread = threading.Thread(target=_deep, args=(gate,), daemon=True)
            thread.start()
            threads.append(thread)
    except (RuntimeError, MemoryError) as error:
        return f"{type(error).__name__} after {len(threads)} threads"
    finally:
        gate.set()
        threading.stack_size(before)
    return f"{len(threads)} threads"


def _deep(gate: threading.Event) -> None:
    held = (ctypes.c_char * (8 * _MIB))()
    ctypes.memset(held, 1, ctypes.sizeof(held))
    gate.wait(_HOLD)


@attack(expected="contained", control=_OUTSIDE, seconds=20)
def buffers_of_pipes(aim: Aim) -> str:
    """Pipes that are filled and never read: memory of no process."""

    def take() -> int:
        read, write = os.pipe()
        os.set_blocking(write, False)
        held.append((read, write))
        with contextlib.suppress(OSError):
            import fcntl

            fcntl.fcntl(write, 1031, _MIB)
        size = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                size += os.write(write, b"x" * 65536)
        return size

    held: list[tuple[int, int]] = []
    try:
        return _until_the_goal(aim, take)
    finally:
        for pair in held:
            for fd in pair:
                os.close(fd)


def _full_sockets(goal: int, seconds: float) -> int:
    """Socket pairs filled by this process, and held; returns bytes."""
    held: list[socket.socket] = []
    used = 0
    data = b"x" * 65536
    try:
        while used < goal:
            pair = socket.socketpair()
            held += pair
            for one in pair:
                one.setblocking(False)
                with contextlib.suppress(OSError):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 * _MIB)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        used += one.send(data)
    except OSError:
        pass
    time.sleep(seconds)
    for one in held:
        one.close()
    return used


@attack(expected="contained", control=_OUTSIDE, seconds=20)
def buffers_of_sockets(aim: Aim) -> str:
    """Sockets that are filled and never read: memory of no process."""
    return f"{_full_sockets(aim.goal, 1.0) // _MIB} MiB"


@attack(expected="contained", control=_OUTSIDE, seconds=30)
def buffers_of_sockets_of_children(aim: Aim) -> str:
    """The same by many processes, each within its number of descriptors."""
    each = 192 * _MIB
    return _waited(_children(aim.goal // each + 1, lambda: _full_sockets(each, _HOLD)))


@attack(expected="contained", control=_OUTSIDE)
def descriptors_in_flight(aim: Aim) -> str:
    """Descriptors sent to nobody, and closed: they count for no process."""
    sent = 0
    held: list[socket.socket] = []
    try:
        for _ in range(64):
            pair = socket.socketpair()
            held += pair
            pair[0].setblocking(False)
            for _ in range(100):
                fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
                try:
                    pair[0].sendmsg(
                        [b"x"],
                        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())],
                    )
                    sent += len(fds)
                finally:
                    for fd in fds:
                        os.close(fd)
    except OSError as error:
        return f"{error.strerror} after {sent}; {aim.mark}"
    finally:
        for one in held:
            one.close()
    return f"{sent} sent"


@attack(expected="contained", control=_OUTSIDE)
def files_in_memory(aim: Aim) -> str:
    """Files that live in memory and in no folder."""

    def take() -> int:
        fd = call("memfd_create", aim.mark.encode(), 0)
        for _ in range(32):
            os.write(fd, b"x" * _MIB)
        return _STEP

    return _until_the_goal(aim, take)


@attack(expected="contained", control=_OUTSIDE)
def address_space(aim: Aim) -> str:
    """Address space without end, as page tables take memory too."""
    held = []
    try:
        for _ in range(2000):
            held.append(mmap.mmap(-1, 1 << 30, flags=mmap.MAP_PRIVATE | _NORESERVE))
    except OSError as error:
        return f"{error.strerror} after {len(held)} GiB; {aim.mark}"
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    raise Stopped(f"{len(held)} GiB, limit {soft}")


@attack("kernel", expected="contained", control=_OUTSIDE)
def while_the_next_kernel_starts(aim: Aim) -> str:
    """What was kept for the next kernel fills the memory before that one takes its first cell."""
    keep(_FILLING.format(goal=aim.goal))
    os._exit(1)
