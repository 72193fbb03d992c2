"""Whether the walls of a kernel that shares the host's namespaces hold on this machine."""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import TYPE_CHECKING

from . import confine, landlock

if TYPE_CHECKING:
    from collections.abc import Callable


def main() -> None:
    """Put them on and push against each; ends the process with what gave way, if any did.

    Standard input holds JSON: `rules` and `seccomp` as in a start file, and whether `signals` are
    kept in.
    """
    start = json.load(sys.stdin)
    parent = os.getppid()
    landlock.restrict((path, rights) for path, rights in start["rules"])
    confine.put_on(bytes.fromhex(start["seccomp"]), all_threads=True)
    pushed: dict[str, Callable[[], object]] = {
        "folders of the host": lambda: os.listdir("/"),  # noqa: PTH208
        "processes of the host": lambda: os.listdir(f"/proc/{parent}/task"),  # noqa: PTH208
        "sockets": lambda: socket.socket(socket.AF_UNIX),
        "modes of files": lambda: os.chmod("/proc/self", 0o555),  # noqa: PTH101, S103
    }
    if start["signals"]:
        pushed["signals to the host"] = lambda: os.kill(parent, 0)
    for what, push in pushed.items():
        try:
            push()
        except PermissionError:
            continue
        raise SystemExit(f"they do not keep the code from {what}")
