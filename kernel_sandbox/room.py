"""Room for the calls that one kernel has outstanding."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from outcore.kernel_sandbox.frames import Gate

if TYPE_CHECKING:
    from outcore.kernel_sandbox.limits import Limits


class Room:
    """How many, how large, how fast; over all connections of the kernel.

    Attributes:
        gate: lets large frames in, a few at once.
    """

    def __init__(self, limits: Limits) -> None:
        self.gate = Gate()
        self._limits = limits
        self._calls = 0
        self._bytes = 0
        self._freed = asyncio.Event()
        self._second = 0.0
        self._taken = 0

    async def take(self, size: int) -> None:
        """Wait until one more call of `size` bytes may be outstanding."""
        while self._calls and (
            self._calls >= self._limits.calls or self._bytes + size > self._limits.calls_bytes
        ):
            self._freed.clear()
            await self._freed.wait()
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._second, self._taken = now, 0
        self._taken += 1
        if self._taken > self._limits.calls_rate:
            await asyncio.sleep(self._second + 1.0 - now)
        self._calls += 1
        self._bytes += size

    def give(self, size: int) -> None:
        """A call of `size` bytes has ended."""
        self._calls -= 1
        self._bytes -= size
        self._freed.set()
