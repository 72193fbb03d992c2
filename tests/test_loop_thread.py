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

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    def deliver() -> None:
        time.sleep(0.5)
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
