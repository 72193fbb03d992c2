"""Disks: space and files."""

from __future__ import annotations

import contextlib
import errno
import os
import time

from .attack import Aim, attack, own_folder

_OUTSIDE = "it would fill the disks of the machine"
_MIB = 1 << 20


def _fill(folder: str, aim: Aim, *, remove: bool = False) -> str:
    used = 0
    held: list[int] = []
    names: list[str] = []
    try:
        for number in range(aim.goal // (16 * _MIB)):
            name = f"{folder}/{aim.mark}-{number}"
            held.append(os.open(name, os.O_CREAT | os.O_WRONLY, 0o600))
            names.append(name)
            if remove:
                os.unlink(name)
            for _ in range(16):
                used += os.write(held[-1], b"x" * _MIB)
    except OSError as error:
        return f"{errno.errorcode[error.errno or 0]} after {used // _MIB} MiB"
    finally:
        for fd in held:
            os.close(fd)
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(name)
    return f"used {used // _MIB} MiB"


@attack(expected="contained", control=_OUTSIDE)
def temporary_folder_filled(aim: Aim) -> str:
    """/tmp, which lives in memory."""
    return _fill(own_folder(), aim)


@attack(expected="contained", control=_OUTSIDE)
def shared_folder_filled(aim: Aim) -> str:
    """/dev/shm, which lives in memory."""
    return _fill("/dev/shm", aim)


@attack(expected="contained", control=_OUTSIDE)
def removed_files_filled(aim: Aim) -> str:
    """Files that are removed while they are open, so that no folder shows them."""
    return _fill(own_folder(), aim, remove=True)


@attack(expected="contained", control=_OUTSIDE)
def one_huge_file(aim: Aim) -> str:
    """A file that is set aside in one go."""
    path = f"{own_folder()}/{aim.mark}"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    try:
        os.posix_fallocate(fd, 0, aim.goal)
    finally:
        os.close(fd)
        os.unlink(path)
    return "set aside the whole"


@attack(expected="contained", control=_OUTSIDE, seconds=20)
def files_without_number(aim: Aim) -> str:
    """Empty files, which take memory and no space."""
    folder = f"{own_folder()}/{aim.mark}"
    os.mkdir(folder)
    made = 0
    until = time.monotonic() + 2
    try:
        while time.monotonic() < until:
            for _ in range(1000):
                os.close(os.open(f"{folder}/{made}", os.O_CREAT | os.O_WRONLY))
                made += 1
    except OSError as error:
        return f"{errno.errorcode[error.errno or 0]} after {made} files"
    finally:
        for number in range(made + 1):
            with contextlib.suppress(OSError):
                os.unlink(f"{folder}/{number}")
        os.rmdir(folder)
    return f"{made} files"


@attack(expected="contained", control=_OUTSIDE)
def folders_in_folders(aim: Aim) -> str:
    """Folders so deep that whoever removes them fails."""
    os.chdir(own_folder())
    os.makedirs(aim.mark)
    try:
        for _ in range(5000):
            os.chdir(aim.mark if _ == 0 else "d")
            os.mkdir("d")
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        os.chdir(own_folder())
    return "5000 deep"
