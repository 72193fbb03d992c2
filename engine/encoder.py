"""Makes prompts of questions, in threads, as many together as have come up."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

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

    async def prompt(self, asked: Asked) -> Prompt:
        """The prompt of one question."""
        future: asyncio.Future[Prompt] = asyncio.get_running_loop().create_future()
        self._waiting.append((asked, future))
        if len(self._waiting) == 1:
            # What arrives in the same moment goes with it.
            asyncio.get_running_loop().call_soon(self._start)
        return await future

    def close(self) -> None:
        """End the threads; what still waits is never answered."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        if len(self._waiting) == 1 and _short(self._waiting[0][0]):
            [(asked, future)] = self._waiting
            self._waiting = []
            if not future.cancelled():
                self._settle([future], partial(self._engine.prompts, [asked]))
            return
        while self._waiting and self._working < _THREADS:
            batch, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
            batch = [(asked, future) for asked, future in batch if not future.cancelled()]
            if batch:
                self._working += 1
                work = asyncio.get_running_loop().run_in_executor(
                    self._pool, self._engine.prompts, [asked for asked, _ in batch]
                )
                work.add_done_callback(partial(self._end, [future for _, future in batch]))

    def _end(
        self, futures: list[asyncio.Future[Prompt]], work: asyncio.Future[list[Prompt]]
    ) -> None:
        self._working -= 1
        if not work.cancelled():  # else the encoder has been closed
            self._settle(futures, work.result)
        self._start()

    def _settle(
        self, futures: list[asyncio.Future[Prompt]], make: Callable[[], list[Prompt]]
    ) -> None:
        try:
            prompts = make()
        except Exception as error:  # belongs to those who wait
            for future in futures:
                if not future.done():
                    future.set_exception(error)
            return
        for future, prompt in zip(futures, prompts, strict=True):
            if not future.done():
                future.set_result(prompt)


def _short(asked: Asked) -> bool:
    return len(asked.question) + len(asked.text or "") <= _SHORT
