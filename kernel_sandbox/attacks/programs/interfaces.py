"""Parts of Linux that let code change the machine, or have let code break out of it."""

from __future__ import annotations

import ctypes
import os
import struct
from errno import (
    EBADF,
    EFAULT,
    EINVAL,
    ENODEV,
    ENOENT,
    ENOEXEC,
    ENOKEY,
    ENOTBLK,
    EOPNOTSUPP,
    ESRCH,
)
from typing import Any

from .attack import Aim, Stopped, attack
from .machine import call, probe

_KEYRING = -3


def _zeros(size: int) -> Any:
    return ctypes.create_string_buffer(size)


def _close(fd: int) -> None:
    if fd >= 0:
        os.close(fd)


@attack("root")
def bpf(aim: Aim) -> str:
    """Programs are loaded into the machine's kernel."""
    del aim
    # An array of one entry of four bytes.
    attributes = ctypes.create_string_buffer(struct.pack("IIII", 2, 4, 4, 1), 72)
    _close(call("bpf", 0, attributes, 72))
    return "made a BPF map"


@attack(doubt="kernel.perf_event_paranoid keeps ordinary users out, or there are no counters")
def perf(aim: Aim) -> str:
    """Counters of the processor tell what other processes do."""
    del aim
    # A software event, the clock of this task, without the kernel and the hypervisor.
    event = struct.pack("IIQQQQQ", 1, 128, 0, 0, 0, 0, 1 << 5 | 1 << 6)
    _close(call("perf_event_open", ctypes.create_string_buffer(event, 128), 0, -1, -1, 0))
    return "opened a counter"


@attack(doubt="kernel.io_uring_disabled, or a Linux without io_uring")
def io_uring(aim: Aim) -> str:
    """System calls are made by way of io_uring, past every filter."""
    del aim
    _close(call("io_uring_setup", 8, _zeros(120)))
    return "made an io_uring"


@attack()
def keyring_added(aim: Aim) -> str:
    """Secrets are kept in a keyring that outlives the kernel, for others to find."""
    found = call("add_key", b"user", aim.mark.encode(), b"x", 1, _KEYRING)
    call("keyctl", 9, found, _KEYRING, 0, 0)
    return "added a key"


@attack()
def keyring_read(aim: Aim) -> str:
    """Keys of the user's session can be listed."""
    del aim
    return probe("keyctl", 0, _KEYRING, 0, let_in=(ENOKEY,))


@attack()
def key_requested(aim: Aim) -> str:
    """The machine's kernel starts a program of the host to make a key."""
    return probe("request_key", b"user", aim.mark.encode(), 0, 0, let_in=(ENOKEY,))


@attack("root", doubt="vm.unprivileged_userfaultfd keeps ordinary users out")
def userfaultfd(aim: Aim) -> str:
    """The machine's kernel is held up in the middle of a system call, as exploits need it."""
    del aim
    _close(call("userfaultfd", os.O_CLOEXEC))
    return "made a userfaultfd"


@attack()
def memory_file(aim: Aim) -> str:
    """Memory is had that no limit of a process counts."""
    _close(call("memfd_create", aim.mark.encode(), 0))
    return "made a file in memory"


@attack(doubt="this Linux has no memfd_secret, or has it off")
def secret_memory(aim: Aim) -> str:
    """Memory is had that cannot be paged out or looked at."""
    del aim
    _close(call("memfd_secret", 0))
    return "made secret memory"


@attack("root", doubt="this Linux was built without modules")
def module_loaded(aim: Aim) -> str:
    """Modules are loaded into the machine's kernel."""
    del aim
    return probe("init_module", _zeros(64), 64, b"", let_in=(ENOEXEC, EFAULT, EINVAL))


@attack("root", doubt="this Linux was built without modules")
def module_loaded_from_file(aim: Aim) -> str:
    """Modules are loaded from a file."""
    del aim
    return probe("finit_module", -1, b"", 0, let_in=(EBADF, ENOEXEC, EINVAL))


@attack("root", doubt="this Linux was built without modules")
def module_removed(aim: Aim) -> str:
    """Modules are removed from the machine's kernel."""
    return probe("delete_module", aim.mark.encode(), os.O_NONBLOCK, let_in=(ENOENT,))


@attack("root", doubt="this Linux was built without kexec, or is locked down")
def kernel_replaced(aim: Aim) -> str:
    """The machine is started anew with a kernel of choice."""
    del aim
    return probe("kexec_load", 0, 1 << 20, 0, 0, let_in=(EINVAL,))


@attack("root")
def machine_restarted(aim: Aim) -> str:
    """The machine is restarted."""
    del aim
    # Both magic numbers are wrong: whoever may restart the machine is told so.
    return probe("reboot", 0, 0, 0, 0, let_in=(EINVAL,))


@attack(doubt="kernel.dmesg_restrict keeps ordinary users out")
def log_read(aim: Aim) -> str:
    """The machine's log is read: addresses, devices, what others did."""
    del aim
    return probe("syslog", 10, 0, 0)


@attack("root")
def log_device_opened(aim: Aim) -> str:
    """The machine's log is written to."""
    del aim
    _close(os.open("/dev/kmsg", os.O_WRONLY | os.O_NONBLOCK))
    return "opened /dev/kmsg for writing"


@attack("root")
def file_events(aim: Aim) -> str:
    """Every use of every file of the machine is watched."""
    del aim
    _close(call("fanotify_init", 0, os.O_RDONLY))
    return "watches files"


@attack()
def shared_memory_of_system_v(aim: Aim) -> str:
    """Shared memory of the host is had: no limit counts it, and it outlives its processes."""
    del aim
    number = call("shmget", 0, 4096, 0o1600)
    call("shmctl", number, 0, 0)
    return "made shared memory"


@attack()
def messages_of_system_v(aim: Aim) -> str:
    """Message queues are had that outlive their processes."""
    del aim
    number = call("msgget", 0, 0o1600)
    call("msgctl", number, 0, 0)
    return "made a message queue"


@attack("root")
def quota_set(aim: Aim) -> str:
    """Quotas of the host's disks are changed."""
    del aim
    # Q_SYNC of all file systems: allowed to whoever may use quotas at all.
    return probe("quotactl", 0x800001 << 8, b"/dev/null", 0, 0, let_in=(ENOTBLK, ENODEV, ESRCH))


@attack("root")
def accounting_set(aim: Aim) -> str:
    """The machine keeps a record of all programs, where the kernel wants it."""
    return probe("acct", f"/{aim.mark}/none".encode(), let_in=(ENOENT,))


@attack("root")
def swap_added(aim: Aim) -> str:
    """The machine's memory is swapped out to a file of choice."""
    return probe("swapon", f"/{aim.mark}/none".encode(), 0, let_in=(ENOENT, EINVAL))


@attack()
def clock_adjusted(aim: Aim) -> str:
    """The machine's clock is looked at or changed."""
    del aim
    return probe("adjtimex", _zeros(208))


@attack("root")
def host_renamed(aim: Aim) -> str:
    """The machine gets another name."""
    del aim
    name = os.uname().nodename.encode()
    return probe("sethostname", name, len(name))


@attack("root", "x86_64", doubt="this Linux was built without access to ports")
def ports_of_devices(aim: Aim) -> str:
    """Devices are driven past all drivers."""
    del aim
    return probe("ioperm", 0x80, 1, 0)


@attack("x86_64", doubt="this Linux was built without modify_ldt")
def segments_made(aim: Aim) -> str:
    """Segments of the processor are made, a part with a history of holes."""
    del aim
    return probe("modify_ldt", 0, _zeros(64), 64)


@attack()
def pages_moved_into_a_pipe(aim: Aim) -> str:
    """Pages of memory are given to a pipe, a part with a history of holes."""
    del aim
    read, write = os.pipe()
    try:
        held = ctypes.create_string_buffer(b"x", 1)
        vector = ctypes.create_string_buffer(struct.pack("QQ", ctypes.addressof(held), 1), 16)
        return probe("vmsplice", write, vector, 1, 0)
    finally:
        os.close(read)
        os.close(write)


@attack()
def personality_changed(aim: Aim) -> str:
    """Address randomization and other guards are turned off."""
    del aim
    before = call("personality", 0xFFFFFFFF)
    call("personality", before | 0x0040000)
    call("personality", before)
    return "turned off address randomization"


@attack(doubt="this Linux is older than 6.15, which added it")
def call_newer_than_the_filter(aim: Aim) -> str:
    """A system call that the filter has never heard of is let in."""
    del aim
    return probe("open_tree_attr", -1, b"", 0, 0, 0, let_in=(EBADF, ENOENT, EINVAL, EOPNOTSUPP))


@attack()
def filter_removed(aim: Aim) -> str:
    """The filter of system calls can be taken off again, or privileges be gained by a program."""
    del aim
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    if status["Seccomp"].strip() == "2" and status["NoNewPrivs"].strip() == "1":
        raise Stopped("a filter is in force, and no program gains privileges")
    return f"Seccomp {status['Seccomp'].strip()}, NoNewPrivs {status['NoNewPrivs'].strip()}"


@attack("root")
def capabilities_kept(aim: Aim) -> str:
    """The kernel has rights over the machine, or can get them back."""
    del aim
    with open("/proc/self/status") as file:
        status = {one.split(":")[0]: one.split()[1] for one in file if len(one.split()) > 1}
    names = ["CapInh", "CapPrm", "CapEff", "CapAmb"]
    # What a program may gain at most; with this flag it gains nothing.
    names += [] if status["NoNewPrivs"] == "1" else ["CapBnd"]
    held = {name: status[name] for name in names if int(status[name], 16)}
    if held:
        return f"{held}"
    header = ctypes.create_string_buffer(struct.pack("Ii", 0x20080522, 0), 8)
    wanted = ctypes.create_string_buffer(struct.pack("IIIIII", *[1 << 21, 1 << 21, 0] * 2), 24)
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, wanted):
        raise OSError(ctypes.get_errno(), "capset")
    return "took a capability back"


@attack("root")
def identity_changed(aim: Aim) -> str:
    """The kernel becomes root, or another user."""
    del aim
    libc: Any = ctypes.CDLL(None, use_errno=True)
    for change in (libc.setresuid, libc.setresgid):
        ctypes.set_errno(0)
        if change(0, 0, 0) == 0:
            return "became root"
    raise OSError(ctypes.get_errno(), "setresgid")
