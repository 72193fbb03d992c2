"""What a run of the command line might leave on the machine."""

from __future__ import annotations

import os
import sys
import time
import uuid
from dataclasses import dataclass, field
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import psutil

from outcore.config import home
from outcore.kernel_sandbox.session import sessions_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass
class Command:
    """`outcore ...` as a process of its own, with a mark that all it starts inherits."""

    arguments: Sequence[str]
    temporary: Path
    mark: str = field(default_factory=lambda: f"mark-{uuid.uuid4().hex}")

    def __post_init__(self) -> None:
        self.temporary.mkdir()
        environment = os.environ | {"OUTCORE_MARK": self.mark, "TMPDIR": str(self.temporary)}
        self.process = Popen(
            [sys.executable, "-P", "-m", "outcore", *self.arguments],
            stdout=PIPE,
            stderr=PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )

    def wait_for(self, text: str, seconds: float) -> str:
        """Read stderr until a line holds `text`."""
        assert self.process.stderr is not None
        seen: list[str] = []
        deadline = time.monotonic() + seconds
        os.set_blocking(self.process.stderr.fileno(), False)
        while time.monotonic() < deadline:
            line = self.process.stderr.readline()
            if not line:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
                continue
            seen.append(line)
            if text in line:
                return "".join(seen)
        raise AssertionError(f"{text!r} did not come; stderr was:\n{''.join(seen)}")

    def left(self) -> list[str]:
        """Processes, folders and files of this command that are still there."""
        pid = self.process.pid
        found = [f"process {one.pid}: {one.cmdline()}" for one in self._processes()]
        found += [str(path) for path in sessions_folder().glob(f"k-{pid}-*")]
        found += [str(path) for path in (home() / "staged").glob(f"{pid}-*")]
        found += [str(path) for path in (home() / "logs").glob(f"{pid}-*")]
        found += [str(path) for path in self.temporary.iterdir()]
        return found

    def nothing_left_within(self, seconds: float) -> None:
        """Raise unless all of it is gone in time."""
        deadline = time.monotonic() + seconds
        while left := self.left():
            if time.monotonic() > deadline:
                raise AssertionError("left behind:\n" + "\n".join(left))
            time.sleep(0.1)

    def _processes(self) -> list[psutil.Process]:
        found = []
        for one in psutil.process_iter():
            try:
                if one.status() == psutil.STATUS_ZOMBIE or one.pid == os.getpid():
                    continue
                marked = one.environ().get("OUTCORE_MARK") == self.mark
                boxed = any(f"/staged/{self.process.pid}-" in word for word in one.cmdline())
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
            if marked or boxed:
                found.append(one)
        return found
