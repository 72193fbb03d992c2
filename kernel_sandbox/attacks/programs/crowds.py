"""Processes, threads and descriptors without number."""

from __future__ import annotations

import mmap
import os
import signal
import threading
import time

from .attack import Aim, attack

_OUTSIDE = "it would leave the machine without processes"
# Several times what a kernel may have; an attack that is not stopped goes no further.
_MOST = 400


@attack(expected="contained", control=_OUTSIDE)
def children(aim: Aim) -> str:
    """Children without number."""
    pids: list[int] = []
    try:
        for _ in range(_MOST):
            pid = os.fork()
            if pid == 0:
                time.sleep(30)
                os._exit(0)
            pids.append(pid)
    except OSError as error:
        return f"{error.strerror} after {len(pids)}; {aim.mark}"
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return f"{len(pids)} children"


@attack(expected="contained", control=_OUTSIDE, seconds=4)
def fork_bomb(aim: Aim) -> str:
    """Every process makes more, and so do those."""
    counter = mmap.mmap(-1, mmap.PAGESIZE)
    until = time.monotonic() + 2
    first = os.getpid()
    while time.monotonic() < until and counter.find(b"\0") < _MOST:
        try:
            if os.fork() == 0:
                counter[counter.find(b"\0")] = 1
        except OSError:
            time.sleep(0.02)
    if os.getpid() != first:
        time.sleep(max(0, until - time.monotonic()))
        os._exit(0)
    return f"{counter.find(bytes(1))} processes; {aim.mark}"


@attack(expected="contained", control=_OUTSIDE)
def zombies(aim: Aim) -> str:
    """Processes that have ended and are never waited for."""
    made = 0
    try:
        for _ in range(_MOST):
            if os.fork() == 0:
                os._exit(0)
            made += 1
    except OSError as error:
        return f"{error.strerror} after {made}; {aim.mark}"
    finally:
        for _ in range(made):
            os.wait()
    return f"{made} zombies"


@attack(expected="contained", control=_OUTSIDE)
def threads(aim: Aim) -> str:
    """Threads without number."""
    gate = threading.Event()
    made = 0
    try:
        for _ in range(_MOST):
            threading.Thread(target=gate.wait, args=(20,), daemon=True).start()
            made += 1
    except (RuntimeError, MemoryError) as error:
        return f"{error} after {made}; {aim.mark}"
    finally:
        gate.set()
    return f"{made} threads"


@attack(expected="contained", control=_OUTSIDE)
def descriptors(aim: Aim) -> str:
    """Open files without number."""
    held: list[int] = []
    try:
        for _ in range(1_000_000):
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError as error:
        return f"{error.strerror} after {len(held)}; {aim.mark}"
    finally:
        for fd in held:
            os.close(fd)
    return f"{len(held)} files"


@attack(expected="contained", control=_OUTSIDE)
def descriptors_of_children(aim: Aim) -> str:
    """Open files of many processes, each within its limit: the machine's table fills up."""
    pids: list[int] = []
    try:
        for _ in range(40):
            pid = os.fork()
            if pid == 0:
                try:
                    while True:
                        os.open("/dev/null", os.O_RDONLY)
                except OSError:
                    time.sleep(1.5)
                    os._exit(0)
            pids.append(pid)
    except OSError:
        pass
    for pid in pids:
        os.waitpid(pid, 0)
    return f"{len(pids)} processes; {aim.mark}"


@attack(expected="contained", control=_OUTSIDE, seconds=5)
def timers(aim: Aim) -> str:
    """Signals of a timer so often that nothing else runs."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.000001, 0.000001)
    time.sleep(1)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        sum(range(1000))
    return aim.mark
