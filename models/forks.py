"""What a forked engine process does first: its own process group, its output in its log."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

from outcore.reaper import kill_tree, reaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_PID_BYTES = 8


class Start:
    """One engine being started, on one thread.

    Args:
        told: is called on that thread once the engine's process has been forked.
    """

    def __init__(self, told: Callable[[], None]) -> None:
        self._told = told
        self._lock = threading.Lock()
        self._pids: list[int] = []
        self.cancelled = False

    def forked(self, pid: int) -> None:
        """Take note of a process of the engine; one that nobody wants any more is killed."""
        with self._lock:
            self._pids.append(pid)
            if self.cancelled:
                kill_tree(pid)
        self._told()

    def cancel(self) -> None:
        """Kill what was forked, and what will be. The thread's wait for its engine then ends."""
        with self._lock:
            self.cancelled = True
            for pid in self._pids:
                kill_tree(pid)


class Forks:
    """Makes a forked engine process behave: its own process group, its output in its log."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._registered = False

    @contextlib.contextmanager
    def watch(self, start: Start, log: int, scratch: Path) -> Iterator[None]:
        """While this lasts, a process that this thread forks is an engine's.

        Args:
            start: is told of the process.
            log: descriptor of the file for what it writes.
            scratch: folder for its temporary files.
        """
        # Before the fork, so that the child can tell of itself.
        reaper()
        if not self._registered:
            os.register_at_fork(after_in_parent=self._in_parent, after_in_child=self._in_child)
            self._registered = True
        local = self._local
        read, write = os.pipe()
        local.start, local.log, local.scratch, local.pipe = start, log, scratch, (read, write)
        try:
            yield
        finally:
            local.start = None
            os.close(read)
            os.close(write)

    def _in_parent(self) -> None:
        start = getattr(self._local, "start", None)
        if start is not None:
            # The child writes it before anything else.
            start.forked(int(os.read(self._local.pipe[0], _PID_BYTES)))

    def _in_child(self) -> None:
        local = self._local
        if getattr(local, "start", None) is None:
            return
        os.setpgid(0, 0)
        os.write(local.pipe[1], f"{os.getpid():0{_PID_BYTES}}".encode())
        os.dup2(local.log, 1)
        os.dup2(local.log, 2)
        # In a notebook, or under a test, these are not the descriptors just replaced.
        sys.stdout = sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), "utf-8", line_buffering=True
        )
        for handler in logging.getLogger("vllm").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(sys.stderr)
        signal.set_wakeup_fd(-1)
        tempfile.tempdir = str(local.scratch)


forks = Forks()
