"""System calls by other doors: of 32 bits, of x32, and by numbers no table has."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from typing import Any

from .attack import Aim, attack
from .machine import call_number, in_child

_X32 = 0x40000000


def _interrupt(number: int, first: int = 0, second: int = 0) -> int:
    """Make a 32-bit system call by `int 0x80`."""
    code = (
        *(b"\x53", b"\xb8" + struct.pack("<I", number), b"\xbb" + struct.pack("<I", first)),
        *(b"\xb9" + struct.pack("<I", second), b"\x31\xd2", b"\xcd\x80", b"\x5b\xc3"),
    )
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"".join(code))
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    prototype: Any = ctypes.CFUNCTYPE(ctypes.c_int)
    result = int(prototype(address)())
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


@attack("x86_64", doubt="this Linux has no 32-bit calls")
def calls_of_32_bits(aim: Aim) -> str:
    """32-bit system calls have other numbers, so that a filter sees others than are made."""
    del aim
    return in_child(lambda: f"getpid gave {_interrupt(20)}")


@attack("x86_64", doubt="this Linux has no 32-bit calls")
def socket_of_32_bits(aim: Aim) -> str:
    """A network socket is made by a 32-bit system call."""
    del aim
    # socket(AF_INET, SOCK_STREAM, 0) has a number of its own since Linux 4.3.
    return in_child(lambda: f"socket gave {_interrupt(359, 2, 1)}")


@attack("x86_64", doubt="this Linux has no 32-bit calls")
def namespace_of_32_bits(aim: Aim) -> str:
    """A user namespace is made by a 32-bit system call."""
    del aim
    return in_child(lambda: f"unshare gave {_interrupt(310, 0x10000000)}")


@attack("x86_64", doubt="this Linux was built without x32")
def calls_of_x32(aim: Aim) -> str:
    """System calls of x32 have numbers of their own."""
    del aim
    return in_child(lambda: f"getpid gave {call_number(_X32 | 39)}")


@attack("x86_64", doubt="this Linux was built without x32")
def socket_of_x32(aim: Aim) -> str:
    """A network socket is made by a system call of x32."""
    del aim
    return in_child(lambda: f"socket gave {call_number(_X32 | 41, 2, 1, 0)}")


@attack(doubt="Linux takes the lower half of a number alone on some machines only")
def number_with_a_high_half(aim: Aim) -> str:
    """A number whose upper half is set is another to the filter than to Linux."""
    del aim
    number = 41 if os.uname().machine == "x86_64" else 198
    return in_child(lambda: f"socket gave {call_number(1 << 32 | number, 2, 1, 0)}")
