"""An event loop on a thread of its own, so that engines and kernels outlive a call."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from outcore.engine.endings import ENDING
from outcore.errors import OutcoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

_CANCEL_SECONDS = 3.0
# Longest wait for what clears away, which on a busy machine takes longer than that.
_CLEAR_SECONDS = 10.0
# Tasks of the event loop itself, which take in connections and the pipes of processes: they end at
# once, and cancelled before they begin they leave them open.
_LOOPS_OWN = ("/asyncio/selector_events.py", "/asyncio/base_subprocess.py")
# A signal that reaches the waiting thread just before it sleeps, or another thread in its place,
# doesn't wake it: it looks for itself.
_SIGNAL_SECONDS = 0.1


class LoopThread:
    """Runs coroutines for callers on any thread or loop. The thread starts at the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._asked: set[concurrent.futures.Future[Any]] = set()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end and return the result.

        What a signal raises in the waiting thread, such as KeyboardInterrupt, cancels the work and
        is raised within a tenth of a second.
        """
        future = self._ask(work)
        try:
            while not future.done():
                concurrent.futures.wait([future], timeout=_SIGNAL_SECONDS)
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def awaited(self, work: Coroutine[Any, Any, T]) -> T:
        """`run`, for a caller on another loop; cancelling it cancels the work."""
        return await asyncio.wrap_future(self._ask(work))

    def close(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Cancel what runs, run `last`, and end the thread. Closing twice is fine."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(_finish(last), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            for future in tuple(self._asked):
                with contextlib.suppress(concurrent.futures.InvalidStateError):
                    future.set_exception(OutcoreError("this RLM was closed before it answered"))

    def _ask(self, work: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        with self._lock:
            # In the lock: whoever closes sees it.
            future = asyncio.run_coroutine_threadsafe(work, self._started(work))
            self._asked.add(future)
        future.add_done_callback(self._asked.discard)
        return future

    def _started(self, work: Coroutine[Any, Any, T]) -> asyncio.AbstractEventLoop:
        if self._closed:
            work.close()
            raise OutcoreError("this RLM is closed; make a new one")
        if self._loop is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_serve, args=(loop,), name="outcore", daemon=True)
            thread.start()
            # Not before it runs: a signal may break this off anywhere, and `close` waits for it.
            self._loop, self._thread = loop, thread
        return self._loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def _finish(last: Callable[[], Coroutine[Any, Any, None]]) -> None:
    # vLLM keeps a task of its own on this loop; it ends with its engine, in `last`.
    own = asyncio.current_task()
    tasks = [task for task in asyncio.all_tasks() if task is not own and _is_ours(task)]
    for task in tasks:
        if not task.get_name().startswith(ENDING):
            task.cancel()
    ending = asyncio.create_task(last())
    if tasks:
        await asyncio.wait(tasks, timeout=_CANCEL_SECONDS)
    await ending
    # Kernels that are left to end would be there as long as this process is.
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith(ENDING)]
    if left:
        await asyncio.wait(left, timeout=_CLEAR_SECONDS)


def _is_ours(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    if code is None or "/site-packages/vllm/" in code.co_filename:
        return False
    return not code.co_filename.endswith(_LOOPS_OWN)
