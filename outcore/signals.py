"""Ctrl-C and its kin: the first of them ends the command in good order, and in bounded time."""

from __future__ import annotations

import atexit
import os
import select
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPED_BY = 128
# Clearing away takes a fraction of this. Past it the process ends as if it were killed, and the
# reaper does the rest.
_ENDING_SECONDS = 10.0
_AGAIN_SECONDS = 0.01
_LOST = b"\0"


class Stopped(BaseException):
    """The process was asked to end.

    Attributes:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        self.number = number


class Signals:
    """Takes the signals that ask this process to end, from `watch` on.

    The first raises `Stopped` in the main thread, and again where Python lets that go no further,
    as in a finalizer; those after it are let by, so that nothing interrupts what clears away. Once
    `over` is set, a signal ends the process where it stands, and once Python itself is ending, with
    nothing left to wait for, it is ignored.

    Attributes:
        over: whether the command has done everything, its output included.
        number: the signal that was heeded; 0 for none.
    """

    def __init__(self) -> None:
        self.over = False
        self.number = 0
        self._pid = os.getpid()
        self._before: dict[int, object] = {}
        self._unraisable = sys.unraisablehook
        self._read, self._write = os.pipe()

    def watch(self) -> None:
        """Begin. Call it on the main thread."""
        threading.Thread(target=self._see_to_the_end, name="signals", daemon=True).start()
        sys.unraisablehook = self._lost
        for number in SIGNALS:
            # nohup ignores SIGHUP for us, and a shell SIGINT for what it runs in the background.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        # Python gives up its handlers before it has ended: a signal then would make a failure of
        # an answer that was given.
        atexit.register(self._ignore)

    def release(self) -> None:
        """Have the signals do again what they did before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before.clear()
        sys.unraisablehook = self._unraisable
        atexit.unregister(self._ignore)
        os.close(self._write)

    def _ignore(self) -> None:
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def _take(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.number:
            return
        self.number = number
        if os.getpid() == self._pid:
            if self.over:
                os._exit(STOPPED_BY + number)
            # No lock of Python's may be taken here: the main thread may hold it.
            os.write(self._write, bytes([number]))
        raise Stopped(number)

    def _lost(self, lost: sys.UnraisableHookArgs) -> None:
        """Have a `Stopped` raised once more that nothing could hear of."""
        if isinstance(lost.exc_value, Stopped) and os.getpid() == self._pid:
            self.number = 0
            os.write(self._write, _LOST)
        else:
            self._unraisable(lost)

    def _see_to_the_end(self) -> None:
        told = os.read(self._read, 1)
        if told:
            until = time.monotonic() + _ENDING_SECONDS
            while select.select([self._read], [], [], max(0.0, until - time.monotonic()))[0]:
                if os.read(self._read, 1) == _LOST:
                    # When Python is out of where it was lost.
                    time.sleep(_AGAIN_SECONDS)
                    os.kill(self._pid, told[0])
            os._exit(STOPPED_BY + told[0])
        os.close(self._read)
