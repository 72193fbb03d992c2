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
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

_CLOSED = -1
_MARK = ".removed"


class Reaper:
    """This process's link to its reaper. One per process, made at first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        # What it was told and still holds, should it be killed itself.
        self._told: dict[tuple[str, object], bytes] = {}
        self._process, self._write = _started()
        os.register_at_fork(after_in_child=self._in_forked_child)

    @property
    def pid(self) -> int:
        """The reaper's own process id."""
        return self._process.pid

    def adopt_process(self, pid: int) -> None:
        """End this process, and all it started, should this one die."""
        self._tell({"pid": pid, "born": born(pid)})

    def adopt_group(self, pid: int) -> None:
        """End the processes of this group, whatever has become of its leader, should this die."""
        self._tell({"group": pid, "born": born(pid)})

    def release_group(self, pid: int) -> None:
        """Forget a group that has ended."""
        self._tell({"gone": pid}, ends="group")

    def adopt_path(self, path: Path) -> None:
        """Remove this file or folder should this process die."""
        self._tell({"path": str(path)})

    def release_path(self, path: Path) -> None:
        """Forget a path that has been removed in good order."""
        self._tell({"drop": str(path)}, ends="path")

    def close(self) -> None:
        """Let the reaper go; it ends whatever it was told of that is still there."""
        with self._lock:
            if self._write != _CLOSED:
                os.close(self._write)
                self._write = _CLOSED
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)

    def _tell(self, message: dict[str, object], ends: str = "") -> None:
        line = (json.dumps(message) + "\n").encode()
        kind, what = next(iter(message.items()))
        with self._lock:
            if ends:
                self._told.pop((ends, what), None)
            else:
                self._told[kind, what] = line
            if self._write == _CLOSED:
                return
            try:
                os.write(self._write, line)
            except BrokenPipeError:
                os.close(self._write)
                self._process.wait()
                self._process, self._write = _started()
                for one in self._told.values():
                    os.write(self._write, one)

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


def _started() -> tuple[subprocess.Popen[bytes], int]:
    """A new process, and the end of its pipe to write to."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as source:
        # sys.executable -I -S: no site, no user code, a few milliseconds.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).resolve())],
            stdin=source,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    return process, write


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


def owner() -> str:
    """A name for this process: its pid, start and pid namespace, so that no later one has it."""
    pid = os.getpid()
    return f"{pid}-{born(pid)}-{_namespace()}"


def sweep(base: Path, prefix: str = "") -> list[Path]:
    """Remove what processes that have ended left in a folder; returns what was removed.

    Args:
        base: the folder.
        prefix: what stands before the owner in the names of its files and folders; after it
            they go on with a hyphen.

    Those of other users, of other pid namespaces and of living processes are left alone.
    """
    removed = []
    for path in base.glob(f"{prefix}*-*-*-*"):
        pid, started, space, _ = path.name.removeprefix(prefix).split("-", 3)
        if space != _namespace() or not pid.isdigit() or str(born(int(pid))) == started:
            continue
        with contextlib.suppress(OSError):
            if path.lstat().st_uid == os.geteuid():
                remove(path)
                removed.append(path)
    return removed


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def kill_group(leader: int, when: int) -> None:
    """Kill what is left of a process group whose leader started at `when`, in clock ticks.

    As long as any of them lives no other process gets the leader's number.
    """
    if born(leader) in (0, when):
        with contextlib.suppress(OSError):
            os.killpg(leader, signal.SIGKILL)


def remove(path: Path) -> None:
    """Remove a file or folder, as far as that can be done; one that is gone already is fine.

    Untrusted code may have filled the folder: links are not followed, and neither depth nor
    permissions stand in the way, as they do in `shutil.rmtree`.
    """
    with contextlib.suppress(OSError):
        if path.is_symlink() or not path.is_dir():
            path.unlink(missing_ok=True)
            return
        path.chmod(0o700)
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            _empty(top)
        finally:
            os.close(top)
        path.rmdir()


def _empty(top: int) -> None:
    """Empty a folder: what a folder in it holds is moved up into it, level by level.

    Another process may be about the same, as a host is when it ends: what has gone is fine.
    """
    numbers = itertools.count()
    gone = contextlib.suppress(FileNotFoundError)
    while folders := _files_gone(top):
        for name in folders:
            with contextlib.suppress(OSError):
                os.chmod(name, 0o700, dir_fd=top)
            with gone:
                inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
                try:
                    for each in _files_gone(inside):
                        with contextlib.suppress(OSError):
                            os.chmod(each, 0o700, dir_fd=inside)
                        new = f"{_MARK}-{os.getpid()}-{time.monotonic_ns()}-{next(numbers)}"
                        with gone:
                            os.rename(each, new, src_dir_fd=inside, dst_dir_fd=top)
                finally:
                    os.close(inside)
                os.rmdir(name, dir_fd=top)


def _files_gone(folder: int) -> list[str]:
    """Remove the files of a folder; returns the names of the folders in it."""
    with os.scandir(folder) as entries:
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in found:
        if not is_folder:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    return [name for name, is_folder in found if is_folder]


def _reap() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    processes: dict[int, int] = {}
    groups: dict[int, int] = {}
    paths: dict[str, None] = {}
    for line in sys.stdin:
        message = json.loads(line)
        if "pid" in message:
            processes[message["pid"]] = message["born"]
        elif "group" in message:
            groups[message["group"]] = message["born"]
        elif "gone" in message:
            groups.pop(message["gone"], None)
        elif "path" in message:
            paths[message["path"]] = None
        else:
            paths.pop(message["drop"], None)
    for pid, when in processes.items():
        if when and born(pid) == when:
            kill_tree(pid)
    for leader, when in groups.items():
        kill_group(leader, when)
    for path in paths:
        with contextlib.suppress(OSError):
            remove(Path(path))


if __name__ == "__main__":
    _reap()
