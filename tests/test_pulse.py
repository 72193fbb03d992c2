"""What tells a hung engine from a slow one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from outcore.models.pulse import SILENT_SECONDS, ProcessorTime, Pulse, outlasts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

SILENT = 0.2
# How long nothing is to happen.
LONG = 2 * SILENT


class Watched:
    """An engine of which a test says what it gives signs of."""

    def __init__(
        self,
        replicas: int = 1,
        spent: Callable[[], float] | None = None,
        ask: Callable[[], Awaitable[object]] | None = None,
        silent: float = SILENT,
    ) -> None:
        self.told: list[str] = []
        self.pulse = Pulse(self.told.append, silent=silent, replicas=replicas, spent=spent, ask=ask)

    async def hangs(self, seconds: float = 30) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.told:
                    await asyncio.sleep(SILENT / 20)
        return bool(self.told)


async def test_a_silent_engine_hangs_when_its_time_is_over() -> None:
    engine = Watched()
    start = time.monotonic()
    with engine.pulse.waiting(), engine.pulse.waiting():
        assert await engine.hangs()
        assert time.monotonic() - start >= SILENT
        # Told once, whoever comes yet.
        with engine.pulse.waiting():
            await asyncio.sleep(LONG)
    assert engine.told == ["no sign of life for 0 s, calls waiting: 2"]


async def test_an_engine_that_makes_steps_does_not() -> None:
    engine = Watched()
    with engine.pulse.waiting():
        for _ in range(30):
            engine.pulse.beat()
            await asyncio.sleep(LONG / 30)
        assert not engine.told
        # And from the last step on it has the whole time again.
        start = time.monotonic()
        assert await engine.hangs()
        assert time.monotonic() - start >= SILENT


async def test_an_engine_that_nobody_waits_for_may_be_silent() -> None:
    engine = Watched()
    with engine.pulse.waiting():
        pass
    assert not await engine.hangs(LONG)
    # What was silence while nobody waited is none of the next call's.
    start = time.monotonic()
    with engine.pulse.waiting():
        assert await engine.hangs()
    assert time.monotonic() - start >= SILENT


async def test_calls_that_come_and_go_don_t_hide_a_hang() -> None:
    engine = Watched()

    async def call() -> None:
        with engine.pulse.waiting():
            await asyncio.sleep(SILENT / 2)

    async def calls() -> None:
        while True:
            following = asyncio.create_task(call())
            await asyncio.sleep(SILENT / 4)
            await following

    first, second = asyncio.create_task(calls()), asyncio.create_task(calls())
    await asyncio.sleep(SILENT / 4)
    third = asyncio.create_task(calls())
    assert await engine.hangs()
    for one in (first, second, third):
        one.cancel()
    await asyncio.gather(first, second, third, return_exceptions=True)


async def test_a_hung_replica_is_not_helped_by_another() -> None:
    engine = Watched(replicas=2)
    with engine.pulse.waiting(0), engine.pulse.waiting(1):
        start = time.monotonic()
        while not engine.told:
            engine.pulse.beat(1)
            # vLLM numbers what is no replica of ours.
            engine.pulse.beat(2)
            await asyncio.sleep(SILENT / 30)
            assert time.monotonic() - start < 30
    assert "calls waiting: 1" in engine.told[0]


async def test_a_replica_without_calls_may_be_silent() -> None:
    engine = Watched(replicas=2)
    with engine.pulse.waiting(1):
        for _ in range(30):
            engine.pulse.beat(1)
            await asyncio.sleep(LONG / 30)
    assert not engine.told


async def test_an_engine_that_answers_between_its_steps_is_alive() -> None:
    asked = 0

    async def ask() -> bool:
        nonlocal asked
        asked += 1
        return False

    engine = Watched(ask=ask)
    with engine.pulse.waiting():
        assert not await engine.hangs(LONG)
        while asked < 2:
            await asyncio.sleep(SILENT / 20)
        assert not engine.told


async def test_one_that_does_not_answer_is_asked_once() -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(600)

    engine = Watched(ask=ask)
    with engine.pulse.waiting():
        assert await engine.hangs()
    assert asked == 1


async def test_one_that_can_not_be_asked_hangs_like_any_other() -> None:
    async def ask() -> None:
        raise NotImplementedError

    engine = Watched(ask=ask)
    with engine.pulse.waiting():
        assert await engine.hangs()


async def test_a_late_answer_counts_when_it_comes() -> None:
    async def ask() -> None:
        await asyncio.sleep(SILENT * 0.6)

    engine = Watched(ask=ask)
    with engine.pulse.waiting():
        assert not await engine.hangs(LONG)


async def test_an_engine_that_makes_steps_is_neither_asked_nor_measured() -> None:
    done: list[str] = []

    def spent() -> float:
        done.append("measured")
        return 0.0

    async def ask() -> None:
        done.append("asked")

    engine = Watched(spent=spent, ask=ask)
    with engine.pulse.waiting():
        until = time.monotonic() + LONG
        while time.monotonic() < until:
            engine.pulse.beat()
            await asyncio.sleep(0)
    assert not done


async def test_a_host_that_was_stopped_gives_its_engine_the_whole_time_again() -> None:
    """As Ctrl-Z does, or a laptop that sleeps."""
    engine = Watched()
    with engine.pulse.waiting():
        for _ in range(3):
            await asyncio.sleep(SILENT / 30)
            # Nothing of the loop runs, and nothing that the engine may have said is read.
            time.sleep(2 * SILENT)
        assert not engine.told
        assert await engine.hangs()


async def test_a_closed_pulse_tells_and_asks_nothing() -> None:
    asked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        await asked

    engine = Watched(ask=ask)
    with engine.pulse.waiting():
        await asyncio.sleep(SILENT / 3)
        engine.pulse.close()
        engine.pulse.close()
        with engine.pulse.waiting():
            assert not await engine.hangs(LONG)
    assert asked.cancelled()


def test_the_time_is_that_of_many_steps() -> None:
    assert SILENT_SECONDS >= 300


# A parent that waits for a child that computes.
BELOW = (
    "import subprocess, sys\n"
    "subprocess.run([sys.executable, '-c', 'print(flush=True)\\nwhile True: pass'])"
)
# One that starts a child when it is told to, and waits for its end.
LATER = (
    "import subprocess, sys\n"
    "end = 'import time\\nwhile time.process_time() < 0.3: pass'\n"
    "print(flush=True)\n"
    "input()\n"
    "subprocess.run([sys.executable, '-c', end])\n"
    "print(flush=True)\n"
    "while True: pass"
)


@contextlib.contextmanager
def running(program: str) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, once it has printed its first line."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


async def test_processes_that_compute_are_alive_until_they_stop() -> None:
    with running(BELOW) as process:
        # A busy machine has to give them a hundredth of a core.
        engine = Watched(spent=ProcessorTime((process.pid,)).spent, silent=1.0)
        with engine.pulse.waiting():
            assert not await engine.hangs(1.2)
            os.killpg(process.pid, signal.SIGSTOP)
            assert await engine.hangs()


async def test_processes_that_sleep_or_have_gone_are_silent() -> None:
    with running("import time\nprint(flush=True)\ntime.sleep(600)") as process:
        measured = ProcessorTime((process.pid, 1 << 22))
        engine = Watched(spent=measured.spent)
        with engine.pulse.waiting():
            assert await engine.hangs()
    assert measured.spent() == 0


def test_of_processes_that_spin_only_what_they_start_counts() -> None:
    with running(LATER) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        measured = ProcessorTime((process.pid,), spins=True)
        before = measured.spent()
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        compiled = measured.spent()
        assert compiled - before >= 0.25
        everything = ProcessorTime((process.pid,))
        start = everything.spent()
        while everything.spent() - start < 0.1:
            time.sleep(0.01)
        assert measured.spent() == compiled


async def test_a_call_outlasts_silence_as_long_as_signs_come() -> None:
    signs = 0
    call: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waited = asyncio.create_task(outlasts(call, lambda: signs, SILENT))
    for _ in range(4):
        await asyncio.sleep(0.6 * SILENT)
        signs += 1
    assert not waited.done()
    start = time.monotonic()
    assert not await waited
    assert time.monotonic() - start >= SILENT / 2
    assert not call.done()
    call.set_result(None)
    assert await outlasts(call, lambda: signs, SILENT)
