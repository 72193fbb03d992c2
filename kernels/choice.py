"""Which way decode steps go, by groups or plainly, learned from the time that steps take."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# Share of keys and values that must be saved for groups to be tried at all.
LEAST_SAVING = 0.1
# Steps of one way that are timed together. The first of them still pay for the change.
_WINDOW, _SETTLING = 8, 2
# The way that is not taken must be faster by this much to be taken.
_MARGIN = 0.02
# Steps until a decision is put to the test again: at first, and at most.
_SOON, _LATE = 64, 4096


class Kind(NamedTuple):
    """Steps that may be compared with one another: of about the same size and sharing.

    Attributes:
        requests: decodes, in powers of two.
        prefill: tokens of the rest of the batch, in powers of two.
        tokens: that the decodes attend to, in powers of two.
        saving: share of these that need not be read, in eighths.
    """

    requests: int
    prefill: int
    tokens: int
    saving: int


def kind_of(requests: int, prefill: int, tokens: float, saved: float) -> Kind:
    """The kind of a step.

    Args:
        requests: decodes.
        prefill: tokens of the rest of the batch.
        tokens: that the decodes attend to.
        saved: those of them that need not be read.
    """
    share = round(8 * saved / tokens) if tokens else 0
    return Kind(requests.bit_length(), prefill.bit_length(), int(tokens).bit_length(), share)


@dataclass(slots=True)
class _Known:
    """What is known of one kind of step.

    Attributes:
        grouped: the way that it takes.
        left: steps until both ways are timed again; 0 while they are.
        rest: what `left` begins with the next time.
        trying: whether the other way is being timed now.
        seconds: of the steps of the window under way.
        usual: median of the way that it takes, in the trial under way.
    """

    grouped: bool = True
    left: int = 0
    rest: int = _SOON
    trying: bool = False
    seconds: list[float] = field(default_factory=list)
    usual: float = 0.0

    @property
    def now(self) -> bool:
        """Whether steps go by groups at present."""
        return self.grouped != self.trying

    def learn(self, way: bool, seconds: float) -> None:
        """Take in what a step took that went `way`."""
        if self.left:
            self.left -= 1
        elif way == self.now:
            self.seconds.append(seconds)
            if len(self.seconds) == _WINDOW:
                self._judge(statistics.median(self.seconds[_SETTLING:]))
                self.seconds.clear()

    def _judge(self, median: float) -> None:
        if self.trying:
            if median < self.usual * (1 - _MARGIN):
                self.grouped = not self.grouped
                self.rest = _SOON
            self.left = self.rest
            self.rest = min(2 * self.rest, _LATE)
        else:
            self.usual = median
        self.trying = not self.trying


class Choice:
    """Says of each step whether it goes by groups, so that it takes the faster way.

    What grouping costs and saves depends on the card, the model, the batch and on how vLLM runs
    the step, so it is not worked out: both ways are timed on what is really asked, a few steps
    each, one right after the other. The decision is tested anew after 64 steps of the same
    kind, then after 128, up to 4,096, so that a slower way takes few of all steps.

    Attributes:
        grouped: whether the next step goes by groups.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.grouped = False
        self._clock = clock
        self._known: dict[Kind, _Known] = {}
        self._last: tuple[Kind, bool, float] | None = None

    def step(self, kind: Kind, *, saves: bool, grouped: bool) -> None:
        """Take in that a step begins, and choose the way of the next one.

        Args:
            kind: of the step.
            saves: whether it shares enough for groups to be tried.
            grouped: the way that it takes.
        """
        now = self._clock()
        known = self._known.setdefault(kind, _Known())
        if self._last is not None and self._last[0] == kind:
            _, way, begun = self._last
            known.learn(way, now - begun)
        else:
            known.seconds.clear()
        self._last = (kind, grouped, now)
        self.grouped = saves and known.now

    def idle(self) -> None:
        """Take in a step that can't go by groups: its time counts for none, and the next is plain.

        One request that is left alone would otherwise never be run as a whole graph again.
        """
        self._last = None
        self.grouped = False
