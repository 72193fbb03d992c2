"""Locks that a signal's exception can't leave taken."""

from __future__ import annotations

import random
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from outcore.kernel_sandbox.inside.condition import Condition, new_future

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future


class Late(Exception):
    """The timer's."""


@pytest.fixture
def alarms() -> Iterator[None]:
    def late(*_: object) -> None:
        raise Late

    before = signal.signal(signal.SIGALRM, late)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def interrupted(work: Callable[[], object], rounds: int) -> None:
    """Do it over and over, with a signal at some moment of each round."""
    chance = random.Random(7)
    for _ in range(rounds):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 * chance.randint(1, 60))
            for _ in range(300):
                work()
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Late:
            pass


def is_free(lock: Any) -> bool:
    """Whether another thread can have it."""
    got: list[bool] = []

    def take() -> None:
        got.append(lock.acquire(blocking=False))
        if got[0]:
            lock.release()

    other = threading.Thread(target=take)
    other.start()
    other.join()
    return got[0]


def test_no_interrupt_leaves_it_taken(alarms: None) -> None:
    made = Condition()

    def take() -> None:
        with made:
            pass

    interrupted(take, 1000)
    assert is_free(made)


def test_nor_a_future(alarms: None) -> None:
    made: Future[int] = new_future()
    interrupted(made.done, 1000)
    assert is_free(made._condition)
    made.set_result(1)
    assert made.result() == 1


def test_python_s_own_would_be() -> None:
    """Else there would be nothing to mend."""
    assert not isinstance(threading.Condition.__enter__, type(Condition.__enter__))


def test_it_waits_and_wakes() -> None:
    made, woken = Condition(), []

    def wait() -> None:
        with made:
            woken.append(made.wait(30))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for one in threads:
        one.start()
    while len(made._waiters._waiters) < 3:  # type: ignore[attr-defined]
        pass
    with made:
        made.notify()
    with made:
        made.notify_all()
    for one in threads:
        one.join(30)
    assert woken == [True] * 3
    with made:
        assert not made.wait(0.01)
