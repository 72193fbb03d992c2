"""What the watchdog's process does: look, wait, and kill the sandbox where it passes a limit.

Started by `link.py` with nothing but the standard library. It kills by itself, since the host may
be busy, and says why on its standard output before it does. It ends with its standard input, which
the host holds.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
from typing import NamedTuple

from .looks import Bounds, Looks
from .meter import Meter


class Orders(NamedTuple):
    """What is watched.

    Attributes:
        top: pid of the first process of the sandbox.
        disks: folders where its file systems in memory are mounted, as the host reaches them.
        folder: the folder its code may write to, where that is on the host's disk.
        capped: whether a control group holds its memory down.
        bounds: what it may use.
        hold: descriptor of the process whose end is the sandbox's.
        group: process group to be killed with it; 0 for none.
    """

    top: int
    disks: tuple[str, ...]
    folder: str | None
    capped: bool
    bounds: Bounds
    hold: int
    group: int


def main() -> None:
    """Watch until there is nothing to watch any more."""
    orders = Orders(*json.loads(sys.argv[1]))
    meter = Meter(orders.top, tuple(orders.disks))
    looks = Looks(meter, Bounds(*orders.bounds), folder=orders.folder, capped=orders.capped)
    while not select.select([0], [], [], looks.seconds)[0]:
        verdict = looks.look()
        if verdict is not None:
            os.write(1, verdict.encode())
            _kill(orders)
            return


def _kill(orders: Orders) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(orders.hold, signal.SIGKILL)
        # Only now: as long as the process is there its number is no other group's.
        if orders.group:
            os.killpg(orders.group, signal.SIGKILL)
