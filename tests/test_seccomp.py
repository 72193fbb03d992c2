from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from outcore.errors import SandboxUnavailable
from outcore.kernel_sandbox import seccomp

ALLOW, KILL = 0x7FFF0000, 0x80000000
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
AF_UNIX, AF_INET, AF_NETLINK, AF_VSOCK = 1, 2, 16, 40


def verdict(machine: str, number: int, *args: int, arch: int | None = None) -> int:
    """What the kernel's filter says to one system call."""
    audit = seccomp.MACHINES[machine].audit if arch is None else arch
    return run_filter(seccomp.program(machine), audit, number, *args)


def shared(machine: str, name: str, *args: int) -> int:
    """What the filter for a kernel among the host's files says to a call by its name."""
    number = (seccomp.denied(machine, shared=True) | seccomp.checked(machine))[name]
    program = seccomp.program(machine, shared=True)
    return run_filter(program, seccomp.MACHINES[machine].audit, number, *args)


def run_filter(program: bytes, audit: int, number: int, *args: int) -> int:
    """Run a BPF program on one system call, as the kernel would."""
    code = list(struct.iter_unpack("<HBBI", program))
    data = struct.pack("<IIQ6Q", number, audit, 0, *args, *[0] * (6 - len(args)))
    at = value = 0
    while True:
        op, yes, no, k = code[at]
        at += 1
        if op == 0x20:
            (value,) = struct.unpack_from("<I", data, k)
        elif op == 0x54:
            value &= k
        elif op == 0x06:
            return int(k)
        else:
            holds = {0x15: value == k, 0x35: value >= k, 0x25: value > k}[op]
            at += yes if holds else no


@pytest.fixture(params=sorted(seccomp.MACHINES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    table = {name: int(number) for name, number in found}
    ours = seccomp.denied(machine, shared=True) | seccomp.checked(machine)
    this = seccomp.MACHINES[machine]
    for name in ("socket", "socketpair", "clone", "clone3", "ioctl", "personality"):
        ours[name] = getattr(this, name)
    newer = set(ours) - set(table)
    assert newer <= {
        *("statmount", "listmount", "memfd_secret", "process_mrelease", "quotactl_fd"),
        "fchmodat2",
    }
    assert {name: number for name, number in ours.items() if name in table} == {
        name: table[name] for name in ours if name in table
    }


def test_denied_calls_fail_with_eperm(machine: str) -> None:
    for name, number in seccomp.denied(machine).items():
        assert verdict(machine, number) == EPERM, name


def test_ordinary_calls_pass(machine: str) -> None:
    ordinary = {"x86_64": (0, 1, 9, 59, 202, 262, 293), "aarch64": (63, 64, 222, 221, 98, 79, 59)}
    for number in ordinary[machine]:
        assert verdict(machine, number) == ALLOW, number


def test_only_unix_sockets(machine: str) -> None:
    this = seccomp.MACHINES[machine]
    for call in (this.socket, this.socketpair):
        assert verdict(machine, call, AF_UNIX) == ALLOW
        # The kernel takes the low half of the register alone.
        assert verdict(machine, call, 1 << 32 | AF_UNIX) == ALLOW
        assert verdict(machine, call, 1 << 32 | AF_INET) == EPERM
        for family in (0, AF_INET, AF_NETLINK, AF_VSOCK, 17, 38):
            assert verdict(machine, call, family) == EPERM, family


def test_clone_makes_threads_and_children_but_no_namespaces(machine: str) -> None:
    clone = seccomp.MACHINES[machine].clone
    thread, child = 0x3D0F00, 0x1200011
    assert verdict(machine, clone, thread) == ALLOW
    assert verdict(machine, clone, child) == ALLOW
    for bit in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert verdict(machine, clone, child | bit) == EPERM, hex(bit)


def test_clone3_and_calls_of_tomorrow_do_not_exist(machine: str) -> None:
    assert verdict(machine, seccomp.MACHINES[machine].clone3) == ENOSYS
    assert verdict(machine, 463) == ENOSYS
    assert verdict(machine, 1000) == ENOSYS


def test_ioctl_refuses_terminals_and_networks(machine: str) -> None:
    ioctl = seccomp.MACHINES[machine].ioctl
    for request in (0x5412, 0x541C, 0x8912, 0x8927, 0x894C):
        assert verdict(machine, ioctl, 3, request) == EPERM, hex(request)
    for request in (0x5401, 0x5413, 0x541B, 0x5421):
        assert verdict(machine, ioctl, 3, request) == ALLOW, hex(request)


def test_personality_may_be_asked_but_not_changed(machine: str) -> None:
    personality = seccomp.MACHINES[machine].personality
    assert verdict(machine, personality, 0xFFFFFFFF) == ALLOW
    assert verdict(machine, personality, 0) == ALLOW
    assert verdict(machine, personality, 0x0040000) == EPERM


def test_what_waits_in_a_socket_keeps_its_usual_size(machine: str) -> None:
    setsockopt = seccomp.checked(machine)["setsockopt"]
    for option in (7, 32):
        assert verdict(machine, setsockopt, 3, 1, option) == EPERM, option
        assert verdict(machine, setsockopt, 3, 6, option) == ALLOW, option
    for option in (2, 8, 20, 21):
        assert verdict(machine, setsockopt, 3, 1, option) == ALLOW, option


def test_another_architecture_kills(machine: str) -> None:
    assert verdict(machine, 1, arch=0x40000003) == KILL  # i386
    assert verdict(machine, 1, arch=0) == KILL


def test_x32_kills() -> None:
    assert verdict("x86_64", 0x40000000 | 41, AF_UNIX) == KILL


def test_an_unknown_machine_is_refused_by_name() -> None:
    with pytest.raises(SandboxUnavailable, match="riscv64"):
        seccomp.program("riscv64")


def test_where_namespaces_are_shared_more_is_denied(machine: str) -> None:
    more = seccomp.denied(machine, shared=True)
    assert set(more) > set(seccomp.denied(machine))
    for name in more:
        assert shared(machine, name) == EPERM, name
    assert {"socket", "connect", "fchmod", "setsid", "mq_open", "semop"} <= set(more)
    ordinary = {"x86_64": (0, 1, 9, 59, 202, 262, 293), "aarch64": (63, 64, 222, 221, 98, 79, 59)}
    program = seccomp.program(machine, shared=True)
    for number in ordinary[machine]:
        assert run_filter(program, seccomp.MACHINES[machine].audit, number) == ALLOW, number


def test_only_streams_are_paired_where_sockets_are_shared(machine: str) -> None:
    program, this = seccomp.program(machine, shared=True), seccomp.MACHINES[machine]
    for kind, allowed in ((1, ALLOW), (1 | 0o2004000, ALLOW), (2, EPERM), (5, EPERM), (0, EPERM)):
        assert run_filter(program, this.audit, this.socketpair, AF_UNIX, kind) == allowed, kind
    assert run_filter(program, this.audit, this.socketpair, AF_INET, 1) == EPERM


def test_calls_that_name_other_processes_are_for_oneself_alone(machine: str) -> None:
    for name in ("prlimit64", "sched_setaffinity", "sched_setparam", "sched_setattr"):
        assert shared(machine, name, 0, 5) == ALLOW, name
        assert shared(machine, name, 4711, 5) == EPERM, name
    assert shared(machine, "sched_setscheduler", 0, 3) == ALLOW
    assert shared(machine, "sched_setscheduler", 4711, 0) == ALLOW
    assert shared(machine, "sched_setscheduler", 4711, 3) == EPERM
    for name, process in (("setpriority", 0), ("ioprio_set", 1)):
        assert shared(machine, name, process, 0, 5) == ALLOW, name
        assert shared(machine, name, process, 4711, 5) == EPERM, name
        assert shared(machine, name, process + 1, 0, 5) == EPERM, name
        assert shared(machine, name, 2, 0, 5) == EPERM, name


def test_files_are_not_emptied_by_being_read(machine: str) -> None:
    reading, writing, empty = 0, 1, 0o1000
    flags = {"openat": 2}
    if machine == "x86_64":
        flags["open"] = 1
    for name, index in flags.items():
        for flag, allowed in (
            (reading, ALLOW),
            (writing | empty, ALLOW),
            (2 | empty, ALLOW),
            (reading | empty, EPERM),
            (reading | empty | 0o2000000, EPERM),
        ):
            args = [0] * 4
            args[index] = flag
            assert shared(machine, name, *args) == allowed, (name, oct(flag))
    assert shared(machine, "openat2") == ENOSYS


def test_a_kernel_stays_the_one_its_orphans_go_to_and_dies_with_its_host(machine: str) -> None:
    assert shared(machine, "prctl", 36, 0) == EPERM
    assert shared(machine, "prctl", 1, 9) == ALLOW
    assert shared(machine, "prctl", 1, 0) == EPERM
    assert shared(machine, "prctl", 38, 1) == ALLOW
    assert shared(machine, "prctl", 22, 2) == ALLOW
