"""The ways in which fetching weights fails, and what the disk has to do with them."""

from __future__ import annotations

import errno
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from outcore.errors import WeightsError
from outcore.models.units import human

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A quota and a limit on a file's size end a download just as a full disk does.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_TEXT = re.compile(rf"\b(?:errno|os error) (?:{'|'.join(map(str, _FULL))})\b", re.IGNORECASE)


class SourceFailed(WeightsError):
    """One source can't give the weights; the next is tried. The message is the reason."""


class NoSource(WeightsError):
    """Every source failed."""


class WrongHash(WeightsError):
    """A file differs from what its maker published."""


class NoRoom(WeightsError):
    """The disk holds too little."""


def require_room(folder: Path, needed: int, what: str) -> None:
    """Check that the file system of `folder` has `needed` bytes free.

    Raises:
        NoRoom: it has not; the message holds both numbers.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoRoom(
            f"{what} needs {human(needed)} of disk and {folder} has {human(free)} free; "
            "make room there, or set OUTCORE_HOME to a folder on a larger disk"
        )


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn the operating system's errors while writing to `folder` into WeightsError.

    Raises:
        NoRoom: the disk filled up.
        WeightsError: anything else, e.g. a folder that may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise full(folder, str(error)) from error
        raise WeightsError(
            f"reading or writing weights under {folder} failed: {error}; check who may do so, "
            "or set OUTCORE_HOME to another folder"
        ) from error


def tells_full(text: str) -> bool:
    """Whether what a child process wrote before it died tells of a full disk."""
    return _FULL_TEXT.search(text) is not None


def full(folder: Path, detail: str) -> NoRoom:
    """The error for a disk that filled up while it was written."""
    free = human(shutil.disk_usage(folder).free)
    return NoRoom(
        f"the disk filled up while writing to {folder} ({detail}; {free} free now, after "
        "removing what was begun); make room there, or set OUTCORE_HOME to a folder on a "
        "larger disk"
    )
