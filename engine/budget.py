"""What a run has spent, against what it may spend."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outcore.errors import BudgetExceeded

if TYPE_CHECKING:
    from outcore.config import Budget
    from outcore.models.engine import Generation

# Kept back from the time limit for the root's last turn.
_LAST_TURN_SHARE = 0.2
_LAST_TURN_MOST = 30.0


@dataclass(slots=True)
class Usage:
    """Use of one model.

    Attributes:
        calls: generations.
        tokens_in: tokens of prompts, cached ones included.
        tokens_cached: tokens of prompts that the prefix cache held.
        tokens_out: tokens written.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0

    def add(self, generation: Generation) -> None:
        """Count one generation."""
        self.calls += 1
        self.tokens_in += generation.tokens_in
        self.tokens_cached += generation.tokens_cached
        self.tokens_out += generation.tokens_out

    @property
    def computed(self) -> int:
        """Tokens that cost compute: prompts without what was cached, and replies."""
        return self.tokens_in - self.tokens_cached + self.tokens_out


@dataclass(slots=True)
class Spending:
    """The running account of one run. Its clock starts when it is made."""

    budget: Budget
    turns: int = 0
    asked: int = 0
    root: Usage = field(default_factory=Usage)
    sub: Usage = field(default_factory=Usage)
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Wall clock so far."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds until the run's own end."""
        return self.budget.seconds - self.seconds

    @property
    def working_left(self) -> float:
        """Seconds until the time kept back for the last turn begins."""
        kept = min(_LAST_TURN_MOST, _LAST_TURN_SHARE * self.budget.seconds)
        return self.left - kept

    def spent(self) -> str | None:
        """Which limit is reached, in words; None while there is something left."""
        budget = self.budget
        if self.turns >= budget.turns:
            return f"{budget.turns} turns"
        if self.root.computed + self.sub.computed >= budget.tokens:
            return f"{budget.tokens:,} tokens"
        if self.working_left <= 0:
            return f"{budget.seconds:g} seconds"
        return None

    def charge_call(self) -> None:
        """Count a sub-call about to be made.

        Raises:
            BudgetExceeded: the calls, tokens or seconds of the run are spent.
        """
        budget = self.budget
        if self.asked >= budget.calls:
            raise BudgetExceeded(
                f"this run may make {budget.calls:,} sub-calls and has made them; answer with what "
                "there is"
            )
        self.check_call()
        self.asked += 1

    def check_call(self) -> None:
        """See that a call whose turn has come may still be made.

        Raises:
            BudgetExceeded: the tokens or seconds of the run are spent by now.
        """
        budget = self.budget
        if self.root.computed + self.sub.computed >= budget.tokens:
            raise BudgetExceeded(
                f"this run may compute {budget.tokens:,} tokens and has; answer with what there is"
            )
        if self.working_left <= 0:
            raise BudgetExceeded(
                f"the {budget.seconds:g} seconds of this run are over; answer with what there is"
            )
