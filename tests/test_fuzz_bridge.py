"""The bridge, fed with what no honest end would send: both readers of frames, and the broker."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from fuzzing import examples, mutated, rounds
from hypothesis import given
from hypothesis import strategies as st
from sandboxing import Host

from outcore.kernel_sandbox import frames
from outcore.kernel_sandbox.broker import Broker
from outcore.kernel_sandbox.frames import FrameError, decode, read_frame
from outcore.kernel_sandbox.inside.bridge import Bridge
from outcore.kernel_sandbox.inside.errors import SubcallError
from outcore.kernel_sandbox.inside.frames import encode
from outcore.kernel_sandbox.limits import Limits

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "t" * 64
CAP = 1 << 20
MIB = 1 << 20
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=5)


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def call(number: Any, prompt: Any = "hi", op: Any = "llm_query") -> bytes:
    return framed(json.dumps({"id": number, "op": op, "params": {"prompt": prompt}}).encode())


async def read_all(data: bytes, cap: int = CAP) -> list[dict[str, Any]]:
    """What a reader takes from these bytes until it refuses them or they end."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    found = []
    with suppress(FrameError, asyncio.IncompleteReadError):
        while True:
            found.append((await read_frame(reader, cap))[0])
    return found


@given(OBJECTS)
@examples(100)
def test_a_frame_comes_out_as_it_went_in(value: dict[str, Any]) -> None:
    assert decode(encode(value, CAP)[4:]) == value


@given(st.binary(max_size=200))
@examples(300)
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    with suppress(FrameError):
        assert isinstance(decode(body), dict)


@given(st.lists(OBJECTS, min_size=1, max_size=4), st.data())
@examples(60)
def test_frames_that_are_joined_or_cut(values: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = b"".join(encode(one, CAP) for one in values)
    assert asyncio.run(read_all(whole)) == values
    end = data.draw(st.integers(0, len(whole) - 1))
    assert asyncio.run(read_all(whole[:end])) == values[: len(asyncio.run(read_all(whole[:end])))]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 100_000,
        b"[" * 100_000,
        b'{"id":' + b"9" * 5_000 + b"}",
        b'{"a":1e999}',
        b'{"a":-1e999}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        rb'{"a":"\udc00"}',
        rb'{"\ud800":1}',
        b'{"a":"\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1}x',
        b'{"a":1',
        b"",
    ],
)
def test_what_json_should_not_hold_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError):
        decode(body)


def test_of_a_repeated_key_the_last_counts() -> None:
    assert decode(b'{"id":1,"id":2}') == {"id": 2}


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "body",
    [
        b'{"a":"' + b'\\"' * 4_000_000,
        b'{"a":"' + b'x"' * 4_000_000,
        b'{"a":' + b'"\\' * 4_000_000,
        b'"' * 8_000_000,
        b"\\" * 8_000_000,
    ],
    ids=["escapes", "quotes", "both", "only quotes", "only escapes"],
)
def test_large_frames_are_refused_in_the_time_it_takes_to_read_them(body: bytes) -> None:
    with pytest.raises(FrameError):
        decode(body)


def garbage(chance: random.Random) -> bytes:
    """Bytes for a connection that is open already, whole calls among them."""
    good = [call(n, chance.choice(("hi", "sleep 0.001", "\u00e9" * 50))) for n in range(3)]
    match chance.randrange(5):
        case 0:
            return chance.randbytes(chance.randint(1, 400))
        case 1:
            return mutated(chance, b"".join(good))
        case 2:
            # The length is right, what follows is not.
            return b"".join(framed(mutated(chance, one[4:])) for one in good)
        case 3:
            odd = (None, True, -1, 2**70, 1.5, "1", [1], {"a": 1})
            return b"".join(call(chance.choice(odd), chance.choice(odd)) for _ in range(3))
        case _:
            return b"".join(good) + struct.pack(">I", chance.randrange(1 << 32)) + b"{"


async def test_the_broker_outlives_whatever_it_is_sent(tmp_path: Path) -> None:
    """Another connection of the same kernel is answered all the while."""
    broker = Broker(tmp_path / "b.sock", TOKEN, os.geteuid(), Host(), Limits(frame=CAP))
    await broker.start()
    try:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "b.sock"))
        writer.write(framed(json.dumps({"token": TOKEN}).encode()))
        for number, chance in enumerate(rounds(150)):
            _, other = await asyncio.open_unix_connection(str(tmp_path / "b.sock"))
            hello = framed(json.dumps({"token": TOKEN}).encode())
            other.write(mutated(chance, hello) if chance.random() < 0.2 else hello)
            other.write(garbage(chance))
            writer.write(call(number))
            async with asyncio.timeout(30):
                (length,) = struct.unpack(">I", await reader.readexactly(4))
                told = json.loads(await reader.readexactly(length))
            assert told == {"id": number, "ok": "re: hi"}
            if chance.random() < 0.5:
                other.write_eof()
            await asyncio.sleep(0)
            other.transport.abort()
        writer.transport.abort()
    finally:
        async with asyncio.timeout(30):
            await broker.close()


async def test_half_sent_frames_take_little_memory(tmp_path: Path) -> None:
    """64 connections with a frame of 16 MiB each, all but its last byte sent."""
    limits = Limits()
    broker = Broker(tmp_path / "b.sock", TOKEN, os.geteuid(), Host(), limits)
    await broker.start()
    before = psutil.Process().memory_info().rss
    length = limits.frame
    senders: list[asyncio.StreamWriter] = []
    sent = 0
    try:
        for _ in range(limits.connections - 1):
            _, writer = await asyncio.open_unix_connection(str(tmp_path / "b.sock"))
            writer.write(framed(json.dumps({"token": TOKEN}).encode()) + struct.pack(">I", length))
            senders.append(writer)

        async def send(writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            for _ in range(length // MIB - 1):
                writer.write(b" " * MIB)
                await writer.drain()
                sent += 1

        sending = [asyncio.create_task(send(one)) for one in senders]
        before_that = -1
        while sent > before_that:
            before_that = sent
            await asyncio.wait(sending, timeout=2)
        pending = [one for one in sending if not one.done()]
        assert len(pending) >= len(senders) - frames._LARGE_AT_ONCE
        held = psutil.Process().memory_info().rss - before
        # Both ends are in this process: what waits to be sent counts too, a few MiB each.
        assert held < 500 * MIB
        for task in pending:
            task.cancel()
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "b.sock"))
        writer.write(framed(json.dumps({"token": TOKEN}).encode()) + call(1))
        async with asyncio.timeout(30):
            await reader.readexactly(4)
        senders.append(writer)
    finally:
        for writer in senders:
            writer.transport.abort()
        await broker.close()


async def test_a_large_frame_that_does_not_end_makes_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "_LARGE_SECONDS", 0.5)
    broker = Broker(tmp_path / "b.sock", TOKEN, os.geteuid(), Host(), Limits())
    await broker.start()
    readers, writers = [], []
    try:
        for _ in range(frames._LARGE_AT_ONCE):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "b.sock"))
            writer.write(framed(json.dumps({"token": TOKEN}).encode()))
            writer.write(struct.pack(">I", 2 * MIB) + b"{")
            readers.append(reader)
            writers.append(writer)
        large = broker._room.gate._large
        while not (large.locked() or any(one.at_eof() for one in readers)):
            await asyncio.sleep(0.01)
        # The one that does end may take its time.
        monkeypatch.setattr(frames, "_LARGE_SECONDS", 60)
        bridge = Bridge(str(tmp_path / "b.sock"), TOKEN, Limits().frame)
        async with asyncio.timeout(30):
            reply = await bridge.acall("llm_query", {"prompt": "x" * 3 * MIB})
        assert len(reply) == 3 * MIB + 4
    finally:
        for writer in writers:
            writer.transport.abort()
        await broker.close()


class Liar:
    """A host that answers the first call of a connection with what it was given."""

    def __init__(self, path: Path, answer: bytes) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._answer = answer
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)
                connection.settimeout(20)
                while connection.recv(1 << 16):
                    continue

    def close(self) -> None:
        self._listener.close()
        self._thread.join(20)


def answers() -> Iterator[bytes]:
    yield framed(b"[]")
    yield framed(b"null")
    yield framed(b'{"id":0}')
    yield framed(b'{"id":[],"ok":1}')
    yield framed(b'{"id":0,"error":5}')
    yield framed(b'{"id":0,"error":{"type":"a\\u0000b"}}')
    yield framed(b'{"id":0,"error":{"details":[1]}}')
    yield framed(b'{"id":0,"error":{"details":{"__class__":1}}}')
    yield framed(b"[" * 100_000)
    yield struct.pack(">I", 2**32 - 1) + b"{"
    good = framed(json.dumps({"id": 0, "ok": "re: x"}).encode())
    for chance in rounds(60):
        yield mutated(chance, good)


def test_the_kernels_end_is_never_left_waiting(tmp_path: Path) -> None:
    """A frame that is none ends the connection, and its calls with an error."""
    for number, answer in enumerate(answers()):
        path = tmp_path / f"{number}.sock"
        liar = Liar(path, answer)
        bridge = Bridge(str(path), TOKEN, CAP)
        future = bridge.submit("llm_query", {"prompt": "x"})
        # What is no frame at all is told as an error; what happens to be one is an answer.
        error = future.exception(timeout=30)
        assert error is None or isinstance(error, SubcallError), answer[:80]
        liar.close()
