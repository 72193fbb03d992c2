"""The system calls a dry run may make, as a seccomp filter that it puts on itself.

Reading, memory, time and itself: all else fails with EPERM. What would only change the world
and gives nothing back, such as `unlink`, is left out and said to have worked, so that the
code goes on to its next question; so is sleeping.

Sources: the syscall tables of Linux 6.12.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import termios

from .bpf import (
    ALLOW,
    AND_K,
    ARCH,
    ARGS,
    AUDIT,
    ERRNO,
    JEQ_K,
    JGE_K,
    KILL,
    LD_W_ABS,
    NR,
    RET_K,
    X32,
    argument,
    on,
    op,
)

# name: (x86_64, aarch64); None where the machine has no such call.
_Numbers = dict[str, tuple[int | None, int | None]]

_ALLOWED: _Numbers = {
    # files
    "read": (0, 63),
    "pread64": (17, 67),
    "readv": (19, 65),
    "preadv": (295, 69),
    "preadv2": (327, 286),
    "lseek": (8, 62),
    "close": (3, 57),
    "close_range": (436, 436),
    "stat": (4, None),
    "lstat": (6, None),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "statx": (332, 291),
    "access": (21, None),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "getdents": (78, None),
    "getdents64": (217, 61),
    "getcwd": (79, 17),
    "statfs": (137, 43),
    "fstatfs": (138, 44),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "umask": (95, 166),
    "getxattr": (191, 8),
    "lgetxattr": (192, 9),
    "fgetxattr": (193, 10),
    "listxattr": (194, 11),
    "llistxattr": (195, 12),
    "flistxattr": (196, 13),
    "fadvise64": (221, 223),
    "readahead": (187, 213),
    "poll": (7, None),
    "ppoll": (271, 73),
    "select": (23, None),
    "pselect6": (270, 72),
    "epoll_create1": (291, 20),
    "epoll_wait": (232, None),
    "epoll_pwait": (281, 22),
    "dup": (32, 23),
    "dup2": (33, None),
    "dup3": (292, 24),
    "pipe": (22, None),
    "pipe2": (293, 59),
    "eventfd2": (290, 19),
    # memory
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    "mincore": (27, 232),
    # time and itself
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "gettimeofday": (96, 169),
    "time": (201, None),
    "times": (100, 153),
    "getrusage": (98, 165),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "gettid": (186, 178),
    "getuid": (102, 174),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getegid": (108, 177),
    "getgroups": (115, 158),
    "getresuid": (118, 148),
    "getresgid": (120, 150),
    "getpgid": (121, 155),
    "getpgrp": (111, None),
    "getsid": (124, 156),
    "uname": (63, 160),
    "sysinfo": (99, 179),
    "getcpu": (309, 168),
    "sched_getaffinity": (204, 123),
    "getrlimit": (97, 163),
    "getrandom": (318, 278),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "rt_sigpending": (127, 136),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "set_robust_list": (273, 99),
    "get_robust_list": (274, 100),
    "set_tid_address": (218, 96),
    "arch_prctl": (158, None),
    "membarrier": (324, 283),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_LEFT_OUT: _Numbers = {
    "mkdir": (83, None),
    "mkdirat": (258, 34),
    "rmdir": (84, None),
    "unlink": (87, None),
    "unlinkat": (263, 35),
    "rename": (82, None),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "utimensat": (280, 88),
    "futimesat": (261, None),
    "truncate": (76, 45),
    "ftruncate": (77, 46),
    "fallocate": (285, 47),
    "fsync": (74, 82),
    "fdatasync": (75, 83),
    "sync_file_range": (277, 84),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "flock": (73, 32),
    "nanosleep": (35, 101),
    "clock_nanosleep": (230, 115),
    "rt_sigprocmask": (14, 135),
    "setitimer": (38, 103),
    "alarm": (37, None),
}
_CHECKED: _Numbers = {
    "open": (2, None),
    "openat": (257, 56),
    "fcntl": (72, 25),
    "ioctl": (16, 29),
    "rt_sigaction": (13, 134),
    "prlimit64": (302, 261),
    "write": (1, 64),
    "writev": (20, 66),
    "openat2": (437, 437),
    "clone3": (435, 435),
}
_COLUMN = {"x86_64": 0, "aarch64": 1}
_OPENING = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC
_F_DUPFD_CLOEXEC, _F_GETPIPE_SZ = 1030, 1032
_FCNTL = (
    *(fcntl.F_DUPFD, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL),
    *(_F_DUPFD_CLOEXEC, _F_GETPIPE_SZ),
)
_IOCTL = (termios.TCGETS, termios.FIONREAD, termios.FIOCLEX, termios.FIONCLEX, termios.TIOCGWINSZ)
_MOST_WRITABLE = 100


def numbers(machine: str) -> dict[str, int]:
    """Numbers of the calls this module knows on `machine`, by name."""
    column = _COLUMN[machine]
    known = {**_ALLOWED, **_LEFT_OUT, **_CHECKED}
    return {name: one for name, both in known.items() if (one := both[column]) is not None}


def program(machine: str, writable: tuple[int, ...]) -> bytes:
    """The filter, an array of `struct sock_filter`.

    Args:
        machine: a key of `bpf.AUDIT`.
        writable: file descriptors that may be written to.
    """
    column = _COLUMN[machine]
    no, nothing = op(RET_K, ERRNO | errno.EPERM), op(RET_K, ERRNO)
    code = [op(LD_W_ABS, ARCH), op(JEQ_K, AUDIT[machine], 1, 0), op(RET_K, KILL)]
    code.append(op(LD_W_ABS, NR))
    if machine == "x86_64":
        code += [op(JGE_K, X32, 0, 1), op(RET_K, KILL)]
    for table, verdict in ((_ALLOWED, op(RET_K, ALLOW)), (_LEFT_OUT, nothing)):
        for both in table.values():
            number = both[column]
            if number is not None:
                code += [op(JEQ_K, number, 0, 1), verdict]
    reading = [op(AND_K, _OPENING), op(JEQ_K, 0, 1, 0), no]
    to_null = [argument(0), *_among(writable[:_MOST_WRITABLE]), no]
    alarm_stays = [argument(0), op(JEQ_K, signal.SIGALRM, 0, 1), nothing]
    # Asking for a limit of one's own; the pointer to a new one is checked in both halves.
    only_asking = [
        *(argument(0), op(JEQ_K, 0, 1, 0), no),
        *(argument(2), op(JEQ_K, 0, 1, 0), no),
        *(op(LD_W_ABS, ARGS + 8 * 2 + 4), op(JEQ_K, 0, 1, 0), no),
    ]
    bodies = {
        "open": [argument(1), *reading],
        "openat": [argument(2), *reading],
        "write": to_null,
        "writev": to_null,
        "fcntl": [argument(1), *_among(_FCNTL), nothing],
        "ioctl": [argument(1), *_among(_IOCTL), no],
        "rt_sigaction": alarm_stays,
        "prlimit64": only_asking,
        # Their arguments lie in memory; libc falls back to the older calls.
        "openat2": [op(RET_K, ERRNO | errno.ENOSYS)],
        "clone3": [op(RET_K, ERRNO | errno.ENOSYS)],
    }
    for name, body in bodies.items():
        number = _CHECKED[name][column]
        if number is not None:
            code += on(number, body)
    return b"".join([*code, no])


def _among(values: tuple[int, ...]) -> list[bytes]:
    return [one for value in values for one in (op(JEQ_K, value, 0, 1), op(RET_K, ALLOW))]
