"""What goes through a batcher, counted for a progress line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """What a batcher has let through.

    Attributes:
        waiting: generations that wait for their turn.
        running: generations in the engine.
        peak: most that were in the engine at once.
        finished: generations that ended well.
        failed: generations that failed or were cancelled in the engine.
        retried: generations sent once more after the engine had not answered.
    """

    waiting: int = 0
    running: int = 0
    peak: int = 0
    finished: int = 0
    failed: int = 0
    retried: int = 0
