"""What holds a running sandbox, as a whole, to its limits: a control group where one can be had,
and the watchdog.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from typing import TYPE_CHECKING

from outcore.errors import SandboxError
from outcore.kernel_sandbox import bwrap, cgroup, scope
from outcore.kernel_sandbox.cgroup import Cgroup
from outcore.kernel_sandbox.watchdog.link import Watchdog
from outcore.kernel_sandbox.watchdog.looks import Bounds
from outcore.kernel_sandbox.watchdog.main import Orders
from outcore.kernel_sandbox.watchdog.meter import Meter

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.kernel_sandbox.child import Child
    from outcore.kernel_sandbox.lacks import InForce
    from outcore.kernel_sandbox.limits import Limits

_LOG = logging.getLogger(__name__)
_numbers = itertools.count(1)


def memory_keeper() -> str:
    """What will cap the memory of sandboxes on this machine, in words."""
    parent = cgroup.delegated()
    if parent is not None:
        return f"control groups in {parent}"
    if scope.running(os.environ.get("PATH", os.defpath)) is not None:
        return "scopes of systemd"
    return "the watchdog"


class Guard:
    """Guards one kernel from `start` to `stop`; both wait, and belong in a thread.

    Args:
        child: the kernel's process, which is up.
        kernel: pid of the kernel proper.
        tier: isolation in force.
        home: the folder it may write to in the tier `landlock`.
        limits: what it may use.
    """

    def __init__(
        self, child: Child, kernel: int, tier: InForce, home: Path, limits: Limits
    ) -> None:
        boxed = tier == "bwrap"
        self._disks = tuple(f"/proc/{kernel}/root{one}" for one in bwrap.DISKS) if boxed else ()
        self._child = child
        self._limits = limits
        self._folder = None if boxed else str(home)
        self._group: Cgroup | None = None
        self._watchdog: Watchdog | None = None
        # A start whose caller has given up goes on in its thread.
        self._turns = threading.Lock()
        self._stopped = False

    def start(self) -> None:
        """Put the sandbox into a control group, if one is to be had, and begin to watch it.

        Raises:
            SandboxError: it can't be watched.
        """
        with self._turns:
            if not self._stopped:
                self._start()

    def _start(self) -> None:
        limits, hold = self._limits, self._child.hold
        orders = Orders(
            top=self._child.pid,
            disks=self._disks,
            folder=self._folder,
            capped=self._cap(),
            bounds=Bounds(limits.processes, limits.total, limits.tmp, limits.files),
            hold=hold.pidfd,
            group=hold.group,
        )
        watchdog = Watchdog(orders, self._child.strike)
        try:
            watchdog.start()
        except OSError as error:
            raise SandboxError(
                f"the watchdog, which holds the sandbox to its limits, can't be started: {error}"
            ) from error
        self._watchdog = watchdog

    def stop(self) -> str | None:
        """Watch no longer; to be called before the sandbox is ended by anyone else.

        Returns:
            Why the sandbox was killed, as the end of "it was"; None where it was not, for this.
        """
        with self._turns:
            self._stopped = True
            said = None if self._watchdog is None else self._watchdog.stop()
        if said is None and self._group is not None and self._group.ran_out:
            most = self._limits.total / (1 << 30)
            return f"killed for the memory it used: more than {most:.2f} GiB in all its processes"
        return said

    def clear(self) -> None:
        """Remove what was made for the sandbox, which has ended."""
        if self._group is not None:
            self._group.remove()

    def _cap(self) -> bool:
        """Whether a control group holds it now."""
        pids = [one.pid for one in Meter(self._child.pid).processes()]
        name = f"outcore-{os.getpid()}-{next(_numbers)}"
        parent = cgroup.delegated()
        if parent is not None:
            try:
                self._group = Cgroup.create(parent, name, self._limits)
                self._group.take(pids)
            except OSError as error:
                _LOG.debug("guard: no control group in %s: %s", parent, error)
            else:
                return True
        systemd = scope.running(os.environ.get("PATH", os.defpath))
        if systemd is None:
            return False
        failure = systemd.scope(name, pids, self._limits)
        if failure is not None:
            _LOG.debug("guard: no scope of systemd: %s", failure)
        return failure is None
