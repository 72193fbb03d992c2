"""How long an engine that does not answer is asked again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from outcore.errors import ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outcore.models.engine import Generation

# Seconds to wait before each new try where one request failed, and where the engine is away: a
# server that starts again needs about a minute.
_FAILED = (0.25, 1.0)
_AWAY = (0.25, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
# An engine that wants to be left alone for longer is not waited for.
_LONGEST = 60.0


async def persistently(
    ask: Callable[[], Awaitable[Generation]], failed: Callable[[], None]
) -> Generation:
    """Ask, and ask again as long as it may help.

    Args:
        ask: makes one try.
        failed: is told before each further one.

    Raises:
        ModelUnavailable: no try was answered; the last one's error.
        ModelError: any other error of `ask`, at once.
    """
    tries, waited = 0, 0.0
    while True:
        try:
            return await ask()
        except ModelUnavailable as error:
            waits = _AWAY if error.away else _FAILED
            after = error.after or 0.0
            if tries >= len(waits) or after > _LONGEST:
                if not tries:
                    raise
                raise ModelUnavailable(
                    f"{error} (asked {tries + 1} times in {waited:.0f} s)", away=error.away
                ) from error
            seconds = max(waits[tries], after)
        tries += 1
        waited += seconds
        failed()
        await asyncio.sleep(seconds)
