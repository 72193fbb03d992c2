"""Assembling seccomp filters: the few BPF instructions they need, and numbers of machines.

Both sides use this module: the host for the kernel's filter, the kernel for the tighter one
of its dry runs.

Sources: Linux `include/uapi/linux/{seccomp,filter,audit}.h`.
"""

from __future__ import annotations

import struct

LD_W_ABS = 0x20
AND_K = 0x54
JEQ_K = 0x15
JGE_K = 0x35
JGT_K = 0x25
RET_K = 0x06

# Offsets in struct seccomp_data; both machines are little-endian.
NR, ARCH, ARGS = 0, 4, 16

ALLOW = 0x7FFF_0000
KILL = 0x8000_0000
ERRNO = 0x0005_0000

AUDIT = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
X32 = 0x4000_0000


def op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """One instruction, a `struct sock_filter`."""
    return struct.pack("<HBBI", code, if_true, if_false, value)


def on(number: int, body: list[bytes]) -> list[bytes]:
    """For call `number` run `body`, which falls through to "allow"; else skip it.

    The accumulator holds the call's number before, and again after it.
    """
    whole = [*body, op(RET_K, ALLOW)]
    return [op(JEQ_K, number, 0, len(whole)), *whole]


def argument(index: int) -> bytes:
    """Load the low half of an argument of the call."""
    return op(LD_W_ABS, ARGS + 8 * index)
