"""Clearing away that a cancelling does not cut short."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def to_the_end(work: Callable[[], Awaitable[None]]) -> None:
    """Await `work()`; where that is cancelled, all of it once more before the cancelling goes on.

    A loop that ends cancels every task once, those that clear away too, and waits for them.

    Args:
        work: ends something, and can be begun anew after it was broken off anywhere.
    """
    try:
        await work()
    except asyncio.CancelledError:
        await work()
        raise
