"""The system calls a kernel may not make, as a BPF program for `bwrap --seccomp`.

Assembled here, so that nothing needs libseccomp. The program returns EPERM for what is
denied, ENOSYS for `clone3` (its flags lie in memory, out of the filter's sight; libc then
takes `clone`) and for calls newer than this table, and kills on a foreign architecture.

Sources: the syscall tables of Linux 6.12, and for what is worth denying, the default profile of
Docker and `man 7 user_namespaces`.
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
    on,
    op,
)

_AF_UNIX = 1
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. The bit of NEWTIME belongs
# to the exit signal in clone(); only clone3 and unshare can ask for it.
_CLONE_NEW = 0x0002_0000 | 0x7E00_0000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# Socket ioctls read the network of the namespace a socket was made in, and those that the
# host hands to the kernel were made outside.
_SOCKET_IOCTLS, _IOCTL_CLASS = 0x8900, 0xFF00
_PERSONALITIES = (0, 0xFFFF_FFFF)

# name: (x86_64, aarch64); None where the machine has no such call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "move_pages": (279, 239),
    "migrate_pages": (256, 238),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    # memory that no limit counts
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "semget": (64, 190),
    # parts of the kernel with a history of holes
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "vmsplice": (278, 75),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "lookup_dcookie": (212, 18),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "_sysctl": (156, None),
    "sysfs": (139, None),
    "ustat": (136, None),
    "remap_file_pages": (216, 234),
    "nfsservctl": (180, 42),
    # files by handle, past the mounts
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "get_kernel_syms": (177, None),
    "query_module": (178, None),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "settimeofday": (164, 170),
    "adjtimex": (159, 171),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
}
_NEWEST = 462  # mseal, Linux 6.10


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


def denied(machine: str) -> dict[str, int]:
    """Numbers of the calls denied outright on `machine`, by name."""
    column = MACHINES[machine].column
    numbers = ((name, both[column]) for name, both in _DENIED.items())
    return {name: number for name, number in numbers if number is not None}


def program(machine: str | None = None) -> bytes:
    """The filter, an array of `struct sock_filter`.

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
    for number in sorted(denied(name).values()):
        code += [op(JEQ_K, number, 0, 1), op(RET_K, no)]
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
    code.append(op(RET_K, ALLOW))
    return b"".join(code)


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
