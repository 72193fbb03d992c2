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

from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Forks:
    """Makes a forked engine process behave: its own process group, its output in its log."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._registered = False

    @contextlib.contextmanager
    def watch(self, log: int, scratch: Path, told: Callable[[], None]) -> Iterator[None]:
        """While this lasts, a process that this thread forks is an engine's.

        Args:
            log: descriptor of the file for what it writes.
            scratch: folder for its temporary files.
            told: is called here once it has been forked.
        """
        # Before the fork, so that the child can tell of itself.
        reaper()
        if not self._registered:
            os.register_at_fork(after_in_parent=self._in_parent, after_in_child=self._in_child)
            self._registered = True
        self._local.log, self._local.scratch, self._local.told = log, scratch, told
        try:
            yield
        finally:
            self._local.log = None

    def _in_parent(self) -> None:
        if getattr(self._local, "log", None) is not None:
            self._local.told()

    def _in_child(self) -> None:
        log = getattr(self._local, "log", None)
        if log is None:
            return
        os.dup2(log, 1)
        os.dup2(log, 2)
        # In a notebook, or under a test, these are not the descriptors just replaced.
        sys.stdout = sys.stderr = io.TextIOWrapper(
            io.FileIO(2, "w", closefd=False), "utf-8", line_buffering=True
        )
        for handler in logging.getLogger("vllm").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(sys.stderr)
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        tempfile.tempdir = str(self._local.scratch)


forks = Forks()
