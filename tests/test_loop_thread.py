"""The loop that engines and kernels live on: what it hands back, and how it is left."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from outcore.engine import loop, rlm
from outcore.engine.endings import end
from outcore.engine.loop import LoopThread, _finish
from outcore.errors import OutcoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


async def nothing() -> None:
    pass


@pytest.fixture
def loop_thread() -> Iterator[LoopThread]:
    thread = LoopThread()
    yield thread
    thread.close(nothing)


@pytest.fixture
def heeded() -> Iterator[None]:
    """A shell has what it runs in the background ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_comes_of_the_work_comes_back(loop_thread: LoopThread) -> None:
    async def late() -> str:
        await asyncio.sleep(0.3)
        return "late"

    async def timed_out() -> None:
        raise TimeoutError("of its own")

    assert loop_thread.run(late()) == "late"
    with pytest.raises(TimeoutError, match="of its own"):
        loop_thread.run(timed_out())


def test_a_signal_that_another_thread_takes_ends_the_wait(
    loop_thread: LoopThread, heeded: None
) -> None:
    ended: list[str] = []
    begun = threading.Event()

    async def long() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    def deliver() -> None:
        # Before, it would be raised where nothing expects it.
        assert begun.wait(30)
        time.sleep(0.2)
        # The system gives a signal of the whole process to any thread; this one does not wait.
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        time.sleep(0.5)

    other = threading.Thread(target=deliver)
    began = time.monotonic()
    other.start()
    with pytest.raises(KeyboardInterrupt):
        loop_thread.run(long())
    assert time.monotonic() - began < 30
    other.join()
    loop_thread.close(nothing)
    assert ended == ["cancelled"]


def test_after_its_end_it_takes_no_more(loop_thread: LoopThread) -> None:
    loop_thread.run(nothing())
    loop_thread.close(nothing)
    with pytest.raises(OutcoreError, match="closed"):
        loop_thread.run(nothing())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_work_that_outlasts_the_end_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CANCEL_SECONDS", 0.1)
    thread, begun = LoopThread(), threading.Semaphore(0)

    async def slow_to_end() -> None:
        begun.release()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(60)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(thread.run, slow_to_end())
        awaiting = pool.submit(lambda: asyncio.run(thread.awaited(slow_to_end())))
        for _ in (waiting, awaiting):
            assert begun.acquire(timeout=30)
        thread.close(nothing)
        for one in (waiting, awaiting):
            with pytest.raises(OutcoreError, match="was closed"):
                one.result(30)


def test_what_clears_away_is_waited_for(
    loop_thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_CANCEL_SECONDS", 0.1)
    cleared: list[str] = []

    async def clear() -> None:
        await asyncio.sleep(0.5)
        cleared.append("a kernel")

    async def late() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await end(clear(), 60)

    tasks: list[asyncio.Task[None]] = []

    async def begin() -> None:
        tasks.append(asyncio.create_task(late()))
        await asyncio.sleep(0)

    loop_thread.run(begin())
    loop_thread.close(nothing)
    assert cleared == ["a kernel"]


async def test_entering_that_is_cancelled_ends_what_it_has_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended: list[str] = []
    begun = threading.Event()

    async def serve(*_: object, **__: object) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("the models' start")

    monkeypatch.setattr(rlm, "serve", serve)
    entered = rlm.RLM()
    entering = asyncio.create_task(entered.__aenter__())
    assert await asyncio.to_thread(begun.wait, 30)
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert ended == ["the models' start"]
    with pytest.raises(OutcoreError, match="closed"):
        entered.completion("text", "question")


def test_a_connection_that_comes_in_at_the_end_is_not_left_open(
    tmp_path: Path, loop_thread: LoopThread
) -> None:
    async def scene() -> None:
        loop, path = asyncio.get_running_loop(), str(tmp_path / "s")
        finished = loop.create_future()

        async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        async def finish() -> None:
            await _finish(nothing)
            finished.set_result(None)

        server = await asyncio.start_unix_server(take, path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            # The loop takes it in by a task of its own, which has not begun when all are ended.
            loop.call_soon(loop.create_task, finish())
            try:
                await asyncio.wait([finished])
            finally:
                server.close()

    with contextlib.suppress(asyncio.CancelledError, concurrent.futures.CancelledError):
        loop_thread.run(scene())
    loop_thread.close(nothing)
    gc.collect()
