"""Clearing away that outlasts what it belongs to: nobody with a deadline waits for it.

The loop's end does, see `loop.py`; until then these tasks are left alone.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine

# Tasks with this at the beginning of their name are not cancelled at the end; kernels' own
# endings have it too.
ENDING = "ending"

_endings: set[asyncio.Task[Any]] = set()


async def end(work: Coroutine[Any, Any, Any] | asyncio.Task[Any], seconds: float) -> None:
    """Wait for some clearing away, but not for long: what is left of it goes on by itself.

    Args:
        work: it; a task is one that has been cancelled.
        seconds: longest wait.
    """
    task = work if isinstance(work, asyncio.Task) else asyncio.create_task(work)
    task.set_name(f"{ENDING}: {task.get_name()}")
    _endings.add(task)
    task.add_done_callback(_ended)
    await asyncio.wait([task], timeout=seconds)


def _ended(task: asyncio.Task[Any]) -> None:
    _endings.discard(task)
    if not task.cancelled():
        task.exception()  # nobody is left to be told
