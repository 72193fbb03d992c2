"""Processes of the host: signals, tracing, memory."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from typing import Any

from .attack import Aim, attack, is_it
from .machine import call, probe

_PTRACE_SEIZE = 0x4206
_PTRACE_DETACH = 17
_MADV_COLD = 20


def _vector(address: int, size: int) -> Any:
    return ctypes.create_string_buffer(struct.pack("QQ", address, size), 16)


@attack()
def signal_sent(aim: Aim) -> str:
    """Processes of the host can be stopped or ended."""
    is_it(aim.victim, aim.victim_mark)
    os.kill(aim.victim, signal.SIGURG)
    return "signalled a process of the host"


@attack()
def signal_sent_by_pidfd(aim: Aim) -> str:
    """The same through a pidfd."""
    is_it(aim.victim, aim.victim_mark)
    fd = os.pidfd_open(aim.victim)
    try:
        signal.pidfd_send_signal(fd, signal.SIGURG)
    finally:
        os.close(fd)
    return "signalled a process of the host"


@attack()
def traced(aim: Aim) -> str:
    """Processes of the host can be traced, and made to do anything."""
    is_it(aim.victim, aim.victim_mark)
    call("ptrace", _PTRACE_SEIZE, aim.victim, 0, 0)
    try:
        os.kill(aim.victim, signal.SIGSTOP)
        os.waitpid(aim.victim, 0x40000000)
    finally:
        call("ptrace", _PTRACE_DETACH, aim.victim, 0, 0)
        os.kill(aim.victim, signal.SIGCONT)
    return "traced a process of the host"


@attack()
def child_traced(aim: Aim) -> str:
    """A traced child can be steered past a filter on some kernels."""
    del aim
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        call("ptrace", _PTRACE_SEIZE, pid, 0, 0)
    finally:
        os.close(write)
        os.close(read)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return "traced a child"


@attack()
def memory_read(aim: Aim) -> str:
    """Memory of the host's processes can be read: weights, prompts, keys."""
    is_it(aim.victim, aim.victim_mark)
    held = ctypes.create_string_buffer(aim.victim_size)
    local = _vector(ctypes.addressof(held), aim.victim_size)
    remote = _vector(aim.victim_secret, aim.victim_size)
    call("process_vm_readv", aim.victim, local, 1, remote, 1, 0)
    return held.raw.decode()


@attack()
def memory_written(aim: Aim) -> str:
    """Memory of the host's processes can be changed."""
    is_it(aim.victim, aim.victim_mark)
    held = ctypes.create_string_buffer(b"changed!", 8)
    local = _vector(ctypes.addressof(held), 8)
    call("process_vm_writev", aim.victim, local, 1, _vector(aim.victim_scratch, 8), 1, 0)
    return "changed memory of the host"


@attack()
def memory_read_as_a_file(aim: Aim) -> str:
    """The same by /proc/PID/mem."""
    is_it(aim.victim, aim.victim_mark)
    with open(f"/proc/{aim.victim}/mem", "rb", buffering=0) as file:
        return os.pread(file.fileno(), aim.victim_size, aim.victim_secret).decode()


@attack()
def memory_written_as_a_file(aim: Aim) -> str:
    """The same by /proc/PID/mem."""
    is_it(aim.victim, aim.victim_mark)
    with open(f"/proc/{aim.victim}/mem", "r+b", buffering=0) as file:
        os.pwrite(file.fileno(), b"changed!", aim.victim_scratch)
    return "changed memory of the host"


@attack()
def memory_map_read(aim: Aim) -> str:
    """Where the host's processes keep what can be read: the way past address randomization."""
    is_it(aim.victim, aim.victim_mark)
    with open(f"/proc/{aim.victim}/maps") as file:
        return f"{len(file.readlines())} mappings"


@attack()
def descriptor_taken(aim: Aim) -> str:
    """Open files and sockets of the host's processes can be taken over."""
    is_it(aim.victim, aim.victim_mark)
    pidfd = os.pidfd_open(aim.victim)
    try:
        fd = call("pidfd_getfd", pidfd, aim.victim_fd, 0)
    finally:
        os.close(pidfd)
    with os.fdopen(fd) as file:
        return os.pread(file.fileno(), 4096, 0).decode()


@attack()
def kernel_objects_compared(aim: Aim) -> str:
    """Processes of the host can be asked what they share."""
    is_it(aim.victim, aim.victim_mark)
    return probe("kcmp", os.getpid(), aim.victim, 1, 0, 0)


@attack("root")
def memory_advised(aim: Aim) -> str:
    """Memory of the host's processes can be paged out."""
    is_it(aim.victim, aim.victim_mark)
    pidfd = os.pidfd_open(aim.victim)
    try:
        return probe("process_madvise", pidfd, _vector(aim.victim_scratch, 0), 1, _MADV_COLD, 0)
    finally:
        os.close(pidfd)


@attack()
def limits_changed(aim: Aim) -> str:
    """Limits of the host's processes can be changed, so that they fail."""
    is_it(aim.victim, aim.victim_mark)
    now = resource.prlimit(aim.victim, resource.RLIMIT_CORE)
    resource.prlimit(aim.victim, resource.RLIMIT_CORE, now)
    return "set a limit of a process of the host"


@attack()
def priority_changed(aim: Aim) -> str:
    """The host's processes can be slowed."""
    is_it(aim.victim, aim.victim_mark)
    os.setpriority(os.PRIO_PROCESS, aim.victim, os.getpriority(os.PRIO_PROCESS, aim.victim))
    os.sched_setaffinity(aim.victim, os.sched_getaffinity(aim.victim))
    return "set the priority of a process of the host"


@attack("root", doubt="a host whose root has not all rights, as in a container")
def limits_lifted(aim: Aim) -> str:
    """The kernel lifts its own limits."""
    del aim
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # Where there is no limit a lower one is set first, and lifted then.
    if hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 4096))
        hard = 4096
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard + 4096))
    except ValueError as error:
        raise PermissionError(1, f"{error}; {soft}") from None
    return "lifted a hard limit"


@attack("root")
def own_priority_raised(aim: Aim) -> str:
    """The kernel takes the processor from the host."""
    del aim
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    os.setpriority(os.PRIO_PROCESS, 0, 0)
    return "raised its own priority"


@attack("root")
def realtime_scheduling(aim: Aim) -> str:
    """The kernel runs before every process of the host, and stops the machine."""
    del aim
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return "ran with real-time priority"
