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
    ours = seccomp.denied(machine)
    this = seccomp.MACHINES[machine]
    for name in ("socket", "socketpair", "clone", "clone3", "ioctl", "personality"):
        ours[name] = getattr(this, name)
    newer = set(ours) - set(table)
    assert newer <= {"statmount", "listmount", "memfd_secret", "process_mrelease", "quotactl_fd"}
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


def test_another_architecture_kills(machine: str) -> None:
    assert verdict(machine, 1, arch=0x40000003) == KILL  # i386
    assert verdict(machine, 1, arch=0) == KILL


def test_x32_kills() -> None:
    assert verdict("x86_64", 0x40000000 | 41, AF_UNIX) == KILL


def test_an_unknown_machine_is_refused_by_name() -> None:
    with pytest.raises(SandboxUnavailable, match="riscv64"):
        seccomp.program("riscv64")
