"""Devices of the machine, and terminals."""

from __future__ import annotations

import fcntl
import glob
import os
import stat
import struct
import termios

from .attack import Aim, Stopped, attack, own_folder

_TIOCLINUX = 0x541C
_HIGH = 1 << 32


def _opened(*names: str, flags: int = os.O_RDONLY) -> str:
    denied: OSError | None = None
    for name in [found for one in names for found in (glob.glob(one) or [one])]:
        try:
            os.close(os.open(name, flags | os.O_NONBLOCK | os.O_NOCTTY))
        except OSError as error:
            denied = error
        else:
            return f"opened {name}"
    raise denied or Stopped("none")


@attack("root", doubt="this Linux was built without it")
def memory_device(aim: Aim) -> str:
    """The machine's memory is read as a device."""
    del aim
    return _opened("/dev/mem", "/dev/kmem", "/dev/port")


@attack("root", doubt="the machine has no disk that shows")
def disks(aim: Aim) -> str:
    """The machine's disks are read past their file systems."""
    del aim
    return _opened("/dev/vd?", "/dev/sd?", "/dev/nvme?n?", "/dev/xvd?", "/dev/loop0", "/dev/dm-0")


@attack("root", doubt="the machine has none of them")
def machine_makers(aim: Aim) -> str:
    """Virtual machines and networks are made, disks are attached."""
    del aim
    return _opened("/dev/kvm", "/dev/net/tun", "/dev/loop-control", "/dev/vhost-net", "/dev/fuse")


@attack("root", doubt="the machine has none of them")
def consoles(aim: Aim) -> str:
    """The machine's console is written to, its keyboard is read."""
    del aim
    return _opened(
        *("/dev/console", "/dev/tty0", "/dev/tty1", "/dev/input/event0", "/dev/uinput"),
        flags=os.O_WRONLY,
    )


@attack("root")
def memory_device_made(aim: Aim) -> str:
    """A device of choice is made, and opened."""
    path = f"{own_folder()}/{aim.mark}"
    os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 1))
    os.unlink(path)
    return "made /dev/mem"


@attack("root")
def disk_device_made(aim: Aim) -> str:
    """A disk of the machine is made as a device, and opened."""
    path = f"/dev/shm/{aim.mark}"
    os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(254, 0))
    os.unlink(path)
    return "made a disk"


def _pushed(request: int) -> str:
    terminal, end = os.openpty()
    try:
        fcntl.ioctl(end, request, b"x")
    finally:
        os.close(terminal)
        os.close(end)
    return "pushed a key into a terminal"


@attack("root")
def keys_pushed(aim: Aim) -> str:
    """Keys are pushed into the terminal outcore was started from: commands to its shell."""
    del aim
    return _pushed(termios.TIOCSTI)


@attack("root")
def keys_pushed_past_the_filter(aim: Aim) -> str:
    """The same, with a request whose upper half is set; Linux looks at the lower alone."""
    del aim
    import ctypes

    from .machine import call_number

    terminal, end = os.openpty()
    try:
        key = ctypes.create_string_buffer(b"x", 1)
        number = 16 if os.uname().machine == "x86_64" else 29
        call_number(number, end, _HIGH | termios.TIOCSTI, key)
    finally:
        os.close(terminal)
        os.close(end)
    return "pushed a key into a terminal"


@attack("root", doubt="the machine has no virtual console")
def console_selection(aim: Aim) -> str:
    """What stands on the machine's console is copied and pasted into its shell."""
    del aim
    for name in ("/dev/tty0", "/dev/tty1", "/dev/console"):
        try:
            fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
        except OSError:
            continue
        try:
            # Which modifier keys are held: asks, and changes nothing.
            fcntl.ioctl(fd, _TIOCLINUX, struct.pack("B", 6))
            return f"asked {name}"
        finally:
            os.close(fd)
    raise Stopped("no console can be opened")


@attack("root")
def terminal_of_the_host(aim: Aim) -> str:
    """Terminals of the host's users are opened."""
    del aim
    return _opened("/dev/tty1", "/dev/tty2", "/dev/ttyS0", flags=os.O_RDWR)
