"""Landlock: giving up files, TCP ports, abstract sockets and signals, for good.

The kernel's newest version of it that is known here is used, and each older one for what it
has; `abi` tells which. It binds the thread that calls `restrict` and what comes of it: call it
before there are others.

Sources: Linux `include/uapi/linux/landlock.h` and `Documentation/userspace-api/landlock.rst`.
The numbers are the same on x86_64 and aarch64.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
READ_FILE = 1 << 2
READ_DIR = 1 << 3
REFER = 1 << 13
TRUNCATE = 1 << 14
IOCTL_DEV = 1 << 15
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
# What a rule on a file, not a folder, may speak of.
_OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV

# The first version of Landlock that has them, and the rights to files.
_FILE_RIGHTS = ((1, (1 << 13) - 1), (2, REFER), (3, TRUNCATE), (5, IOCTL_DEV))
_TCP_ABI, _TCP = 4, 0b11  # bind, connect
SCOPE_ABI, _SCOPES = 6, 0b11  # abstract unix sockets, signals
TRUNCATE_ABI = 3

READ = EXECUTE | READ_FILE | READ_DIR
LIST = READ_DIR
DEVICE = READ_FILE | WRITE_FILE | IOCTL_DEV | READ_DIR


def abi() -> int:
    """Version of Landlock that this kernel has; 0 for none."""
    return max(0, int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)))


def rights(version: int) -> int:
    """All rights to files that Landlock of this version can deny."""
    return sum(bits for first, bits in _FILE_RIGHTS if version >= first)


def attributes(version: int) -> bytes:
    """What is denied unless a rule allows it, a `struct landlock_ruleset_attr`."""
    fields = [rights(version)]
    if version >= _TCP_ABI:
        fields.append(_TCP)
    if version >= SCOPE_ABI:
        fields.append(_SCOPES)
    return struct.pack(f"={len(fields)}Q", *fields)


def writing(version: int) -> int:
    """Rights to a folder of one's own: all but making devices, and running what was put there."""
    return rights(version) & ~(EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | IOCTL_DEV)


def restrict(rules: Iterable[tuple[str | int, int]]) -> int:
    """Leave this thread nothing but what the rules allow; returns the version in force.

    Args:
        rules: a path, or an open descriptor of one, and the rights to it and to what is beneath.
            Paths that aren't there, or closed to this process anyway, are left out.

    Raises:
        OSError: the kernel has no Landlock, or refuses.
    """
    libc = _libc()
    version = abi()
    if not version:
        raise OSError(ctypes.get_errno(), "this kernel has no Landlock")
    attr = attributes(version)
    ruleset = libc.syscall(_CREATE_RULESET, attr, ctypes.c_size_t(len(attr)), 0)
    _check(ruleset)
    try:
        for path, allowed in rules:
            with contextlib.suppress(FileNotFoundError, PermissionError):
                _allow(ruleset, path, allowed & rights(version))
        _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _check(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, path: str | int, allowed: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC) if isinstance(path, str) else path
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            allowed &= _OF_FILES
        if not allowed:
            return
        rule = struct.pack("=Qi", allowed, fd)
        _check(_libc().syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0))
    finally:
        if isinstance(path, str):
            os.close(fd)


def _check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock can't be put on")


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)
