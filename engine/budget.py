"""What a run has spent, against what it may spend."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from outcore.errors import BudgetExceeded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outcore.config import Budget
    from outcore.models.engine import Generation

# Kept back from the time limit for the root's last turn.
_LAST_TURN_SHARE = 0.2
_LAST_TURN_MOST = 30.0
# Of the seconds that a cell has left, what a child run started in it may take.
_CHILD_SHARE = 0.9
_LEAST_SECONDS = 0.1


@dataclass(slots=True, eq=False)
class Usage:
    """One run's use of one model. Where runs take turns, `top` stands for the run.

    Attributes:
        calls: calls answered, those that cost nothing included.
        batches: times that calls were sent to the engine, any number together.
        tokens_in: tokens of prompts sent to it, those that its prefix cache held included.
        tokens_cached: tokens of prompts that the prefix cache held.
        tokens_out: tokens written.
        remembered: calls that the memo answered.
        merged: calls that an equal one, under way already, answered.
        speculated: guesses of dry runs that were taken on.
        used: of these, the ones that the code then made.
        wasted: of these, the ones that it did not make.
        queued: seconds that calls waited for their turn, all together.
        above: the use of the run whose code started this one.
        model: the model's name, once the run has ended.
    """

    calls: int = 0
    batches: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    remembered: int = 0
    merged: int = 0
    speculated: int = 0
    used: int = 0
    wasted: int = 0
    queued: float = 0.0
    above: Usage | None = field(default=None, repr=False)
    model: str = ""

    @property
    def top(self) -> Usage:
        """The use of the first run of the tree."""
        return self if self.above is None else self.above.top

    def as_dict(self) -> dict[str, float]:
        """The counters, by name."""
        counted = {name: getattr(self, name) for name in _COUNTERS}
        return counted | {"queued": round(self.queued, 3)}

    def add(self, generation: Generation) -> None:
        """Count one call, and what it cost."""
        self.calls += 1
        self.spend(generation)

    def spend(self, generation: Generation) -> None:
        """Count the tokens of one generation, where the engine computed them for it."""
        if generation.origin != "engine":
            return
        self.tokens_in += generation.tokens_in
        self.tokens_cached += generation.tokens_cached
        self.tokens_out += generation.tokens_out

    def abandon(self, tokens: int) -> None:
        """Count the prompt of a generation that was broken off: the engine has worked on it."""
        self.tokens_in += tokens

    def fold(self, other: Usage) -> None:
        """Count all that another one has counted."""
        for name in _COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def computed(self) -> int:
        """Tokens that cost compute: prompts without what was cached, and replies."""
        return self.tokens_in - self.tokens_cached + self.tokens_out


_COUNTERS = tuple(one.name for one in fields(Usage) if one.name != "above")


@dataclass(slots=True, eq=False)
class Spending:
    """The running account of one run. Its clock starts when it is made, and stands while paused.

    What child runs spend is spent by the runs above them too, at the same moment, so that the
    first run's budget bounds the whole tree.

    Attributes:
        budget: what the run may spend.
        root: use of the root model, child runs that have ended included; its calls are turns
            alone, also where it chooses labels.
        sub: use of the sub-LM, likewise; its calls are all sub-calls, whoever answered.
        turns: replies of its root.
        asked: sub-calls made by its code, and by that of child runs.
        guessed: calls that a dry run of its code foresaw and that the code has not made yet.
        started: clock when the run began, later by what it was paused.
        cell_ends: clock when the cell that runs will be interrupted.
        parent: account of the run whose code started this one.
        children: accounts of child runs that have not ended.
    """

    budget: Budget
    root: Usage = field(default_factory=Usage)
    sub: Usage = field(default_factory=Usage)
    turns: int = 0
    asked: int = 0
    guessed: int = 0
    started: float = field(default_factory=time.monotonic)
    cell_ends: float = math.inf
    parent: Spending | None = None
    children: list[Spending] = field(default_factory=list)

    def used(self, *, root: str, sub: str) -> dict[str, Usage]:
        """The use of the models of these names, per role."""
        return {
            "root": replace(self.root, model=root, above=None),
            "sub": replace(self.sub, model=sub, above=None),
        }

    def open_child(self) -> Spending:
        """An account for a child run: at most half of the calls and tokens that are left.

        Its seconds end a little before this run's cell does, so that the child's last word
        still arrives there.

        Raises:
            BudgetExceeded: nothing is left to share.
        """
        self.check_call()
        accounts = tuple(self._line())
        tokens = min(one.budget.tokens - one.computed for one in accounts)
        cell = (self.cell_ends - time.monotonic()) * _CHILD_SHARE
        seconds = max(_LEAST_SECONDS, min(self.working_left, cell))
        budget = replace(
            self.budget,
            calls=max(1, self.calls_left // 2),
            tokens=max(1, tokens // 2),
            seconds=seconds,
            cell_seconds=min(self.budget.cell_seconds, seconds),
        )
        child = Spending(budget, Usage(above=self.root), Usage(above=self.sub), parent=self)
        self.children.append(child)
        return child

    def close_child(self, child: Spending) -> None:
        """A child run has ended: what it has used is part of this run's use."""
        self.children.remove(child)
        self.root.fold(child.root)
        self.sub.fold(child.sub)

    @property
    def computed(self) -> int:
        """Tokens that cost compute so far, those of child runs included."""
        below = sum(child.computed for child in self.children)
        return self.root.computed + self.sub.computed + below

    @property
    def seconds(self) -> float:
        """Wall clock so far."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds until the run's own end."""
        return self.budget.seconds - self.seconds

    @property
    def kept(self) -> float:
        """Seconds kept back for the last turn."""
        return min(_LAST_TURN_MOST, _LAST_TURN_SHARE * self.budget.seconds)

    @property
    def working_left(self) -> float:
        """Seconds until the time kept back for the last turn begins."""
        return self.left - self.kept

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for a while."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.started += time.monotonic() - began

    def spent(self) -> str | None:
        """Which limit is reached, in words; None while there is something left."""
        if self.turns >= self.budget.turns:
            return f"{self.budget.turns} turns"
        for one in self._line():
            if one.computed >= one.budget.tokens:
                return f"{one.budget.tokens:,} tokens"
            if one.working_left <= 0:
                return f"{one.budget.seconds:.4g} seconds"
        return None

    @property
    def held(self) -> int:
        """Calls that are guessed and not made yet, those of child runs included."""
        return self.guessed + sum(child.held for child in self.children)

    @property
    def calls_left(self) -> int:
        """Sub-calls that may still be made."""
        return max(0, min(one.budget.calls - one.asked for one in self._line()))

    @property
    def guesses_left(self) -> int:
        """Of these, the ones that nobody has guessed yet."""
        return max(0, min(one.budget.calls - one.asked - one.held for one in self._line()))

    def charge_call(self) -> None:
        """Count a sub-call about to be made.

        What a run beside this one has guessed is kept for it, so that runs side by side don't
        have more calls answered than all of them may make. Its own guesses, and those of the
        runs above, keep nothing from a run: code does what it does without a dry run.

        Raises:
            BudgetExceeded: the calls, tokens or seconds of the run are spent.
        """
        own = 0
        for one in self._line():
            own += one.guessed
            if one.asked + one.held - own >= one.budget.calls:
                raise BudgetExceeded(
                    f"{self._named(one)} may make {one.budget.calls:,} sub-calls and has made "
                    "them; answer with what there is"
                )
        self.check_call()
        for one in self._line():
            one.asked += 1

    def check_call(self) -> None:
        """See that a call whose turn has come may still be made.

        Raises:
            BudgetExceeded: the tokens or seconds of the run are spent by now.
        """
        self.check_tokens()
        for one in self._line():
            if one.working_left <= 0:
                raise BudgetExceeded(
                    f"the {one.budget.seconds:.4g} seconds of {self._named(one)} are over; answer "
                    "with what there is"
                )

    def check_tokens(self) -> None:
        """The same for a last turn, for which seconds are kept back.

        Raises:
            BudgetExceeded: the tokens of the run are spent by now.
        """
        for one in self._line():
            if one.computed >= one.budget.tokens:
                raise BudgetExceeded(
                    f"{self._named(one)} may compute {one.budget.tokens:,} tokens and has; answer "
                    "with what there is"
                )

    def _line(self) -> Iterator[Spending]:
        """This account and those above it."""
        account: Spending | None = self
        while account is not None:
            yield account
            account = account.parent

    def _named(self, account: Spending) -> str:
        return "this run" if account is self else "the run above this one"
