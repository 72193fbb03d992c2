"""Standard output and error of the cells, on their way to the host."""

from __future__ import annotations

import codecs
import fcntl
import os
import select
import sys
import termios
import time
from typing import Any

from ipykernel.iostream import OutStream

from .texts import clean

_CHUNK = 1 << 16
_CATCH_UP_SECONDS = 1.0


class Stream(OutStream):  # type: ignore[misc]
    """Sends messages of a size the host takes, and holds back a cell that prints faster."""

    _unsent = 0
    _taking = False

    def fileno(self) -> int:
        """The descriptor that is captured, so that what a child prints there is too."""
        return int(self._original_stdstream_fd)

    def catch_up(self) -> None:
        """Wait until what children have printed has been taken in."""
        deadline = time.monotonic() + _CATCH_UP_SECONDS
        # In this order: what is in the pipe no more by the first look is being taken at the second.
        while (_unread(self._fid) or self._taking) and time.monotonic() < deadline:
            time.sleep(0.0005)

    def _watch_pipe_fd(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        poll = select.poll()
        poll.register(self._fid, select.POLLIN)
        while self._should_watch:
            poll.poll()
            # Set while the data is still in the pipe: `catch_up` sees the one or the other.
            self._taking = True
            data = os.read(self._fid, _CHUNK)
            os.write(self._original_stdstream_copy, data)
            self.write(decoder.decode(data))
            self._taking = False

    def write(self, string: str) -> int:
        """Print `string`, waiting for what was printed before where that is much."""
        if not isinstance(string, str):
            raise TypeError(f"write() argument must be str, not {type(string).__name__}")
        for start in range(0, len(string), _CHUNK):
            piece = string[start : start + _CHUNK]
            super().write(clean(piece))
            self._unsent += len(piece)
            if self._unsent >= _CHUNK:
                self._unsent = 0
                self.flush()
        return len(string)

    def _flush_buffers(self) -> Any:
        for parent, data in super()._flush_buffers():
            for start in range(0, len(data), _CHUNK):
                yield parent, data[start : start + _CHUNK]


def _unread(fd: int) -> int:
    waiting = bytearray(4)
    fcntl.ioctl(fd, termios.FIONREAD, waiting)
    return int.from_bytes(waiting, sys.byteorder)
