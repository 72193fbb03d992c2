"""The system calls a kernel may not make, as a BPF program for `bwrap --seccomp`.

Assembled here, so that nothing needs libseccomp. The program returns EPERM for what is
denied, ENOSYS for `clone3` (its flags lie in memory, out of the filter's sight; libc then
takes `clone`) and for calls newer than this table, and kills on a foreign architecture.

A kernel without namespaces of its own gets a stricter one (`shared`), which it puts on itself
when its sockets are connected: what else would meet the host's files, sockets and processes
there, past Landlock, goes too.
"""

from __future__ import annotations

import errno
import os
import platform
from dataclasses import dataclass

from outcore.errors import SandboxUnavailable
from outcore.kernel_sandbox.inside.bpf import (
    ALLOW,
    AND_K,
    ARCH,
    ARGS,
    AUDIT,
    ERRNO,
    JEQ_K,
    JGE_K,
    JGT_K,
    KILL,
    LD_W_ABS,
    NR,
    RET_K,
    X32,
    argument,
    on,
    op,
)
from outcore.kernel_sandbox.syscalls import DENIED, SHARED_DENIED, Numbers

_AF_UNIX = 1
_SIGKILL = 9
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. The bit of NEWTIME belongs
# to the exit signal in clone(); only clone3 and unshare can ask for it.
_CLONE_NEW = 0x0002_0000 | 0x7E00_0000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# Socket ioctls read the network of the namespace a socket was made in, and those that the
# host hands to the kernel were made outside.
_SOCKET_IOCTLS, _IOCTL_CLASS = 0x8900, 0xFF00
_PERSONALITIES = (0, 0xFFFF_FFFF)

_NEWEST = 462  # mseal, Linux 6.10

# Calls that take a pid first; only the caller's own 0 passes.
_ON_OTHERS: dict[str, tuple[int, int]] = {
    "prlimit64": (302, 261),
    "sched_setaffinity": (203, 122),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}
# Calls that take a kind of target first, 0 or 1 for a process, and then its id.
_ON_KINDS: dict[str, tuple[int, int, int]] = {
    "setpriority": (141, 140, 0),
    "ioprio_set": (251, 30, 1),
}
_OPEN: Numbers = {"open": (2, None), "openat": (257, 56)}
_OPENAT2 = 437
# libzmq gives each thread of its own the usual policy, by the thread's id, and aborts where
# it may not.
_SETSCHEDULER = (144, 119)
_SCHED_OTHER = 0
_PRCTL = (157, 167)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_SOCK_STREAM, _SOCK_KINDS = 1, 0xF
# What waits in sockets counts for no process; at their usual size it can be reckoned.
_SETSOCKOPT = (54, 208)
_SOL_SOCKET, _SO_SNDBUF, _SO_SNDBUFFORCE = 1, 7, 32


@dataclass(frozen=True, slots=True)
class Machine:
    """Numbers of one architecture."""

    audit: int
    column: int
    socket: int
    socketpair: int
    clone: int
    clone3: int
    ioctl: int
    personality: int
    x32: bool


MACHINES = {
    "x86_64": Machine(AUDIT["x86_64"], 0, 41, 53, 56, 435, 16, 135, x32=True),
    "aarch64": Machine(AUDIT["aarch64"], 1, 198, 199, 220, 435, 29, 92, x32=False),
}


def denied(machine: str, *, shared: bool = False) -> dict[str, int]:
    """Numbers of the calls denied outright on `machine`, by name."""
    column = MACHINES[machine].column
    table = {**DENIED, **SHARED_DENIED} if shared else DENIED
    numbers = ((name, both[column]) for name, both in table.items())
    return {name: number for name, number in numbers if number is not None}


def checked(machine: str) -> dict[str, int]:
    """Numbers of the calls whose arguments decide, most only in a filter that is `shared`."""
    column = MACHINES[machine].column
    tables = {**_ON_OTHERS, **_ON_KINDS, **_OPEN, "openat2": (_OPENAT2,) * 2, "prctl": _PRCTL}
    tables |= {"sched_setscheduler": _SETSCHEDULER, "setsockopt": _SETSOCKOPT}
    numbers = ((name, both[column]) for name, both in tables.items())
    return {name: number for name, number in numbers if number is not None}


def program(machine: str | None = None, *, shared: bool = False) -> bytes:
    """The filter, an array of `struct sock_filter`.

    Args:
        machine: this one, unless said otherwise.
        shared: whether the kernel lives in the host's own namespaces.

    Raises:
        SandboxUnavailable: no table for this machine.
    """
    name = platform.machine() if machine is None else machine
    if name not in MACHINES:
        raise SandboxUnavailable(
            f"there is no seccomp filter for {name}; outcore sandboxes on x86_64 and aarch64. "
            "--sandbox none runs without one"
        )
    this = MACHINES[name]
    no, unknown = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
    code = [op(LD_W_ABS, ARCH), op(JEQ_K, this.audit, 1, 0), op(RET_K, KILL)]
    code.append(op(LD_W_ABS, NR))
    if this.x32:
        code += [op(JGE_K, X32, 0, 1), op(RET_K, KILL)]
    code += [op(JGT_K, _NEWEST, 0, 1), op(RET_K, unknown)]
    code += [op(JEQ_K, this.clone3, 0, 1), op(RET_K, unknown)]
    for number in sorted(denied(name, shared=shared).values()):
        code += [op(JEQ_K, number, 0, 1), op(RET_K, no)]
    if shared:
        code += _shared(this)
    only_unix = [op(LD_W_ABS, ARGS), op(JEQ_K, _AF_UNIX, 1, 0), op(RET_K, no)]
    for number in (this.socket, this.socketpair):
        code += on(number, only_unix)
    code += on(
        this.clone,
        [op(LD_W_ABS, ARGS), op(AND_K, _CLONE_NEW), op(JEQ_K, 0, 1, 0), op(RET_K, no)],
    )
    code += on(
        this.ioctl,
        [
            op(LD_W_ABS, ARGS + 8),
            op(JEQ_K, _TIOCSTI, 3, 0),
            op(JEQ_K, _TIOCLINUX, 2, 0),
            op(AND_K, _IOCTL_CLASS),
            op(JEQ_K, _SOCKET_IOCTLS, 0, 1),
            op(RET_K, no),
        ],
    )
    code += on(
        this.personality,
        [
            op(LD_W_ABS, ARGS),
            op(JEQ_K, _PERSONALITIES[0], 2, 0),
            op(JEQ_K, _PERSONALITIES[1], 1, 0),
            op(RET_K, no),
        ],
    )
    code += on(
        _SETSOCKOPT[this.column],
        [
            *(argument(1), op(JEQ_K, _SOL_SOCKET, 0, 4)),
            *(argument(2), op(JEQ_K, _SO_SNDBUF, 1, 0), op(JEQ_K, _SO_SNDBUFFORCE, 0, 1)),
            op(RET_K, no),
        ],
    )
    code.append(op(RET_K, ALLOW))
    return b"".join(code)


def _shared(this: Machine) -> list[bytes]:
    """What decides by arguments, where the host's namespaces are shared."""
    no = op(RET_K, ERRNO | errno.EPERM)
    code = [op(JEQ_K, _OPENAT2, 0, 1), op(RET_K, ERRNO | errno.ENOSYS)]
    for both in _ON_OTHERS.values():
        code += on(both[this.column], [argument(0), op(JEQ_K, 0, 1, 0), no])
    own = [argument(0), op(JEQ_K, 0, 3, 0), argument(1), op(JEQ_K, _SCHED_OTHER, 1, 0), no]
    code += on(_SETSCHEDULER[this.column], own)
    for numbers in _ON_KINDS.values():
        kind = [argument(0), op(JEQ_K, numbers[2], 1, 0), no]
        code += on(numbers[this.column], [*kind, argument(1), op(JEQ_K, 0, 1, 0), no])
    # Old Landlocks let a file that may be read be emptied on the way.
    emptying = os.O_TRUNC | os.O_ACCMODE
    for index, pair in enumerate(_OPEN.values(), start=1):
        number = pair[this.column]
        if number is not None:
            body = [argument(index), op(AND_K, emptying), op(JEQ_K, os.O_TRUNC, 0, 1), no]
            code += on(number, body)
    dies_with_parent = [argument(1), op(JEQ_K, _SIGKILL, 1, 0), no]
    code += on(
        _PRCTL[this.column],
        [
            *(argument(0), op(JEQ_K, _PR_SET_CHILD_SUBREAPER, 0, 1), no),
            *(op(JEQ_K, _PR_SET_PDEATHSIG, 0, len(dies_with_parent)), *dies_with_parent),
        ],
    )
    # Only those that are connected at both ends can't be sent from to any path.
    stream = [argument(0), op(JEQ_K, _AF_UNIX, 1, 0), no]
    stream += [argument(1), op(AND_K, _SOCK_KINDS), op(JEQ_K, _SOCK_STREAM, 1, 0), no]
    return code + on(this.socketpair, stream)


def descriptor() -> int:
    """Open file descriptor holding the filter for this machine; the caller closes it.

    Raises:
        SandboxUnavailable: see `program`.
    """
    filtered = program()
    fd = os.memfd_create("seccomp")
    os.write(fd, filtered)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd
