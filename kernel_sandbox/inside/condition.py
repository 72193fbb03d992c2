"""Conditions and futures that an interrupt can't leave locked.

A signal's exception may come between any two steps of Python code. `threading.Condition` takes its
lock in Python, and one that comes just after that leaves it taken for ever: the bridge's thread
would wait for it, and with it every call of the kernel. Here a `with` takes the lock itself, which
is written in C, and which Python does not interrupt.
"""

from __future__ import annotations

import _thread
import threading
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Condition(_thread.RLock):  # type: ignore[misc]  # final to mypy, not to Python
    """Like `threading.Condition`, for threads that signals may interrupt."""

    def __init__(self) -> None:
        self._waiters = threading.Condition(self)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until notified; False where that took longer than `timeout` seconds."""
        return self._waiters.wait(timeout)

    def notify(self, n: int = 1) -> None:
        """Wake `n` of those who wait."""
        self._waiters.notify(n)

    def notify_all(self) -> None:
        """Wake all who wait."""
        self._waiters.notify_all()


def new_future() -> Future[T]:
    """A future whose owner and waiter may be interrupted."""
    made: Future[T] = Future()
    # No other way leads to the lock that all its methods take.
    made._condition = Condition()  # type: ignore[assignment]
    return made
