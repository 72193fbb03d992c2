"""Python in a child process that never outlives its parent, however that ends.

Run as a script, this file is the child's first half: it asks the kernel to be killed with
its parent, then becomes the module or script it was told to be. It imports nothing of
outcore, so that it runs wherever the package lies.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_PR_SET_PDEATHSIG = 1


def start(
    target: str | Path,
    arguments: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    inherit: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a module (by name) or a script (by path) of Python's.

    The child lives in a session of its own, so Ctrl-C reaches the parent alone; the parent
    kills it. It also dies when the thread that started it does.

    Args:
        target: what to run as `__main__`.
        arguments: its command line.
        log: file that receives its stdout and stderr.
        env: variables added to this process's own.
        inherit: file descriptors it keeps open.
    """
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-P", __file__, str(os.getpid()), str(target), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            pass_fds=inherit,
            start_new_session=True,
        )


def stop(process: subprocess.Popen[bytes]) -> None:
    """Kill a child, if it still runs, and reap it."""
    process.kill()
    process.wait()


def _become(parent: int, target: str, arguments: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the kernel was asked
            raise SystemExit(1)
    sys.argv = [target, *arguments]
    if target.endswith(".py"):
        runpy.run_path(target, run_name="__main__")
    else:
        runpy.run_module(target, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
