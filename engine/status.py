"""What an `RLM` is doing, for a progress line: any number of questions at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from outcore.engine.budget import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outcore.engine.batching.batcher import Batchers
    from outcore.engine.budget import Spending

IDLE = "idle"
STARTING = "starting the models"
_WAITING = "waiting"


@dataclass(slots=True, eq=False)
class Work:
    """One question under way.

    Attributes:
        phase: what is being done, in a word or two.
        spending: its account, once the models are up.
    """

    phase: str = _WAITING
    spending: Spending | None = None

    def tell(self, phase: str) -> None:
        """Something else is being done from here on."""
        self.phase = phase


@dataclass(slots=True, eq=False)
class Totals:
    """What questions have spent, all together.

    Attributes:
        questions: how many they are.
        turns: replies of the root.
        calls: sub-calls made.
        root: use of the root model.
        sub: use of the sub-LM.
        seconds: wall clock: of one question, its own; of several, since the first was put.
    """

    questions: int = 0
    turns: int = 0
    calls: int = 0
    root: Usage = field(default_factory=Usage)
    sub: Usage = field(default_factory=Usage)
    seconds: float = 0.0

    def add(self, spending: Spending) -> None:
        """Count what one question has spent."""
        self.questions += 1
        self.turns += spending.turns
        self.calls += spending.asked
        self.root.fold(spending.root)
        self.sub.fold(spending.sub)


class Status:
    """What an `RLM` is doing. Any thread may look; the loop's alone changes it.

    Attributes:
        batchers: the ways to the models, once they are up.
        starting: whether the models are being started.
    """

    def __init__(self) -> None:
        self.batchers: Batchers | None = None
        self.starting = False
        self._lock = threading.Lock()
        self._under_way: list[Work] = []
        # Spent by questions that were over before the others were.
        self._over = Totals()
        self._began = 0.0

    @contextlib.contextmanager
    def question(self) -> Iterator[Work]:
        """A question is under way for as long as the block is."""
        work = Work()
        with self._lock:
            if not self._under_way:
                self._over, self._began = Totals(), time.monotonic()
            self._under_way.append(work)
        try:
            yield work
        finally:
            with self._lock:
                self._under_way.remove(work)
                if work.spending is not None:
                    self._over.add(work.spending)

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to tell, or the models tell of themselves while they start."""
        with self._lock:
            return self.starting or not self._under_way

    @property
    def phase(self) -> str:
        """In a few words; of several questions, how many do what."""
        if self.starting:
            return STARTING
        with self._lock:
            phases = Counter(work.phase for work in self._under_way)
        if phases.total() <= 1:
            return next(iter(phases), IDLE)
        return ", ".join(f"{count} {phase}" for phase, count in phases.items())

    def totals(self) -> Totals | None:
        """What has been spent since no question was under way; None before any has an account."""
        with self._lock:
            running = [one.spending for one in self._under_way if one.spending is not None]
            totals = replace(self._over, root=replace(self._over.root), sub=replace(self._over.sub))
            alone = len(self._under_way) == 1 and not totals.questions
            for spending in running:
                totals.add(spending)
            if not totals.questions:
                return None
            began = self._began
        totals.seconds = running[0].seconds if alone else time.monotonic() - began
        return totals
