"""A small process that outlives this one, to clean up after it even when it is killed.

It holds the read end of a pipe. While this process lives it is told which processes and
paths are to go; when the pipe closes, for whatever reason, it ends what is still running and
removes what is still there. It runs this file as a script, with nothing but the standard
library, in a session of its own, so that a Ctrl-C in the terminal passes it by.

A forked child (vLLM forks its engine) tells of itself in its first instant, through
`os.register_at_fork`, and lets go of the pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

_CLOSED = -1


class Reaper:
    """This process's link to its reaper. One per process, made at first use."""

    def __init__(self) -> None:
        read, self._write = os.pipe()
        self._lock = threading.Lock()
        self._owner = os.getpid()
        with os.fdopen(read, "rb") as source:
            # sys.executable -I -S: no site, no user code, a few milliseconds.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
                stdin=source,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        os.register_at_fork(after_in_child=self._in_forked_child)

    @property
    def pid(self) -> int:
        """The reaper's own process id."""
        return self._process.pid

    def adopt_process(self, pid: int) -> None:
        """End this process, and all it started, should this one die."""
        self._tell({"pid": pid, "born": born(pid)})

    def adopt_path(self, path: Path) -> None:
        """Remove this file or folder should this process die."""
        self._tell({"path": str(path)})

    def release_path(self, path: Path) -> None:
        """Forget a path that has been removed in good order."""
        self._tell({"drop": str(path)})

    def close(self) -> None:
        """Let the reaper go; it ends whatever it was told of that is still there."""
        with self._lock:
            if self._write != _CLOSED:
                os.close(self._write)
                self._write = _CLOSED
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)

    def _tell(self, message: dict[str, object]) -> None:
        line = (json.dumps(message) + "\n").encode()
        with self._lock:
            if self._write != _CLOSED:
                os.write(self._write, line)

    def _in_forked_child(self) -> None:
        if self._write == _CLOSED:
            return
        # A short write to a pipe is atomic, so no lock is needed, and one taken at the
        # moment of the fork could never be had again.
        message = {"pid": os.getpid(), "born": born(os.getpid()), "forked": self._owner}
        with contextlib.suppress(OSError):
            os.write(self._write, (json.dumps(message) + "\n").encode())
        os.close(self._write)
        self._write = _CLOSED


_current: Reaper | None = None
_current_lock = threading.Lock()


def reaper() -> Reaper:
    """This process's reaper, started at the first call."""
    global _current
    with _current_lock:
        if _current is None or _current._owner != os.getpid():
            _current = Reaper()
        return _current


def born(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 if there is none.

    With it a process is told from a later one that got the same number.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def _children() -> dict[int, list[int]]:
    tree: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_bytes()
            except OSError:
                continue
            parent = int(stat[stat.rindex(b")") + 2 :].split()[1])
            tree.setdefault(parent, []).append(int(entry.name))
    return tree


def kill_tree(pid: int) -> None:
    """Kill a process and everything below it; one that is gone already is fine."""
    tree = _children()
    pending = [pid]
    for parent in pending:
        pending += tree.get(parent, [])
    for each in pending:
        with contextlib.suppress(OSError):
            os.kill(each, signal.SIGKILL)


def _remove(path: str) -> None:
    if Path(path).is_dir() and not Path(path).is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        Path(path).unlink(missing_ok=True)


def _reap() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    processes: dict[int, int] = {}
    paths: dict[str, None] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if "pid" in message:
            processes[message["pid"]] = message["born"]
        elif "path" in message:
            paths[message["path"]] = None
        else:
            paths.pop(message["drop"], None)
    for pid, when in processes.items():
        if when and born(pid) == when:
            kill_tree(pid)
    for path in paths:
        with contextlib.suppress(OSError):
            _remove(path)


if __name__ == "__main__":
    _reap()
