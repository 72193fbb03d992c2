"""The reaper: what it was told of goes with the host, even where it was killed before it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HOST = """
import os, signal, sys
from pathlib import Path
from outcore.reaper import reaper
before, released, after = map(Path, sys.argv[1:])
reaper().adopt_path(before)
reaper().adopt_path(released)
os.kill(reaper().pid, signal.SIGKILL)
os.waitid(os.P_PID, reaper().pid, os.WEXITED | os.WNOWAIT)
reaper().release_path(released)
reaper().adopt_path(after)
os.kill(os.getpid(), signal.SIGKILL)
"""
SECONDS = 100


def test_a_reaper_that_is_killed_is_followed_by_another(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("before", "released", "after")]
    for path in paths:
        path.touch()
    ended = subprocess.run([sys.executable, "-P", "-c", HOST, *map(str, paths)], check=False)
    assert ended.returncode == -signal.SIGKILL
    until = time.monotonic() + SECONDS
    while (paths[0].exists() or paths[2].exists()) and time.monotonic() < until:
        time.sleep(0.05)
    assert [path.exists() for path in paths] == [False, True, False]
