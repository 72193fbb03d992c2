"""System calls by name, past everything Python and libc would do to them."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from typing import Any

from .attack import Stopped

# name: (x86_64, aarch64); -1 where the machine has no such call.
NUMBERS: dict[str, tuple[int, int]] = {
    "socket": (41, 198),
    "clone": (56, 220),
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "setsockopt": (54, 208),
    "modify_ldt": (154, -1),
    "personality": (135, 92),
    "pivot_root": (155, 41),
    "adjtimex": (159, 171),
    "chroot": (161, 51),
    "acct": (163, 89),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "vmsplice": (278, 75),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "memfd_create": (319, 279),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "clone3": (435, 435),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "mount_setattr": (442, 442),
    "memfd_secret": (447, 447),
    "process_mrelease": (448, 448),
    "open_tree_attr": (467, 467),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "msgget": (68, 186),
    "msgctl": (71, 187),
}
_libc: Any = ctypes.CDLL(None, use_errno=True)


def call(name: str, *args: Any, let_in: tuple[int, ...] = ()) -> int:
    """Make a system call.

    Args:
        let_in: errors that only a call gets that was let in; then -1 is returned.

    Raises:
        OSError: the call fails.
        Stopped: this machine has no such call.
    """
    number = NUMBERS[name][platform.machine() != "x86_64"]
    if number < 0:
        raise Stopped(f"no {name} on this machine")
    return call_number(number, *args, let_in=let_in)


def call_number(number: int, *args: Any, let_in: tuple[int, ...] = ()) -> int:
    """Make the system call of this number; see `call`."""
    ctypes.set_errno(0)
    # Python's own integers would be passed as 32 bits.
    plain = [ctypes.c_long(one) if isinstance(one, int) else one for one in args]
    _libc.syscall.restype = ctypes.c_long
    result = int(_libc.syscall(ctypes.c_long(number), *plain))
    code = ctypes.get_errno()
    if result == -1 and code not in let_in:
        raise OSError(code, os.strerror(code))
    return result


def probe(name: str, *args: Any, let_in: tuple[int, ...] = ()) -> str:
    """Make a system call that changes nothing; returns how it was let in."""
    result = call(name, *args, let_in=let_in)
    if result == -1:
        return f"{name} was let in: {errno.errorcode[ctypes.get_errno()]}"
    return f"{name} gave {result}"


def prctl(*args: int) -> int:
    """The call of that name, by libc."""
    return int(_libc.prctl(*map(ctypes.c_ulong, args)))


def in_child(work: Any) -> str:
    """Run `work` in a forked child and return what it returned; OSErrors are raised here.

    Raises:
        Stopped: a signal ended the child, or it said nothing.
    """
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = b"x"
        try:
            said = b"r" + str(work()).encode()
        except OSError as error:
            said = b"e" + str(error.errno or 0).encode()
        except BaseException as error:
            said = b"s" + repr(error).encode()
        finally:
            os.write(write, said[:4096])
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    kind, text = said[:1], said[1:].decode(errors="replace")
    if kind == b"r":
        return text
    if kind == b"e":
        raise OSError(int(text), os.strerror(int(text)))
    if os.WIFSIGNALED(status):
        raise Stopped(f"killed by signal {os.WTERMSIG(status)}")
    raise Stopped(text or "the child said nothing")
