"""What one start of a vLLM engine needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.models.plan import EnginePlan


@dataclass(frozen=True, slots=True)
class Launch:
    """One engine to be started.

    Attributes:
        name: the model's name, for people.
        folder: its weights and tokenizer.
        plan: where it runs and what it may take.
        log: file for the output of its processes.
        shared_prefix: whether a sub-LM may attend with `outcore.kernels`.
    """

    name: str
    folder: Path
    plan: EnginePlan
    log: Path
    shared_prefix: bool = True
