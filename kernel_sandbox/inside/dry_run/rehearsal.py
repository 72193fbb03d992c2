"""Foreseeing the calls of a cell: at a single call it is run ahead, in a forked copy.

What the dry run would ask is told to the host, which may start it. The cell itself goes on
with true answers and notices nothing; a wrong guess costs compute alone.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from bisect import bisect_left
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from .. import confine
from ..tracebacks import CELL
from . import life, loops
from .follower import Follower
from .life import DryRun
from .reports import mark
from .standins import StandIns

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from ..bridge import Bridge

_FORKS = 3


class Rehearsal:
    """Decides when a dry run is made, and keeps the one there is.

    Args:
        bridge: way to the host.
        hints: settings of the kernel; `speculate: false` switches dry runs off, `total` is the
            memory that all its processes may hold together.
    """

    def __init__(self, bridge: Bridge, hints: Mapping[str, Any]) -> None:
        self._bridge = bridge
        self._hints = hints
        self._stand_ins = StandIns()
        self._depth = 0
        self._pid = os.getpid()
        self._main = threading.get_ident()
        self._dry: DryRun | None = None
        self._last: Follower | None = None
        self._forks = 0
        self._more = False
        self._parts: list[tuple[int, bool]] = []
        self._at = 0

    def attach(self, shell: Any) -> None:
        """Have cells transformed, and be told of their beginning and end."""
        loops.install()
        shell.ast_transformers.append(loops.Loops(self, shell.user_ns))
        shell.rehearsal = self

    @property
    def enabled(self) -> bool:
        """Whether there are dry runs at all."""
        return bool(self._hints.get("speculate", True))

    def expect(self, more: bool, parts: list[tuple[int, bool]]) -> None:
        """Take note of a cell: whether it may make more than one call, and its `loops.parts`."""
        self._more = self._more or more
        self._parts = parts

    def reset(self) -> None:
        """A cell is asked for, whatever an interrupt has kept the one before from doing."""
        self._depth = self._forks = 0
        self._more = False
        last, self._last = self._last, None
        if last is not None:
            last.end()

    def begin(self) -> None:
        """The statements of a cell begin, maybe inside another."""
        self._depth += 1

    def end(self) -> None:
        """The statements of a cell have ended: so does its dry run."""
        self._depth -= 1
        if not self._depth:
            if self._dry is not None:
                life.leave()
            self.reset()

    def ask(self, params: dict[str, Any]) -> Any:
        """Make one call and wait for its answer; a dry run may begin here.

        Raises:
            SubcallError: the host's error, under its own name.
        """
        future = self.submit(params)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def submit(self, params: dict[str, Any]) -> Future[Any]:
        """Send one call, which the cell waits for next; a dry run may begin here.

        Raises:
            SubcallError: the call can't be put in a frame, or the host does not listen.
        """
        future = self._bridge.submit("llm_query", params)
        try:
            if self._due(params) and self._fork():
                future = Future()
                future.set_result(self._stand_ins.answer(params))
        except BaseException:
            future.cancel()
            raise
        return future

    def _due(self, params: Mapping[str, Any]) -> bool:
        """Whether a dry run is worth its while at this call."""
        if self._dry is not None or not (self._more and self._depth):
            return False
        if threading.get_ident() != self._main or os.getpid() != self._pid or not self.enabled:
            return False
        part = self._part()
        if self._last is not None:
            if not self._last.missed(mark(params)):
                return False
            # What hung on an answer at first may not any more once a new statement begins.
            fresh = part != self._at and part < len(self._parts) and self._parts[part][1]
            if not fresh and not self._last.paid:
                return False
        self._at = part
        return self._forks < _FORKS

    def _part(self) -> int:
        """Which statement of the cell is running."""
        line = 0
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_filename.startswith(CELL):
                line = frame.f_lineno
            frame = frame.f_back
        return bisect_left([last for last, _ in self._parts], line)

    def _fork(self) -> bool:
        """Make a dry run; true in it."""
        self._forks += 1
        run = None
        try:
            memory = confine.room(self._hints["total"])
            run = self._last = Follower(self._bridge)
            state = random.getstate()
            if run.copy.fork():
                self._dry = DryRun(run.report, self._stand_ins)
                self._dry.begin(self._bridge, self._pid, state, memory)
                return True
            run.follow()
        except BaseException as error:
            if os.getpid() != self._pid:
                # A handler of signals raised in the copy before it was one.
                life.leave()
            if run is not None:
                run.abandon()
            if not isinstance(error, (OSError, RuntimeError, KeyError)):
                raise
            # No process, thread, descriptor or memory is left: the cell goes on without.
            self._forks = _FORKS
        return False
