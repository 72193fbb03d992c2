"""Generations remembered, so that a question asked again costs no tokens.

The memo never fails a question: what can't be read is not remembered, what can't be written
is forgotten, and one warning tells why.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from outcore.engine.batching.memo_database import MemoHeld
from outcore.engine.batching.memo_file import MemoFile, MemoStats
from outcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from outcore.models.engine import Generation

    Asked = Sequence[tuple[bytes, asyncio.Future[Generation | None]]]

__all__ = ["CAP_BYTES", "Memo", "MemoStats"]

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

CAP_BYTES = 4 * 2**30
# How often in a row another process may hold the file, for five seconds each.
_TRIES = 3
_RETRY_SECONDS = 1.0
_MOST_WAITING = 1_000
# A disk that hangs keeps a question no longer than this, and the end of the process.
_PATIENCE_SECONDS = 20.0
_END_SECONDS = 60.0
_MOST_TOUCHED = 4_000


class Memo:
    """Generations by key, in one file that several processes share.

    All work on the file is done by one thread, which starts with the first call. Its jobs run
    in order, so what was put is found by a later `get`.

    Args:
        path: the file; it and its folder are made where they are missing.
        cap_bytes: most bytes it may have; the entries least lately used go first.
    """

    def __init__(self, path: Path, *, cap_bytes: int = CAP_BYTES) -> None:
        self._path = path
        self._cap = cap_bytes
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._asked: dict[
            asyncio.AbstractEventLoop, list[tuple[bytes, asyncio.Future[Generation | None]]]
        ] = {}
        self._off = self._writes_off = False
        # From here on, the thread's own.
        self._file: MemoFile | None = None
        self._waiting: dict[bytes, Generation] = {}
        self._tries = 0
        self._ended = False

    async def get(self, key: bytes) -> Generation | None:
        """What was put under this key, here or elsewhere; its origin is `memo`.

        Calls that arrive together are answered together.
        """
        if self._off:
            return None
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Generation | None] = loop.create_future()
        batch = self._asked.get(loop)
        if batch is None:
            batch = self._asked[loop] = []
            # Runs after all calls that are ready to run now.
            loop.call_soon(self._send, loop)
        batch.append((key, answer))
        return await answer

    def put(self, key: bytes, generation: Generation) -> None:
        """Remember a generation; returns at once, and it is written right away."""
        if not self._writes_off:
            self._submit(partial(self._keep, key, generation))

    async def flush(self) -> None:
        """Return when everything put so far is in the file, or given up."""
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        if self._thread is not None and self._submit(partial(self._flush, loop, done)):
            await done

    def close(self) -> None:
        """Write what waits and end the thread. Closing twice is fine; `get` then finds nothing."""
        with self._lock:
            self._closed = True
            if self._thread is None:
                return
            self._jobs.put(self._end)
        self._thread.join(_END_SECONDS)
        if self._thread.is_alive():
            _LOG.warning("the memo %s does not close; what was not written yet is lost", self._path)

    def stats(self) -> MemoStats:
        """What the file holds, with what was put so far; waits for the thread.

        Raises:
            ConfigError: the file can't be used.
        """
        return self._call(MemoFile.stats)

    def clear(self) -> int:
        """Forget everything, and return how many entries that were; waits for the thread.

        Raises:
            ConfigError: the file can't be used.
        """
        return self._call(MemoFile.clear)

    def _call(self, work: Callable[[MemoFile], _T]) -> _T:
        answer: Future[_T] = Future()
        if not self._submit(partial(self._answer_call, work, answer)):
            raise ConfigError(f"the memo {self._path} is closed")
        return answer.result()

    def _submit(self, job: Callable[[], None]) -> bool:
        with self._lock:
            if self._closed:
                return False
            if self._thread is None:
                # A daemon, for nobody calls `close` where a run ends badly.
                self._thread = threading.Thread(target=self._work, name="memo", daemon=True)
                self._thread.start()
            self._jobs.put(job)
            return True

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._asked.pop(loop)
        late = loop.call_later(_PATIENCE_SECONDS, self._give_up, batch)
        if not self._submit(partial(self._answer, loop, batch, late)):
            _deliver(batch, {}, late)

    def _give_up(self, batch: Asked) -> None:
        if not self._off:
            _LOG.warning(
                "the memo %s has not answered for %.0f s. This run goes on and remembers nothing "
                "more.",
                self._path,
                _PATIENCE_SECONDS,
            )
        self._off = self._writes_off = True
        for _, answer in batch:
            _finish(answer, None)

    # The rest runs on the thread.

    def _work(self) -> None:
        while not self._ended:
            try:
                self._jobs.get(timeout=_RETRY_SECONDS if self._waiting else None)()
            except queue.Empty:
                self._write()
            else:
                if self._is_due():
                    self._write()
        if self._file is not None:
            self._file.close()

    def _is_due(self) -> bool:
        if self._waiting and (self._jobs.empty() or len(self._waiting) >= _MOST_WAITING):
            return True
        return self._file is not None and self._file.touched >= _MOST_TOUCHED

    def _keep(self, key: bytes, generation: Generation) -> None:
        if not self._writes_off:
            self._waiting[key] = generation

    def _answer(
        self, loop: asyncio.AbstractEventLoop, batch: Asked, late: asyncio.TimerHandle
    ) -> None:
        found = self._read([key for key, _ in batch])
        # The loop may have ended meanwhile.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver, batch, found, late)

    def _flush(self, loop: asyncio.AbstractEventLoop, done: asyncio.Future[None]) -> None:
        self._write_all()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_finish, done, None)

    def _answer_call(self, work: Callable[[MemoFile], _T], answer: Future[_T]) -> None:
        self._write_all()
        try:
            answer.set_result(work(self._open()))
        except Exception as error:  # the caller's, whatever it is
            answer.set_exception(error)

    def _end(self) -> None:
        self._write_all()
        if self._file is not None and self._file.touched:
            self._write()
        self._ended = True

    def _open(self) -> MemoFile:
        if self._file is None:
            self._file = MemoFile(self._path, self._cap)
        return self._file

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, Generation]:
        found: dict[bytes, Generation] = {}
        if self._off:
            return found
        try:
            found = self._open().read(keys)
            # Who holds the file lets others read, which doesn't end the waiting to write.
            self._tries = self._tries if self._waiting else 0
        except Exception as error:  # nothing may reach the question
            self._failed(error, reading=True)
        for key in self._waiting.keys() & keys:
            found[key] = replace(self._waiting[key], origin="memo")
        return found

    def _write_all(self) -> None:
        while self._waiting:
            self._write()

    def _write(self) -> None:
        if self._writes_off:
            self._waiting.clear()
            return
        try:
            self._open().write(self._waiting)
            self._waiting.clear()
            self._tries = 0
        except Exception as error:  # nothing may reach the question
            self._failed(error, reading=False)

    def _failed(self, error: Exception, *, reading: bool) -> None:
        self._tries += 1
        if isinstance(error, MemoHeld) and self._tries < _TRIES:
            return
        if not self._writes_off:
            _LOG.warning("%s. This run goes on and remembers nothing more.", error)
        # What a full disk holds can still be read.
        self._off = self._off or reading or self._file is None
        self._writes_off = True
        self._waiting.clear()


def _deliver(batch: Asked, found: Mapping[bytes, Generation], late: asyncio.TimerHandle) -> None:
    late.cancel()
    for key, answer in batch:
        _finish(answer, found.get(key))


def _finish(future: asyncio.Future[_T], result: _T) -> None:
    if not future.done():  # it may have been cancelled
        future.set_result(result)
