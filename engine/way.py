"""A run's way to one of its models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outcore.engine.batching.batcher import Batcher
    from outcore.engine.budget import Usage


@dataclass(frozen=True, slots=True)
class Way:
    """Where a call goes, and where it is counted.

    Attributes:
        batcher: the way into the engine, which all runs share.
        usage: what the run has used of the model.
    """

    batcher: Batcher
    usage: Usage
