"""rlms 0.1.3 as a system of the quality benchmark, on the same engines.

Each item is answered by a process of its own (rlms_answer.py), in the environment that loops.py
makes, against a front (front.py) over the running engines. rlms runs the model's code in its own
process; here that process sees the file system read-only, with nothing to write but its scratch
folder, under bubblewrap.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from front import Front, Meter
from loops import rlms_python
from systems import Models, Reply, whole

from outcore.errors import SandboxUnavailable
from outcore.kernel_sandbox.tiers import choose

if TYPE_CHECKING:
    from tasks.item import Item

# Beside the seconds that rlms itself is given, which it looks at between turns only.
_GRACE_SECONDS = 120.0


@dataclass(slots=True)
class Rlms:
    """rlms with its own prompts and limits, the local environment, and depth 1."""

    models: Models
    front: Front
    name: str = "rlms"
    python: Path = field(default=Path(), init=False)
    _number: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _running: set[int] = field(default_factory=set, init=False)

    def begin(self) -> None:
        """Install rlms where it is not yet, and open the front."""
        self.python = rlms_python()
        self.front.start()

    def end(self) -> None:
        """End what still runs, and the front."""
        with self._lock:
            running = set(self._running)
        for process in running:
            _kill(process)
        self.front.close()

    def answer(self, item: Item) -> Reply:
        """Answer one item in a process of its own."""
        with self._lock:
            self._number += 1
            name = str(self._number)
        seconds = self.models.budget.seconds
        with tempfile.TemporaryDirectory(prefix="rlms-") as scratch:
            folder = Path(scratch)
            (folder / "context.txt").write_text(whole(item.context), encoding="utf-8", newline="")
            (folder / "task.json").write_text(
                json.dumps(
                    {
                        "address": f"{self.front.address}/ask/{name}/v1",
                        "question": item.question,
                        "seconds": seconds,
                    }
                ),
                encoding="utf-8",
            )
            said, complaint = self._run(folder, seconds + _GRACE_SECONDS)
        meter = self.front.meters.pop(name, Meter())
        try:
            told = json.loads(said.splitlines()[-1])
        except (ValueError, IndexError):
            told = {"answer": "", "error": complaint.strip()[-300:] or "rlms said nothing"}
        reason = told.get("error")
        return Reply(
            answer=str(told.get("answer") or ""),
            complete=reason is None,
            reason=reason,
            root=meter.root,
            sub=meter.sub,
            turns=meter.root.calls,
        )

    def _run(self, folder: Path, seconds: float) -> tuple[str, str]:
        program = [*_confined(folder), str(self.python), "-P"]
        program += [str(Path(__file__).with_name("rlms_answer.py")), str(folder)]
        process = subprocess.Popen(
            program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": str(folder), "TMPDIR": str(folder)},
        )
        with self._lock:
            self._running.add(process.pid)
        try:
            return process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return "", f"rlms did not end within {seconds:g} s"
        finally:
            with self._lock:
                self._running.discard(process.pid)
            if process.poll() is None:
                _kill(process.pid)
            process.communicate()


def _confined(folder: Path) -> list[str]:
    program = choose("auto").program
    if program is None:
        raise SandboxUnavailable("rlms runs code that a model wrote; it needs bubblewrap here")
    return [
        *(str(program), "--die-with-parent", "--unshare-pid", "--unshare-ipc"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--bind", str(folder), str(folder), "--chdir", str(folder), "--"),
    ]


def _kill(process: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)
