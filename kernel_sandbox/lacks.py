"""What each tier lacks against the strongest: the one list that all who tell of it read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from outcore.kernel_sandbox.inside import landlock

if TYPE_CHECKING:
    from collections.abc import Iterator

InForce = Literal["bwrap", "landlock", "none"]


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing that a tier leaves open, or that code can't do under it.

    Attributes:
        name: a word to know it by.
        text: what it comes to, a clause.
        open: whether it concerns safety; else it is something that does not work there.
    """

    name: str
    text: str
    open: bool = True


_SECOND_WALL = Lack("second-wall", "this Linux has no Landlock behind the namespaces")

_LANDLOCK = (
    Lack(
        "names",
        "whether a file of the host exists, its size, times, owner and where a link leads can be "
        "seen; what is in it can't, nor can folders be listed",
    ),
    Lack(
        "host-facts",
        "the host's name, its load, and which process ids are taken can be seen",
    ),
    Lack(
        "late-disk",
        "the private folder is on the host's disk; its size is looked at from outside, and can "
        "pass its cap for a moment",
    ),
    Lack("host-kernel", "no namespace stands between the code and the rest of Linux"),
    Lack("daemons", "no program can leave the kernel's session (setsid)", open=False),
    Lack("file-modes", "chmod, chown, utime and truncate by path fail", open=False),
    Lack("sockets", "no sockets but connected pairs; multiprocessing has pipes alone", open=False),
    Lack("shared-memory", "no /dev/shm, so no multiprocessing locks, pools or queues", open=False),
    Lack("terminals", "no pseudo-terminals", open=False),
)
_SAME_USER = Lack(
    "same-user",
    "the code runs as the host's own user, kept from its files and processes by Landlock and "
    "seccomp alone; its processes are counted from outside",
)
_SIGNALS = Lack(
    "signals",
    "Linux before 6.12: the code can send signals to the user's other processes, and end them",
)
_NONE = (
    Lack("files", "the code can read and write what the user can"),
    Lack("network", "it has the user's network"),
    Lack("processes", "it can end and read the user's processes, and leave some behind"),
    Lack("kernel", "it can make any system call"),
    Lack("disk", "it can fill the disk"),
)


def lacks(tier: InForce, *, abi: int, drops: bool) -> tuple[Lack, ...]:
    """What `tier` lacks on a machine.

    Args:
        abi: version of Landlock there, 0 for none.
        drops: whether the kernel runs as a user of its own, as it does where the host is root.
    """
    return tuple(_lacks(tier, abi, drops))


def _lacks(tier: InForce, abi: int, drops: bool) -> Iterator[Lack]:
    if tier == "none":
        yield from _NONE
    elif tier == "bwrap":
        if not abi:
            yield _SECOND_WALL
    else:
        yield from _LANDLOCK
        if not drops:
            yield _SAME_USER
            if abi < landlock.SCOPE_ABI:
                yield _SIGNALS
