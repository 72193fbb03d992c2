"""The live line on stderr: what a question is doing while it is answered."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcore.engine.status import Status

_TICK_SECONDS = 0.25


class LiveLine:
    """Redraws one line on a terminal; elsewhere prints a line when something has moved.

    Args:
        status: gives the current status.
        lead: gives what stands before it, such as how many questions are answered.
    """

    def __init__(self, status: Callable[[], Status], lead: Callable[[], str] = str) -> None:
        self._status = status
        self._lead = lead
        self._terminal = sys.stderr.isatty()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw, name="live-line", daemon=True)
        self._rate = _Rate()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _draw(self) -> None:
        shown = ""
        key: tuple[object, ...] | None = None
        while not self._ended.wait(_TICK_SECONDS):
            status = self._status()
            if status.quiet:
                continue
            lead = self._lead()
            line = " · ".join(part for part in (lead, self._line(status)) if part)
            if self._terminal:
                print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
                shown = line
                continue
            totals = status.totals()
            # Of many questions, a line for each that is over; of one, a line for each turn.
            now = (lead,) if lead else (status.phase, totals.turns if totals else 0)
            if now != key:
                key = now
                print(line, file=sys.stderr, flush=True)
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _line(self, status: Status) -> str:
        totals, batchers = status.totals(), status.batchers
        if totals is None:
            return status.phase
        root, sub = totals.root, totals.sub
        calls = f"{totals.calls} calls"
        ways = {batchers.sub, batchers.judge} if batchers is not None else ()
        running = sum(way.traffic.running for way in ways)
        speculated, used = root.speculated + sub.speculated, root.used + sub.used
        notes = [f"{running} running"] if running else []
        notes += [f"{sub.remembered} remembered"] if sub.remembered else []
        notes += [f"{sub.merged} merged"] if sub.merged else []
        notes += [f"{used} of {speculated} guesses used"] if speculated else []
        notes += [f"{sub.batches} batches"] if sub.batches else []
        notes += [f"{sub.queued / sub.calls:.2f} s queued"] if sub.calls else []
        if notes:
            calls += f" ({', '.join(notes)})"
        tokens_in = root.tokens_in + sub.tokens_in
        cached = (root.tokens_cached + sub.tokens_cached) / max(1, tokens_in)
        written = root.tokens_out + sub.tokens_out
        return " · ".join(
            (
                status.phase,
                f"turn {totals.turns}" if totals.questions == 1 else f"{totals.turns} turns",
                calls,
                f"{tokens_in:,} tokens in, {cached:.0%} cached",
                f"{self._rate.of(written):.1f} tokens/s out",
                f"{totals.seconds:.0f} s",
            )
        )


class _Rate:
    """Growth a second of a count, over the last few seconds."""

    def __init__(self) -> None:
        self._seen: list[tuple[float, int]] = []

    def of(self, count: int) -> float:
        now = time.monotonic()
        if self._seen and count < self._seen[-1][1]:
            # Counted afresh, as another question is.
            self._seen = []
        self._seen = [*(row for row in self._seen if now - row[0] < 10), (now, count)]
        then, before = self._seen[0]
        return (count - before) / (now - then) if now > then else 0.0
