"""The folder a question's context is staged into, there for as long as the question is."""

from __future__ import annotations

import asyncio
import secrets
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from outcore.config import home
from outcore.engine.context.corpus import stage
from outcore.engine.endings import end
from outcore.errors import ConfigError
from outcore.reaper import owner, reaper, remove, sweep

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.engine.context.corpus import Corpus

# A thread that reads can't be broken off; told to stop, it mostly does within this time.
_STOP_SECONDS = 2.0
_CLOSE_SECONDS = 0.3


class Staging:
    """One staged context, and the thread that reads it.

    Attributes:
        folder: in `$OUTCORE_HOME/staged`; what dead processes have left there is removed.

    Raises:
        ConfigError: it can't be made.
    """

    def __init__(self) -> None:
        base = home() / "staged"
        self.folder: Path = base / f"{owner()}-{secrets.token_hex(4)}"
        self._stop = threading.Event()
        self._work: asyncio.Future[Corpus] | None = None
        # Told first: whenever this process is killed from here on, the folder goes.
        reaper().adopt_path(self.folder)
        try:
            # What a kernel of another user must reach is there under names that can't be guessed.
            base.mkdir(mode=0o711, parents=True, exist_ok=True)
            sweep(base)
            self.folder.mkdir(mode=0o700)
        except OSError as error:
            raise ConfigError(
                f"can't write to {base}: {error.strerror}; point OUTCORE_HOME elsewhere"
            ) from error

    async def stage(self, source: Any, encoding: str | None, seconds: float) -> Corpus | None:
        """Stage a context; None where that takes longer than `seconds`.

        Raises:
            BadContext: as `corpus.stage`.
        """
        work = asyncio.ensure_future(
            asyncio.to_thread(stage, source, self.folder / "context", encoding, stop=self._stop)
        )
        self._work = work
        await asyncio.wait([work], timeout=max(0.0, seconds))
        return work.result() if work.done() else None

    async def close(self) -> None:
        """Remove the folder, as soon as nothing is written to it any more; waits little for it."""
        self._stop.set()
        await end(self._clear(), _CLOSE_SECONDS)

    async def _clear(self) -> None:
        work = self._work
        if work is not None:
            await asyncio.wait([work], timeout=_STOP_SECONDS)
        gone = partial(_remove, self.folder)
        if work is None or work.done():
            _hear(work)
            await asyncio.to_thread(gone)
        else:
            work.add_done_callback(_hear)
            work.add_done_callback(lambda _: gone())


def _hear(work: asyncio.Future[Corpus] | None) -> None:
    if work is not None and not work.cancelled():
        work.exception()


def _remove(folder: Path) -> None:
    remove(folder)
    reaper().release_path(folder)
