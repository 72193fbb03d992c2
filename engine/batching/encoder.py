"""Makes prompts of questions, in threads, as many together as have come up."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from outcore.errors import ModelError

if TYPE_CHECKING:
    from outcore.models.engine import Asked, Engine, Prompt

# Tokenizers use all cores for one batch; the second thread lets short questions pass a long text.
_THREADS = 2
_BATCH = 1_024
# A lone question of this many characters is done before a thread would have woken.
_SHORT = 4_096


class Encoder:
    """Tokenizes for one engine, in batches that grow with what waits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="tokenize")
        self._waiting: list[tuple[Asked, asyncio.Future[Prompt]]] = []
        self._working = 0
        self._closed = False

    async def prompt(self, asked: Asked) -> Prompt:
        """The prompt of one question.

        Raises:
            ModelError: the encoder is closed.
        """
        if self._closed:
            raise ModelError(f"{self._engine.name}: the engine has been closed")
        future: asyncio.Future[Prompt] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if len(self._waiting) == 1:
            # What arrives in the same moment goes with it.
            asyncio.get_running_loop().call_soon(self._start)
        return await future

    def close(self) -> None:
        """End the threads; what still waits is cancelled."""
        self._closed = True
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        if len(self._waiting) == 1 and _short(self._waiting[0][0]):
            [(asked, future)] = self._waiting
            self._waiting = []
            if not future.cancelled():
                _settle([future], self._made([asked]))
            return
        while self._waiting and self._working < _THREADS and not self._closed:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            batch = [(asked, future) for asked, future in batch if not future.cancelled()]
            if batch:
                self._working += 1
                work = asyncio.get_running_loop().run_in_executor(
                    self._pool, self._made, [asked for asked, _ in batch]
                )
                work.add_done_callback(partial(self._end, [future for _, future in batch]))

    def _made(self, asked: list[Asked]) -> list[Prompt | Exception]:
        try:
            return list(self._engine.prompts(asked))
        except Exception as error:
            if len(asked) == 1:
                return [error]
        # One that can't be made is not the others' fault.
        return [made for one in asked for made in self._made([one])]

    def _end(
        self,
        futures: list[asyncio.Future[Prompt]],
        work: asyncio.Future[list[Prompt | Exception]],
    ) -> None:
        self._working -= 1
        if work.cancelled():
            for future in futures:
                future.cancel()
        else:
            _settle(futures, work.result())
        self._start()


def _settle(futures: list[asyncio.Future[Prompt]], made: list[Prompt | Exception]) -> None:
    for future, one in zip(futures, made, strict=True):
        if future.done():
            continue
        if isinstance(one, Exception):
            future.set_exception(one)
        else:
            future.set_result(one)


def _short(asked: Asked) -> bool:
    return len(asked.question) + len(asked.text or "") <= _SHORT
