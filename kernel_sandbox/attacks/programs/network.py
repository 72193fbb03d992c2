"""Networks of every family, and the host's sockets."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct

from .attack import Aim, Stopped, attack
from .machine import call

_SIOCGIFCONF = 0x8912
_NAMESERVER_QUERY = (
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07outcore\x07invalid\x00\x00\x01\x00\x01"
)


def _connect(family: int, address: object, kind: int = socket.SOCK_STREAM) -> str:
    with socket.socket(family, kind) as one:
        one.settimeout(3)
        one.connect(address)  # type: ignore[arg-type]
    return f"connected to {address!r}"


def _made(family: int, kind: int, protocol: int = 0) -> str:
    with socket.socket(family, kind, protocol):
        return f"made a socket of family {family}"


@attack()
def tcp_over_ipv4(aim: Aim) -> str:
    """Services of the host, and from there of its network, can be connected to."""
    return _connect(socket.AF_INET, ("127.0.0.1", aim.tcp))


@attack(doubt="the host has no IPv6")
def tcp_over_ipv6(aim: Aim) -> str:
    """The same by IPv6."""
    if not aim.tcp6:
        raise Stopped("no IPv6 here")
    return _connect(socket.AF_INET6, ("::1", aim.tcp6))


@attack()
def family_in_the_high_half(aim: Aim) -> str:
    """A filter that compares 64 bits lets a family by whose upper half is set."""
    del aim
    fd = call("socket", 1 << 32 | socket.AF_INET, socket.SOCK_STREAM, 0)
    os.close(fd)
    return "made an IPv4 socket"


@attack()
def name_server_asked(aim: Aim) -> str:
    """Data leaves in the names that a name server is asked for."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(_NAMESERVER_QUERY, ("127.0.0.1", aim.udp))
    return "sent a query"


@attack("root")
def raw_ipv4(aim: Aim) -> str:
    """Packets of any kind can be made, such as pings that carry data."""
    del aim
    return _made(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


@attack()
def netlink(aim: Aim) -> str:
    """The machine's network can be read and set up."""
    del aim
    return _made(socket.AF_NETLINK, socket.SOCK_RAW)


@attack("root")
def packet(aim: Aim) -> str:
    """The machine's network can be listened to."""
    del aim
    return _made(socket.AF_PACKET, socket.SOCK_RAW)


@attack(doubt="this Linux has no vsock")
def vsock(aim: Aim) -> str:
    """The hypervisor and other virtual machines can be talked to, past every firewall."""
    del aim
    return _made(socket.AF_VSOCK, socket.SOCK_STREAM)


@attack(doubt="this Linux has no Bluetooth")
def bluetooth(aim: Aim) -> str:
    """Devices near by can be talked to."""
    del aim
    # Python may have been built without the names: family 31, protocol L2CAP.
    return _made(31, socket.SOCK_SEQPACKET, 0)


@attack(doubt="this Linux has no AF_ALG")
def kernel_crypto(aim: Aim) -> str:
    """The kernel's ciphers, a part with a history of holes, are open."""
    del aim
    return _made(socket.AF_ALG, socket.SOCK_SEQPACKET)


@attack(doubt="this Linux has none of the rarer families")
def rarer_families(aim: Aim) -> str:
    """Some family that hardly anyone uses can be had: modules with a history of holes."""
    del aim
    denied: OSError | None = None
    for family in (3, 4, 5, 6, 9, 11, 12, 15, 18, 21, 23, 24, 29, 30, 36, 37, 39, 42, 43, 44, 45):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):
            try:
                return _made(family, kind)
            except OSError as error:
                denied = error
    raise denied or Stopped("none")


@attack()
def abstract_socket_of_the_host(aim: Aim) -> str:
    """Desktop and message buses of the host listen on abstract sockets."""
    return _connect(socket.AF_UNIX, f"\0{aim.abstract}")


@attack()
def socket_of_the_host_by_path(aim: Aim) -> str:
    """Daemons of the host, Docker's or X11's, listen on sockets in its folders."""
    return _connect(socket.AF_UNIX, aim.listener)


@attack()
def socket_of_the_host_listed(aim: Aim) -> str:
    """The unix sockets of the host can be listed."""
    with open("/proc/net/unix") as file:
        if aim.abstract in file.read():
            return f"{aim.abstract} is in the list"
    raise Stopped("the list is another namespace's")


@attack()
def ports_of_the_host_listed(aim: Aim) -> str:
    """The open ports of the host can be listed."""
    with open("/proc/net/tcp") as file:
        if f":{aim.tcp:04X} " in file.read():
            return f"port {aim.tcp} is in the list"
    raise Stopped("the list is another namespace's")


@attack()
def interfaces_through_inherited_sockets(aim: Aim) -> str:
    """A socket made outside still shows the network it was made in."""
    del aim
    denied: OSError | None = None
    pair = socket.socketpair()
    try:
        for name in os.listdir("/proc/self/fd"):
            try:
                if not stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    continue
                fcntl.ioctl(int(name), _SIOCGIFCONF, struct.pack("iP", 0, 0))
            except OSError as error:
                denied = error
            else:
                return "asked a socket for its interfaces"
    finally:
        for one in pair:
            one.close()
    raise denied or Stopped("there are no sockets")
