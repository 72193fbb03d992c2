"""Contexts that several questions share."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from typing import TYPE_CHECKING

from outcore.engine.context.staging import Staging

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from outcore.engine.context.corpus import Corpus

Source = tuple["Path", ...]


class SharedContexts:
    """Each context is read for the first question that needs it, and removed with the last.

    All of its work has to be done on one event loop.

    Args:
        encoding: of the files; None is UTF-8.
    """

    def __init__(self, encoding: str | None) -> None:
        self._encoding = encoding
        self._needed: Counter[Source] = Counter()
        self._staged: dict[Source, tuple[Staging, asyncio.Task[Corpus]]] = {}

    def expect(self, source: Source) -> None:
        """One question more will borrow this context."""
        self._needed[source] += 1

    @contextlib.asynccontextmanager
    async def lend(self, source: Source) -> AsyncIterator[Corpus]:
        """The staged context, for as long as the block is.

        A borrower that is cancelled leaves it where it is: a kernel that is ending may still use
        it. `close` removes it then.

        Raises:
            BadContext: as `corpus.stage`, to each borrower alike.
            ConfigError: there is no place to stage it.
        """
        try:
            yield await asyncio.shield(self._task(source))
        except asyncio.CancelledError:
            raise
        except BaseException:
            await self._returned(source)
            raise
        await self._returned(source)

    async def close(self) -> None:
        """Remove what is still there."""
        for source in tuple(self._staged):
            await self._remove(source)

    def _task(self, source: Source) -> asyncio.Task[Corpus]:
        if source not in self._staged:
            staging = Staging()
            self._staged[source] = staging, asyncio.create_task(self._read(staging, source))
        return self._staged[source][1]

    async def _read(self, staging: Staging, source: Source) -> Corpus:
        # As `ask` takes them: one path is itself, several are a dict.
        given = source[0] if len(source) == 1 else list(source)
        corpus = await staging.stage(given, self._encoding, math.inf)
        assert corpus is not None
        return corpus

    async def _returned(self, source: Source) -> None:
        self._needed[source] -= 1
        if self._needed[source] <= 0:
            await self._remove(source)

    async def _remove(self, source: Source) -> None:
        found = self._staged.pop(source, None)
        if found is None:
            return
        staging, task = found
        await staging.close()
        task.cancel()
        # Told to whoever borrowed it.
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
