"""A forked copy of this process that nothing in the cells can notice.

Made by `clone` without a signal for its end: no handler of SIGCHLD hears of it, and no
`os.wait` of a cell reaps it. Hooks of `os.register_at_fork` run in the copy alone.
"""

from __future__ import annotations

import _imp
import contextlib
import ctypes
import os
import platform
import signal
import threading
from typing import Any

_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_PIDFD = 0x1000
_WALL = 0x4000_0000


class ForkedCopy:
    """One copy, at most; the process that made it ends and reaps it.

    Attributes:
        pid: its pid, once it is there.
    """

    def __init__(self) -> None:
        self.pid = 0
        # The kernel writes here, so that no exception can come between it and the copy.
        self._pidfd = ctypes.c_int(-1)
        self._lock = threading.Lock()

    def fork(self) -> bool:
        """Make the copy; true in it, false in the one that was copied.

        Raises:
            OSError: there can be no further process.
            KeyError: this machine is not known.
        """
        parent = os.getpid()
        call: Any = ctypes.PyDLL(None, use_errno=True).syscall
        call.restype = ctypes.c_long
        flags = ctypes.c_long(_CLONE_PIDFD)
        none = ctypes.c_long(0)
        number = ctypes.c_long(_CLONE[platform.machine()])
        pidfd = ctypes.byref(self._pidfd)
        after: Any = ctypes.pythonapi.PyOS_AfterFork_Child
        after.restype = None
        # Hooks that are to run before a fork belong to the cells, and see no fork here.
        _imp.acquire_lock()
        try:
            pid = call(number, flags, none, pidfd, none, none)
            if pid == 0:
                after()
                return True
        finally:
            if os.getpid() == parent:
                _imp.release_lock()
        if pid < 0:
            raise OSError(ctypes.get_errno(), "the process can't be copied")
        self.pid = pid
        return False

    @property
    def pidfd(self) -> int:
        """Becomes readable when the copy ends; -1 where there is none."""
        return self._pidfd.value

    def end(self) -> None:
        """Kill the copy, where there is one, and reap it. May be called again, by any thread."""
        try:
            self._end()
        except BaseException:
            # An interrupt; what it says has to wait.
            self._end()
            raise

    def _end(self) -> None:
        with self._lock:
            pidfd = self._pidfd.value
            if pidfd < 0:
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED | _WALL)
            self._pidfd.value = -1
            os.close(pidfd)
