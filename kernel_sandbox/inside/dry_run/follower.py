"""A dry run as its parent sees it: a process to be ended, and a report to be passed on."""

from __future__ import annotations

import _thread
import os
import select
import threading
import time
from typing import TYPE_CHECKING

from . import life
from .forked_copy import ForkedCopy
from .portion import Portion
from .reports import unpacked

if TYPE_CHECKING:
    from ..bridge import Bridge
    from .reports import Record

_WORTH_ANOTHER = 8
_LONGEST_SECONDS = life.SECONDS + 0.2
_READ = 1 << 18


class Follower:
    """One dry run, as its parent sees it.

    Attributes:
        copy: its process.
        report: the end of the pipe it writes to.
    """

    def __init__(self, bridge: Bridge) -> None:
        self.copy = ForkedCopy()
        self._told, self.report = os.pipe2(os.O_CLOEXEC)
        self._portion = Portion(bridge)
        self._gate = threading.Lock()
        self._followed = False
        self._over = False
        self._complete = False
        self._left: set[int] = set()
        self._unknown = 0
        self._hits = 0

    def follow(self) -> None:
        """Take its report, in a thread that no list of threads shows."""
        self._close_report()
        self._followed = True
        try:
            _thread.start_new_thread(self._collect, ())
        except RuntimeError:
            self._followed = False
            raise

    def abandon(self) -> None:
        """End it where it could not be followed."""
        self.end()
        self._close_report()
        if not self._followed:
            os.close(self._told)

    def end(self) -> None:
        """End it now; nothing more is told to the host."""
        self._over = True
        self.copy.end()
        # What is just being told is out before the cell's own end.
        with self._gate:
            pass

    def _close_report(self) -> None:
        report, self.report = self.report, -1
        if report >= 0:
            os.close(report)

    def missed(self, number: int) -> bool:
        """Take note of a true call; true where the report is at its end without it."""
        if number in self._left:
            self._left.discard(number)
            self._hits += 1
            return False
        if not self._complete:
            return False
        if self._unknown and self._left:
            self._unknown -= 1
            return False
        return True

    @property
    def paid(self) -> bool:
        """Whether it has foreseen as many calls as make a dry run worth its while."""
        return self._hits >= _WORTH_ANOTHER

    def _collect(self) -> None:
        try:
            self._read()
        finally:
            self.copy.end()
            os.close(self._told)
            self._complete = True

    def _read(self) -> None:
        poll = select.poll()
        poll.register(self._told, select.POLLIN)
        ends = time.monotonic() + _LONGEST_SECONDS
        received = bytearray()
        while True:
            due = self._portion.due(ends)
            left = due - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000 + 1):
                if due >= ends:
                    break
                self._send()
                continue
            data = os.read(self._told, _READ)
            if not data:
                break
            received += data
            for record in unpacked(received):
                if not self._portion.has_room(record):
                    self._send()
                self._take(record)
        self._send()

    def _take(self, record: Record) -> None:
        self._portion.add(record)
        if record.known:
            self._left.add(record.mark)
        else:
            self._unknown += 1

    def _send(self) -> None:
        with self._gate:
            if not self._over:
                self._portion.send()
