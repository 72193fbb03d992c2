"""ZMTP 3.0, the protocol beneath Jupyter's messages, as far as a client of one kernel needs it.

libzmq would keep the parts of a message until the last one is there, however many there are,
and no option of it bounds that. Here a message is bounded as a whole: one that is too large is
read past, and nothing of it is kept.

Source: https://rfc.zeromq.org/spec/23/
"""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Kind = Literal["DEALER", "SUB"]

_MORE, _LONG, _COMMAND = 1, 2, 4
_GREETING = struct.Struct("!B8xBBB20sB31x")
_SIGNATURE = (0xFF, 0x7F)
_MECHANISM = b"NULL".ljust(20, b"\0")
_MAJOR = 3
_READY = b"\x05READY"
_COMMAND_BYTES = 1024
_PARTS = 256
_READ = 1 << 16
_SHORT = 0xFF


class ZmtpError(Exception):
    """What was read is no ZMTP; the connection can't be read any further."""


class Connection:
    """A connection to one socket of a kernel, which is not trusted.

    Args:
        most: bytes of a message that is taken, all parts together.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, most: int
    ) -> None:
        """Use `Connection.open`."""
        self._reader = reader
        self._writer = writer
        self._most = most

    @classmethod
    async def open(cls, path: Path, kind: Kind, most: int) -> Connection:
        """Connect to the listening socket at `path`. A SUB is sent everything.

        Raises:
            ZmtpError: the other end speaks something else.
            OSError, asyncio.IncompleteReadError: there is no other end any more.
        """
        reader, writer = await asyncio.open_unix_connection(path)
        connection = cls(reader, writer, most)
        try:
            await connection._shake_hands(kind)
        except BaseException:
            connection.close()
            raise
        if kind == "SUB":
            connection.send([b"\x01"])
        return connection

    async def receive(self) -> list[bytes] | None:
        """The next message, in its parts; None for one that was too large.

        Raises:
            ZmtpError: what came is no message.
            OSError, asyncio.IncompleteReadError: the connection has ended.
        """
        parts: list[bytes] = []
        room, more = self._most, True
        fits = True
        while more:
            flags, length = await self._head()
            if flags & _COMMAND:
                raise ZmtpError("a command where a message was due")
            more = bool(flags & _MORE)
            fits = fits and length <= room and len(parts) < _PARTS
            if fits:
                room -= length
                parts.append(await self._reader.readexactly(length))
            else:
                parts.clear()
                await self._skip(length)
        return parts if fits else None

    def send(self, parts: Sequence[bytes]) -> None:
        """Send a message; it is kept here until the kernel takes it."""
        last = len(parts) - 1
        self._writer.writelines(
            _frame(0 if number == last else _MORE, part) for number, part in enumerate(parts)
        )

    def close(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    async def _shake_hands(self, kind: Kind) -> None:
        ours = _GREETING.pack(_SIGNATURE[0], _SIGNATURE[1], _MAJOR, 0, _MECHANISM, 0)
        properties = _property(b"Socket-Type", kind.encode()) + _property(b"Identity", b"")
        self._writer.write(ours + _frame(_COMMAND, _READY + properties))
        first, last, major, _, mechanism, _ = _GREETING.unpack(
            await self._reader.readexactly(_GREETING.size)
        )
        if (first, last) != _SIGNATURE or major < _MAJOR or mechanism != _MECHANISM:
            raise ZmtpError("a greeting of another protocol")
        flags, length = await self._head()
        if not flags & _COMMAND or length > _COMMAND_BYTES:
            raise ZmtpError("no command after the greeting")
        body = await self._reader.readexactly(length)
        if not body.startswith(_READY):
            raise ZmtpError("another command than READY after the greeting")

    async def _head(self) -> tuple[int, int]:
        flags = (await self._reader.readexactly(1))[0]
        if flags & ~(_MORE | _LONG | _COMMAND):
            raise ZmtpError("unknown flags")
        size = await self._reader.readexactly(8 if flags & _LONG else 1)
        return flags, int.from_bytes(size, "big")

    async def _skip(self, length: int) -> None:
        while length:
            read = await self._reader.readexactly(min(length, _READ))
            length -= len(read)
            # With all of it at hand reading would never let anyone else on.
            await asyncio.sleep(0)


def _frame(flags: int, body: bytes) -> bytes:
    if len(body) > _SHORT:
        return struct.pack("!BQ", flags | _LONG, len(body)) + body
    return struct.pack("!BB", flags, len(body)) + body


def _property(name: bytes, value: bytes) -> bytes:
    return struct.pack("!B", len(name)) + name + struct.pack("!I", len(value)) + value
