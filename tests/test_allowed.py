"""The system calls of a dry run, by the filter's own word; what it does is in test_speculation."""

from __future__ import annotations

import errno
import os
import re

import pytest
from test_seccomp import HEADERS, run_filter

from outcore.kernel_sandbox import seccomp
from outcore.kernel_sandbox.inside import allowed, bpf

ALLOW, KILL = 0x7FFF0000, 0x80000000
NOTHING, EPERM, ENOSYS = 0x50000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
REPORT, NULL = 40, 1


@pytest.fixture(params=sorted(bpf.AUDIT))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def verdict(machine: str, name: str | int, *args: int) -> int:
    number = allowed.numbers(machine)[name] if isinstance(name, str) else name
    program = allowed.program(machine, (REPORT, NULL))
    return run_filter(program, bpf.AUDIT[machine], number, *args)


def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip("the kernel's headers are not installed")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)$", header.read_text(), re.MULTILINE)
    table = {name: int(number) for name, number in found}
    # The generic header calls it by its 64-bit alias.
    table.setdefault("newfstatat", table.get("fstatat", -1))
    ours = allowed.numbers(machine)
    assert {name: table.get(name) for name in ours} == ours


def test_reading_time_and_memory_pass(machine: str) -> None:
    for name in ("read", "lseek", "mmap", "futex", "clock_gettime", "getdents64", "exit_group"):
        assert verdict(machine, name) == ALLOW, name


def test_files_open_for_reading_alone(machine: str) -> None:
    assert verdict(machine, "openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_TRUNC, os.O_RDWR | os.O_TMPFILE):
        assert verdict(machine, "openat", 0, 0, flags) == EPERM, flags
    assert verdict(machine, "openat2") == ENOSYS


def test_writing_goes_to_the_report_and_to_nowhere(machine: str) -> None:
    for name in ("write", "writev"):
        assert verdict(machine, name, REPORT) == verdict(machine, name, NULL) == ALLOW
        assert verdict(machine, name, 2) == EPERM


def test_what_changes_the_world_is_left_out(machine: str) -> None:
    for name in ("unlinkat", "renameat2", "mkdirat", "fchmod", "utimensat", "flock"):
        assert verdict(machine, name) == NOTHING, name


def test_all_else_is_refused(machine: str) -> None:
    this = seccomp.MACHINES[machine]
    for number in (this.socket, this.socketpair, this.clone, this.personality, 463, 1000):
        assert verdict(machine, number) == EPERM, number
    for name, number in seccomp.denied(machine).items():
        assert verdict(machine, number) == EPERM, name
    sending = {"x86_64": (44, 46, 42, 57, 58, 59, 62, 200, 234), "aarch64": (206, 211, 203, 221)}
    for number in sending[machine]:
        assert verdict(machine, number) == EPERM, number


def test_its_end_and_its_limits_can_not_be_put_off(machine: str) -> None:
    assert verdict(machine, "setitimer") == verdict(machine, "rt_sigprocmask") == NOTHING
    assert verdict(machine, "rt_sigaction", 14) == NOTHING
    assert verdict(machine, "rt_sigaction", 10) == ALLOW
    assert verdict(machine, "prlimit64", 0, 7, 0) == ALLOW
    for args in ((5, 7, 0), (0, 7, 1), (0, 7, 1 << 32)):
        assert verdict(machine, "prlimit64", *args) == EPERM, args


def test_another_architecture_kills(machine: str) -> None:
    program = allowed.program(machine, ())
    assert run_filter(program, 0x40000003, 0) == KILL
    if machine == "x86_64":
        assert run_filter(program, bpf.AUDIT[machine], 0x40000000 | 1) == KILL
