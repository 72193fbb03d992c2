"""A scope of systemd for one sandbox: a control group that systemd makes and caps for us."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outcore.kernel_sandbox.limits import Limits

_SYSTEMD = Path("/run/systemd/system")
_SECONDS = 5.0
_MANAGER = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)


@dataclass(frozen=True, slots=True)
class Systemd:
    """The systemd that would make scopes for this user.

    Attributes:
        busctl: its program for sending messages.
        system: whether it is the machine's own, which root uses; else the user's.
    """

    busctl: str
    system: bool

    def ask(self, *words: str) -> str | None:
        """Send it a message; returns what went wrong, None if nothing did."""
        line = [self.busctl, "--system" if self.system else "--user", *words]
        try:
            done = subprocess.run(
                line,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return None if done.returncode == 0 else done.stderr.strip() or str(done.returncode)

    def scope(self, name: str, pids: Iterable[int], limits: Limits) -> str | None:
        """Have processes of ours put into a new scope, capped; returns what went wrong.

        Args:
            name: of the scope, without an ending. It goes with its last process.
            pids: those to be put there. What they start later is in it from the beginning.
            limits: of the sandbox.
        """
        moved = [str(pid) for pid in pids]
        properties = (
            *("PIDs", "au", str(len(moved)), *moved),
            *("MemoryMax", "t", str(limits.total)),
            *("MemorySwapMax", "t", "0"),
            *("TasksMax", "t", str(2 * limits.processes)),
            *("CollectMode", "s", "inactive-or-failed"),
        )
        signature = "ssa(sv)a(sa(sv))"
        call = ("StartTransientUnit", signature, f"{name}.scope", "fail", "5", *properties, "0")
        return self.ask("call", *_MANAGER, *call)


@cache
def running(path: str, system: Path = _SYSTEMD) -> Systemd | None:
    """The systemd of this user, if one runs and answers.

    Args:
        path: where programs are looked for, as in $PATH.
        system: the folder that is there if systemd runs the machine.
    """
    busctl = shutil.which("busctl", path=path)
    if busctl is None or not system.is_dir():
        return None
    root = os.geteuid() == 0
    if not root and "XDG_RUNTIME_DIR" not in os.environ:
        return None
    found = Systemd(busctl, root)
    asked = found.ask("get-property", *_MANAGER, "Version")
    return found if asked is None else None
