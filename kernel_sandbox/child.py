"""The process of a kernel: started, watched, interrupted and ended with all it has started."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_STDERR_KEPT = 8192


class Hold(NamedTuple):
    """What is to be killed.

    Attributes:
        pidfd: descriptor of the process.
        group: process group besides; 0 for none.
    """

    pidfd: int
    group: int


class Child:
    """A process of ours, alone or with a sandbox under it.

    Has to be spawned from a thread that lives as long as the child should: the kernel ends
    the sandbox when that thread ends (`PR_SET_PDEATHSIG`), which is how nothing outlives a
    host that is killed.

    Attributes:
        died: resolves to the exit status, negative or above 128 for a signal.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._loop = asyncio.get_running_loop()
        self.died: asyncio.Future[int] = self._loop.create_future()
        self._process = process
        self._pidfd = os.pidfd_open(process.pid)
        self._sandbox: int | None = None
        self._kernel: int | None = None
        self._stderr = bytearray()
        self._status = bytearray()
        self._status_pipe: int | None = None
        self._closed = False
        self._reaped = False
        assert process.stderr is not None
        self._pipe = process.stderr
        os.set_blocking(self._pipe.fileno(), False)
        self._loop.add_reader(self._pipe, self._read_stderr)
        self._loop.add_reader(self._pidfd, self._reap)

    @classmethod
    def spawn(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        fds: Sequence[int],
        cwd: str = "/",
        umask: int = 0o022,
        reaped: bool = False,
    ) -> Child:
        """Start `argv` in a session of its own, with `fds` open and nothing else.

        Args:
            reaped: whether the reaper is to end what it has started should this process die;
                bubblewrap sees to that by itself.

        Raises:
            OSError: it can't be started.
        """
        process = subprocess.Popen(
            list(argv),
            env=dict(env),
            pass_fds=tuple(fds),
            cwd=cwd,
            umask=umask,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
        )
        try:
            child = cls(process)
        except BaseException:
            # No descriptor is left, say: nobody else knows of the process.
            with process, contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        if reaped:
            child._reaped = True
            reaper().adopt_group(child.pid)
        return child

    @property
    def pid(self) -> int:
        """Pid of the process that was started."""
        return self._process.pid

    @property
    def stderr(self) -> str:
        """The last it wrote to its standard error, at most 8 KiB."""
        return self._stderr.decode("utf-8", "replace")

    def watch_status(self, pipe: int) -> None:
        """Read bwrap's status from `pipe`, which is closed here, to learn the sandbox's pid."""
        os.set_blocking(pipe, False)
        self._status_pipe = pipe
        self._loop.add_reader(pipe, self._read_status, pipe)

    def adopt(self, pid: int) -> None:
        """Tell which process is the kernel proper; interrupts go to it alone."""
        with contextlib.suppress(ProcessLookupError):
            self._kernel = os.pidfd_open(pid)

    def interrupt(self) -> None:
        """Send SIGINT to the kernel."""
        if self._kernel is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._kernel, signal.SIGINT)

    @property
    def hold(self) -> Hold:
        """What others need to kill it and everything it has started; good until `kill`."""
        if self._sandbox is not None:
            return Hold(self._sandbox, 0)
        return Hold(self._pidfd, self._process.pid)

    def strike(self) -> None:
        """Kill it and everything it has started, without waiting; `kill` has not been called.

        Unlike all else here it may be called from another thread.
        """
        if self._sandbox is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._sandbox, signal.SIGKILL)
        else:
            self._kill_group()

    async def kill(self) -> None:
        """End it and everything it has started, and wait until they are gone."""
        if self._sandbox is not None and not self.died.done():
            # Its first process takes the whole pid namespace with it, and bwrap ends after it.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._sandbox, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self.died), 5.0)
        if not self.died.done():
            self._kill_group()
        await asyncio.shield(self.died)
        self._close()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _reap(self) -> None:
        # While it is not reaped its pid, and so its process group, can't be anyone else's.
        self._kill_group()
        if self._process.poll() is None:
            return
        self._loop.remove_reader(self._pidfd)
        self._read_stderr()
        if not self.died.done():
            self.died.set_result(self._process.returncode)

    def _read_stderr(self) -> None:
        if self._pipe.closed:
            return
        with contextlib.suppress(BlockingIOError):
            data = self._pipe.read(_STDERR_KEPT)
            if data:
                self._stderr += data
                del self._stderr[:-_STDERR_KEPT]
            elif data == b"":
                self._loop.remove_reader(self._pipe)

    def _read_status(self, pipe: int) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(pipe, 4096)
            self._status += data
            line, found, _ = self._status.partition(b"\n")
            if found and self._sandbox is None:
                self._sandbox = _pidfd(line)
            del self._status[:-4096]
            if not data:
                self._close_status()

    def _close_status(self) -> None:
        if self._status_pipe is not None:
            self._loop.remove_reader(self._status_pipe)
            os.close(self._status_pipe)
            self._status_pipe = None

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._reaped:
            reaper().release_group(self.pid)
        self._close_status()
        for fd in (self._pidfd, self._sandbox, self._kernel):
            if fd is not None:
                os.close(fd)
        if not self._pipe.closed:
            self._loop.remove_reader(self._pipe)
            self._pipe.close()


def _pidfd(status: bytes | bytearray) -> int | None:
    try:
        return os.pidfd_open(json.loads(status)["child-pid"])
    except (ValueError, KeyError, ProcessLookupError):
        return None
