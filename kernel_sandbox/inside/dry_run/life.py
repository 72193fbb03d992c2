"""The life of a dry run: the rest of a cell, run in a forked copy with stand-ins for answers.

It asks nothing, writes nothing and prints nothing: it tells over one pipe what it would ask.
"""

from __future__ import annotations

import asyncio
import builtins
import errno
import gc
import io
import json
import os
import random
import sys
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn

from ipykernel.iostream import IOPubThread, OutStream

from .. import confine
from . import loops
from .reports import UNKNOWN, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..bridge import Bridge
    from .standins import StandIns

SECONDS = 2.0
_PROMPTS = 10_000
_BYTES = 64 << 20
# Ends early after so many calls, or exceptions let by, that told nothing new.
_STALE = 256
_WRITING = frozenset("wax+")
_open = io.open


class NotForeseen(Exception):
    """A dry run can't know what the host would answer here."""


class DryRun:
    """Takes the place of the bridge's connection, and writes down what is asked.

    Args:
        report: descriptor of the pipe.
        stand_ins: makes the answers.

    Attributes:
        broken: never; the bridge asks its connection.
    """

    broken = False

    def __init__(self, report: int, stand_ins: StandIns) -> None:
        self._report = report
        self._stand_ins = stand_ins
        self._calls = self._bytes = self._stale = 0
        self._seen: set[int] = set()

    def begin(self, bridge: Bridge, parent: int, state: Any, memory: int) -> None:
        """Become a dry run, in a process just forked; where that fails, end it.

        Args:
            parent: pid of the process it was forked from.
            state: of `random`, at the time of the fork.
            memory: bytes it may use more of than its parent.
        """
        try:
            confine.end_in(SECONDS, parent, memory)
            confine.own_memory()
            random.setstate(state)
            gc.freeze()
            gc.disable()
            _silence()
            _open_in_memory()
            # The filter refuses them too, but libraries' own hooks may wait for threads first.
            os.fork = os.forkpty = _refuse
            bridge.divert(self)
            loops.let_exceptions_by(self._slipped)
            confine.shut(confine.own_descriptors(self._report))
        except BaseException:
            os._exit(1)

    def submit(self, op: str, params: dict[str, Any] | bytes) -> Future[Any]:
        """What the bridge's connection would answer, or a stand-in for it."""
        future: Future[Any] = Future()
        if op == "llm_query" and isinstance(params, dict):
            self._record(params)
            future.set_result(self._stand_ins.answer(params))
        elif op == "answer":
            future.set_result({})
        else:
            future.set_exception(NotForeseen(op))
        return future

    def _record(self, params: Mapping[str, Any]) -> None:
        body = json.dumps(params, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._calls += 1
        self._stale += 1
        record = UNKNOWN if self._stand_ins.taint(body) else Record.of(params, body)
        if record.known and record.mark not in self._seen:
            self._seen.add(record.mark)
            self._stale = 0
        self._write(record.pack())
        if self._calls >= _PROMPTS or self._bytes > _BYTES or self._stale > _STALE:
            leave()

    def _write(self, record: bytes) -> None:
        self._bytes += len(record)
        rest = memoryview(record)
        while rest:
            rest = rest[os.write(self._report, rest) :]

    def _slipped(self) -> None:
        self._stale += 1
        if self._stale > _STALE:
            leave()


def leave(*_: Any) -> NoReturn:
    """End this process, and nothing else."""
    os._exit(0)


def _refuse() -> NoReturn:
    raise PermissionError(errno.EPERM, "a dry run has no children")


class _Nowhere(io.TextIOBase):
    """Standard output of a dry run."""

    encoding = "utf-8"

    def writable(self) -> bool:
        """It may be written to."""
        return True

    def write(self, text: str) -> int:
        """Forget `text`."""
        return len(text)


def _silence() -> None:
    sys.stdout = sys.stderr = _Nowhere()
    # What is reached past these two, and what is displayed, goes through here.
    silent: Any = OutStream
    silent.write = lambda _, text: len(text)
    silent.flush = lambda _: None
    thread: Any = IOPubThread
    thread.schedule = lambda *_: None
    loop: Any = asyncio.BaseEventLoop
    # The kernel's own loop: the cell waits for something, or is over.
    loop._run_once = leave


def _open_in_memory() -> None:
    """Let the cell write to files that are none."""

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if not _WRITING.intersection(mode):
            return _open(file, mode, *args, **kwargs)
        made: Any = io.BytesIO() if "b" in mode else io.StringIO()
        return made

    io.open = builtins.open = opened
