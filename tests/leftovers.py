"""What a run of the command line might leave on the machine."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING

import psutil

from outcore.config import home
from outcore.kernel_sandbox.session import sessions_folder

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass
class Command:
    """`outcore ...` as a process of its own, with a mark that all it starts inherits.

    Attributes:
        arguments: of the command line.
        temporary: folder to be made, for temporary files.
        program: what of Python's runs it.
        home: its `$OUTCORE_HOME`; None for that of this process.
    """

    arguments: Sequence[str]
    temporary: Path
    program: Sequence[str] = ("-m", "outcore")
    home: Path | None = None
    mark: str = field(default_factory=lambda: f"mark-{uuid.uuid4().hex}")
    below: list[psutil.Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.temporary.mkdir()
        environment = os.environ | {"TEST_MARK": self.mark, "TMPDIR": str(self.temporary)}
        # -P keeps a script's own folder off the path.
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        ).rstrip(os.pathsep)
        self.home = self.home or home()
        environment["OUTCORE_HOME"] = str(self.home)
        self.process = Popen(
            [sys.executable, "-P", *self.program, *self.arguments],
            stdout=PIPE,
            stderr=PIPE,
            text=True,
            env=environment,
            start_new_session=True,
            preexec_fn=_heed,
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
        pid, at = self.process.pid, self.home
        assert at is not None
        found = [f"process {one}" for one in self._processes()]
        found += map(str, paths(sessions_folder(), f"k-{pid}-*"))
        found += map(str, paths(at / "staged", f"{pid}-*"))
        found += map(str, paths(at / "logs", f"{pid}-*"))
        found += [str(path) for path in self.temporary.iterdir()]
        return found

    def kill(self) -> None:
        """Kill it with SIGKILL, and take note of all that it had started by then."""
        # One that has ended by itself left nothing to be noted.
        with contextlib.suppress(psutil.NoSuchProcess):
            host = psutil.Process(self.process.pid)
            # Stopped first, so that it starts nothing between the two lines below.
            host.suspend()
            self.below = host.children(recursive=True)
        self.process.kill()
        self.process.communicate()

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
                marked = one.environ().get("TEST_MARK") == self.mark
                boxed = any(f"/staged/{self.process.pid}-" in word for word in one.cmdline())
            except psutil.NoSuchProcess:
                continue
            except psutil.AccessDenied:
                marked = boxed = False
            if marked or boxed or one in self.below:
                found.append(one)
        return found


def paths(folder: Path, pattern: str) -> list[Path]:
    """What there is of a pattern in a folder."""
    try:
        return list(folder.glob(pattern))
    except FileNotFoundError:  # that of the sessions goes with the last of them, of any test
        return []


def _heed() -> None:
    # Tests that a shell runs in the background inherit that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
