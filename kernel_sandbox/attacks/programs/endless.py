"""Cells that never end, by whatever keeps an interrupt from them, and kernels that end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
import time
from typing import Any

from .attack import Aim, attack

_OUTSIDE = "what is tried is how the host ends a kernel's cell"
_SHORT: dict[str, Any] = {"expected": "contained", "control": _OUTSIDE, "seconds": 1.0}


@attack("kernel", **_SHORT)
def loop_that_ignores_signals(aim: Aim) -> str:
    """SIGINT is ignored."""
    del aim
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        pass


@attack("kernel", **_SHORT)
def loop_that_catches_all(aim: Aim) -> str:
    """Every exception is caught, the one of an interrupt too."""
    del aim
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            continue


@attack("kernel", **_SHORT)
def signals_blocked(aim: Aim) -> str:
    """All signals that can be are blocked, in all threads."""
    del aim
    signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
    while True:
        time.sleep(0.1)


@attack("kernel", **_SHORT)
def native_code(aim: Aim) -> str:
    """Native code that does not return to Python."""
    del aim
    return str(sum(range(10**12)))


@attack("kernel", **_SHORT)
def native_sleep_with_the_lock(aim: Aim) -> str:
    """libc sleeps, and holds the interpreter's lock: no other thread runs either."""
    del aim
    libc: Any = ctypes.PyDLL(None)
    while True:
        libc.sleep(1000)


@attack("kernel", **_SHORT)
def regular_expression(aim: Aim) -> str:
    """A regular expression that tries all ways there are."""
    del aim
    return str(re.match(r"(a+)+$", "a" * 60 + "b"))


@attack("kernel", **_SHORT)
def huge_number(aim: Aim) -> str:
    """A number of more digits than can be worked out."""
    del aim
    return str((3 ** (10**9)).bit_length())


@attack("kernel", **_SHORT)
def stopped_kernel(aim: Aim) -> str:
    """The kernel stops itself, like Ctrl-Z does."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return aim.mark


@attack("kernel", **_SHORT)
def threads_that_do_not_end(aim: Aim) -> str:
    """Threads that go on after their cell, and use the processor."""

    def spin() -> None:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            sum(range(100))

    for _ in range(8):
        threading.Thread(target=spin, daemon=True).start()
    return aim.mark


@attack("kernel", **_SHORT)
def deadlock(aim: Aim) -> str:
    """A thread waits for itself."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()
    return aim.mark


@attack("kernel", **_SHORT)
def endless_recursion(aim: Aim) -> str:
    """Recursion without a limit, until the stack is used up."""
    sys.setrecursionlimit(10**9)

    def down(depth: int) -> int:
        return eval("down(depth + 1)", {"down": down, "depth": depth}) or 0

    return f"{down(0)} {aim.mark}"


@attack("kernel", **_SHORT)
def crash(aim: Aim) -> str:
    """The kernel's process reads memory that is not there."""
    ctypes.string_at(1)
    return aim.mark


@attack("kernel", **_SHORT)
def sudden_end(aim: Aim) -> str:
    """The kernel's process ends without a word."""
    del aim
    os._exit(0)


@attack("kernel", **_SHORT)
def end_of_everyone(aim: Aim) -> str:
    """The kernel kills itself and whatever it may."""
    del aim
    os.kill(os.getpid(), signal.SIGKILL)
    return "lives on"


@attack("kernel", **_SHORT)
def event_loop_stopped(aim: Aim) -> str:
    """The kernel's own loop is stopped, so that it never answers again."""
    import asyncio

    asyncio.get_event_loop().stop()
    return aim.mark


@attack("kernel", **_SHORT)
def shell_broken(aim: Aim) -> str:
    """The kernel's own code is changed, so that the next cell never ends."""
    from ipykernel.kernelapp import IPKernelApp

    async def never(*_: object, **__: object) -> None:
        while True:
            with contextlib.suppress(BaseException):
                sum(range(10_000_000))

    type(IPKernelApp.instance().kernel).do_execute = never
    return aim.mark


@attack("kernel", expected="allowed", control=_OUTSIDE)
def cells_that_are_not_run(aim: Aim) -> str:
    """The kernel's own code is changed, so that it says of each cell that it ran, and runs none.

    What a kernel says of its cells is as little to be trusted as what they print: the code can
    spoil its own run, which ends when its turns are spent.
    """
    from ipykernel.kernelapp import IPKernelApp

    async def nothing(*_: object, **__: object) -> dict[str, object]:
        return {"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []}

    type(IPKernelApp.instance().kernel).do_execute = nothing
    return f"changed the kernel's own code; {aim.mark}"
