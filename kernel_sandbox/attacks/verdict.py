"""What came of an attack, and whether that was expected."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from outcore.kernel_sandbox.attacks.programs.attack import Attack

Outcome = Literal["stopped", "contained", "reached", "broke", "not run"]
Proof = Literal["works", "not here", "fails", "not run"]


@dataclass(frozen=True, slots=True)
class Control:
    """The same attack outside of any sandbox: one that fails there too proves nothing.

    Attributes:
        proof: `works`; `not here`, this host can't be attacked so; `fails`, it should have
            worked; `not run`.
        text: how it worked, or why not.
    """

    proof: Proof
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one attack.

    Attributes:
        outcome: `stopped` by the sandbox; `contained`, it ran and harmed nobody else; `reached`,
            it got through; `broke`, it failed by itself, and so says nothing; `not run`.
        text: what was seen.
        seconds: how long it took, with the look at what it did.
        lack: what the tier says it lacks, where that explains `reached` or `not run`.
        control: None where no control was asked for.
    """

    attack: Attack
    outcome: Outcome
    text: str
    seconds: float = 0.0
    lack: str = ""
    control: Control | None = None

    @property
    def held(self) -> bool:
        """Whether it came as expected, or as the tier says."""
        if self.control is not None and self.control.proof == "fails":
            return False
        if self.outcome == "not run":
            return True
        wanted = {
            "stopped": {"stopped"},
            "contained": {"contained"},
            # A tier may be stricter than it has to be.
            "allowed": {"reached", "stopped"},
        }
        return self.outcome in wanted[self.attack.expected] or bool(self.lack)

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "name": self.attack.name,
            "family": self.attack.family,
            "meaning": self.attack.meaning,
            "expected": self.attack.expected,
            "outcome": self.outcome,
            "held": self.held,
            "text": self.text,
            "lack": self.lack,
            "seconds": round(self.seconds, 3),
            "control": None if self.control is None else asdict(self.control),
        }
