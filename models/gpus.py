"""GPUs while engines start: which of them an engine sees, and whose turn it is to start."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from outcore.config import home

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from outcore.models.progress import Progress

_LOCK_POLL_SECONDS = 0.2


@contextlib.contextmanager
def visible(gpus: Sequence[int]) -> Iterator[None]:
    """Show an engine that starts meanwhile these GPUs alone; without any, nothing changes."""
    if not gpus:
        yield
        return
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, gpus))
    try:
        yield
    finally:
        if before is None:
            del os.environ["CUDA_VISIBLE_DEVICES"]
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


@contextlib.asynccontextmanager
async def turn(progress: Progress) -> AsyncIterator[None]:
    """Hold the lock that all processes of this machine start their GPU engines under.

    Args:
        progress: is told where another process holds it.
    """
    path = home() / "gpu.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        waited = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waited:
                    progress.say("waiting for another process to start its models")
                waited = True
                await asyncio.sleep(_LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            # The engines just forked hold the file open; closing it here would release nothing.
            fcntl.flock(file, fcntl.LOCK_UN)
