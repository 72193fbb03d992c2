"""The host's end of ZMTP, against libzmq and against kernels that don't keep to it."""

from __future__ import annotations

import asyncio
import os
import struct
import tempfile
import tracemalloc
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import zmq
import zmq.asyncio
from sandboxing import Host, running

from outcore.kernel_sandbox.zmtp import Connection, ZmtpError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST = 1 << 20
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x06\x05READY"


@pytest.fixture
def path() -> Any:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="o") as folder:
        yield Path(folder) / "s"


@asynccontextmanager
async def peer(path: Path, script: Any) -> AsyncIterator[None]:
    """Something that listens at `path` and does as `script` says to whoever connects."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await script(reader, writer)
            await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield
    finally:
        server.close()


async def greeted(path: Path) -> Connection:
    async with asyncio.timeout(20):
        return await Connection.open(path, "SUB", MOST)


async def test_messages_go_both_ways_with_libzmq(path: Path) -> None:
    context = zmq.asyncio.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(f"ipc://{path}")
    try:
        connection = await Connection.open(path, "DEALER", MOST)
        parts = [b"", b"short", b"x" * 255, b"y" * 256, b"z" * 300_000]
        connection.send(parts)
        sender, *received = await router.recv_multipart()
        assert received == parts
        await router.send_multipart([sender, *parts])
        assert await connection.receive() == parts
        # A large one costs itself alone.
        await router.send_multipart([sender, b"w" * (MOST + 1), b"tail"])
        await router.send_multipart([sender, b"after"])
        assert await connection.receive() is None
        assert await connection.receive() == [b"after"]
        connection.close()
    finally:
        context.destroy(linger=0)


async def test_a_subscriber_is_sent_everything_by_libzmq(path: Path) -> None:
    context = zmq.asyncio.Context()
    publisher = context.socket(zmq.XPUB)
    publisher.bind(f"ipc://{path}")
    try:
        connection = await Connection.open(path, "SUB", MOST)
        assert await publisher.recv() == b"\x01"
        await publisher.send_multipart([b"any topic", b"news"])
        assert await connection.receive() == [b"any topic", b"news"]
        connection.close()
    finally:
        context.destroy(linger=0)


def frame(flags: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack("!BQ", flags | 2, len(body) if length is None else length) + body


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4,
        b"\xff" + bytes(8) + b"\x7f\x01" + bytes(53),
        GREETING.replace(b"NULL\0\0\0\0\0", b"CURVE\0\0\0\0"),
        GREETING + b"\x00\x05READY",
        GREETING + b"\x04\x06\x05ERROR",
        GREETING + frame(4, b"\x05READY" + bytes(5000)),
        GREETING + b"\xf8\x00",
    ],
)
async def test_another_protocol_is_refused(path: Path, said: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await reader.read()

    async with peer(path, script):
        with pytest.raises(ZmtpError):
            await greeted(path)


@pytest.mark.parametrize("said", [b"", GREETING[:20], GREETING, GREETING + b"\x04"])
async def test_an_end_in_the_greeting_is_an_end(path: Path, said: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    async with peer(path, script):
        with pytest.raises((EOFError, OSError)):
            await greeted(path)


@pytest.mark.parametrize("said", [b"\x04\x01x", b"\x05\x01x", b"\x80\x01x", b"\x08\x00"])
async def test_what_is_no_message_ends_it(path: Path, said: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING + READY + said)
        await reader.read()

    async with peer(path, script):
        connection = await greeted(path)
        with pytest.raises(ZmtpError):
            await connection.receive()
        connection.close()


async def test_a_message_of_endless_parts_is_read_past_and_not_kept(path: Path) -> None:
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(GREETING + READY)
        part = frame(1, bytes(60_000))
        for _ in range(2000):
            writer.write(part)
            sent += len(part)
            await writer.drain()
        for _ in range(100_000):
            writer.write(b"\x01\x00")
        writer.write(b"\x00\x04last" + b"\x00\x04next")
        await writer.drain()
        await reader.read()

    async with peer(path, script):
        connection = await greeted(path)
        tracemalloc.start()
        assert await connection.receive() is None
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sent > 100 << 20
        assert peak < 4 * MOST
        assert await connection.receive() == [b"next"]
        connection.close()


async def test_a_part_that_claims_to_be_huge_takes_no_memory(path: Path) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING + READY + frame(0, bytes(1 << 16), length=(1 << 63) - 1))

    async with peer(path, script):
        connection = await greeted(path)
        with pytest.raises((EOFError, OSError)):
            await connection.receive()
        connection.close()


# The kernel's own ends of the host's connections to its iopub socket.
ENDS = """
import os, socket, stat
ends = []
for fd in map(int, os.listdir('/proc/self/fd')):
    try:
        if stat.S_ISSOCK(os.fstat(fd).st_mode):
            one = socket.socket(fileno=os.dup(fd))
            one.getpeername()
            if one.getsockname().endswith('kernel-2'):
                one.setblocking(True)
                ends.append(one)
    except OSError:
        pass
"""


async def test_a_kernel_can_not_fill_the_host_with_parts(tmp_path: Path) -> None:
    """What SECURITY.md once had to name: one message over iopub whose parts never end."""
    code = f"""{ENDS}
part = b'\\x03' + (1 << 16).to_bytes(8, 'big') + bytes(1 << 16)
sent = 0
for _ in range(4000):
    for one in ends:
        one.sendall(part)
        sent += len(part)
import sys
sys.exit(0 if sent > 1 << 27 else 'nothing was sent')
"""
    async with running(tmp_path, Host()) as kernel:
        before = psutil.Process(os.getpid()).memory_info().rss
        result = await kernel.run(code, seconds=60)
        assert result.error is None, result
        assert psutil.Process(os.getpid()).memory_info().rss - before < 64 << 20


async def test_a_kernel_that_breaks_its_channel_is_replaced(tmp_path: Path) -> None:
    code = f"{ENDS}\n[one.sendall(b'\\x80' * 100) for one in ends]\nimport time; time.sleep(30)"
    async with running(tmp_path, Host()) as kernel:
        result = await kernel.run(code, seconds=25)
        assert result.status == "killed", result
        assert result.seconds < 20
        assert (await kernel.run("1 + 1", seconds=20)).output == "2\n"
