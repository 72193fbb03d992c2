"""What comes of a question."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from outcore.engine.budget import Usage


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage of the context that bears an answer out.

    Attributes:
        document: name of its document.
        offset: where it begins there, in characters.
        text: the passage, as it stands in the context.
    """

    document: str
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer and how it came about.

    Attributes:
        answer: the answer; empty where none was found.
        complete: whether the root gave it of its own accord, not because its budget ended, and it
            is neither a placeholder nor the question, nor unlike all that was printed.
        citations: where it stands in the context.
        usage: per role (`root`, `sub`), what its model was used for, by child runs too; each
            child's own use is in the trajectory.
        turns: replies of the root that counted, without those in child runs.
        seconds: wall clock, without starting the engines.
        run_dir: folder of the trajectory.
        sandbox: isolation that was in force; `direct` where no code was run.
        sandbox_warning: why that was weaker than it could be, where nobody had asked for it.
        reason: why it is incomplete; None where it is complete.
        record_error: why the trajectory is not whole, as on a full disk; None where it is.
    """

    answer: str
    complete: bool
    citations: tuple[Citation, ...]
    usage: Mapping[str, Usage]
    turns: int
    seconds: float
    run_dir: Path
    sandbox: str
    reason: str | None = None
    record_error: str | None = None
    sandbox_warning: str | None = None

    @property
    def response(self) -> str:
        """The answer, under the name that rlms uses."""
        return self.answer

    @property
    def execution_time(self) -> float:
        """The seconds, under the name that rlms uses."""
        return self.seconds

    def as_dict(self) -> dict[str, Any]:
        """The whole of it as JSON values."""
        return {
            "answer": self.answer,
            "complete": self.complete,
            "reason": self.reason,
            "citations": [asdict(citation) for citation in self.citations],
            "usage": {
                role: {"model": usage.model, **usage.as_dict()}
                for role, usage in self.usage.items()
            },
            "turns": self.turns,
            "seconds": round(self.seconds, 3),
            "run_dir": str(self.run_dir),
            "sandbox": self.sandbox,
            "sandbox_warning": self.sandbox_warning,
            "record_error": self.record_error,
        }
