"""One process at a time: a lock that dies with whoever holds it."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def locked(folder: Path, waiting: Callable[[], None]) -> Iterator[int]:
    """Hold the lock of `folder`, made where it isn't there.

    The holder may delete the folder with the lock in it. A child process that inherits the
    descriptor given holds the lock too, until it ends.

    Args:
        folder: what is locked, as a whole.
        waiting: called once when another process holds it.
    """
    handle = _acquire(folder, waiting)
    try:
        yield handle
    finally:
        os.close(handle)


def _acquire(folder: Path, waiting: Callable[[], None]) -> int:
    told = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "lock"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # deleted between the two lines above
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                waiting()
                told = True
            fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_still(path, handle):
            return handle
        os.close(handle)


def _is_still(path: Path, handle: int) -> bool:
    """Whether the lock just gained is the one others will find, not one deleted meanwhile."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False
