from __future__ import annotations

import asyncio
import json
import os
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest
from sandboxing import Host

from outcore.kernel_sandbox import connection
from outcore.kernel_sandbox.broker import Broker
from outcore.kernel_sandbox.inside.bridge import Bridge
from outcore.kernel_sandbox.inside.errors import SubcallError
from outcore.kernel_sandbox.inside.frames import encode
from outcore.kernel_sandbox.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOKEN = "t" * 64
CAP = 1 << 16
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def serving(
    folder: Path, host: Host | None = None, *, uid: int | None = None, **limits: Any
) -> AsyncIterator[Broker]:
    path = folder / "b.sock"
    caps = Limits(**{"frame": CAP, **limits})
    broker = Broker(path, TOKEN, os.geteuid() if uid is None else uid, host or Host(), caps)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.close()
        assert not path.exists()


@asynccontextmanager
async def joined(folder: Path, *, hello: Any = None) -> AsyncIterator[Stream]:
    reader, writer = await asyncio.open_unix_connection(str(folder / "b.sock"))
    try:
        writer.write(frame({"token": TOKEN} if hello is None else hello))
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def frame(value: Any) -> bytes:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack(">I", len(body)) + body


def call(number: int, prompt: str = "hi", op: str = "llm_query") -> bytes:
    return frame({"id": number, "op": op, "params": {"prompt": prompt}})


async def read(reader: asyncio.StreamReader) -> Any:
    async with asyncio.timeout(60):
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        return json.loads(await reader.readexactly(length))


async def is_closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(60):
        try:
            return await reader.read(1) == b""
        except ConnectionError:
            return True


async def still_serves(folder: Path) -> None:
    async with joined(folder) as (reader, writer):
        writer.write(call(1))
        assert await read(reader) == {"id": 1, "ok": "re: hi"}


async def test_answers_come_as_they_are_ready(tmp_path: Path) -> None:
    async with serving(tmp_path), joined(tmp_path) as (reader, writer):
        writer.write(call(1, "sleep 0.2") + call(2) + call(3))
        assert [(await read(reader))["id"] for _ in range(3)] == [2, 3, 1]


async def test_a_failed_call_is_one_error_frame(tmp_path: Path) -> None:
    async with serving(tmp_path), joined(tmp_path) as (reader, writer):
        writer.write(call(1, "long") + call(2))
        replies = {one["id"]: one for one in [await read(reader), await read(reader)]}
        assert replies[2]["ok"] == "re: hi"
        assert replies[1]["error"] == {
            "type": "PromptTooLong",
            "message": "the prompt has 9 tokens; 5 fit",
            "details": {"tokens": 9, "room": 5},
        }


async def test_a_bug_of_the_host_is_told_without_its_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path), joined(tmp_path) as (reader, writer):
        writer.write(call(1, "bug"))
        error = (await read(reader))["error"]
        assert error["type"] == "SubcallError"
        assert "secret" not in error["message"]
        assert "secret" in caplog.text
        writer.write(call(2))
        assert (await read(reader))["ok"] == "re: hi"


async def test_an_answer_that_is_not_json_is_an_error_frame(tmp_path: Path) -> None:
    host = Host()

    async def odd(op: str, params: dict[str, Any]) -> Any:
        return {"a set": {1}} if params["prompt"] == "set" else "x" * CAP

    host._reply = odd  # type: ignore[method-assign]
    async with serving(tmp_path, host), joined(tmp_path) as (reader, writer):
        for number, prompt in ((1, "set"), (2, "large")):
            writer.write(call(number, prompt))
            assert "can't be sent" in (await read(reader))["error"]["message"]


async def test_a_handler_cancelled_from_within_still_answers(tmp_path: Path) -> None:
    host = Host()

    async def cancelled(op: str, params: dict[str, Any]) -> Any:
        raise asyncio.CancelledError

    host._reply = cancelled  # type: ignore[method-assign]
    async with serving(tmp_path, host), joined(tmp_path) as (reader, writer):
        writer.write(call(1))
        assert (await read(reader))["error"]["message"] == "the call was cancelled"


@pytest.mark.parametrize("token", ["wrong", "", "ü" * 64, None, 7, ["t"]])
async def test_wrong_tokens_are_refused(tmp_path: Path, token: Any) -> None:
    host = Host()
    async with serving(tmp_path, host) as broker:
        async with joined(tmp_path, hello={"token": token}) as (reader, writer):
            writer.write(call(1))
            assert await is_closed(reader)
        assert broker.refused == 1
        assert host.calls == []
        assert not broker.first_pid.done()
        await still_serves(tmp_path)
        assert broker.first_pid.result() == os.getpid()


async def test_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can listen for another user")
    async with serving(tmp_path, uid=os.geteuid() + 4321) as broker:
        async with joined(tmp_path) as (reader, _):
            assert await is_closed(reader)
        assert broker.refused == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack(">I", 2**31) + b"{",
        struct.pack(">I", 2**32 - 1),
        frame(b""),
        frame(b"\xff\xfe"),
        frame(b"[" * 50_000),
        frame(b'"' + b"x" * 50),
        frame([1, 2]),
        frame(b"NaN"),
        frame(b'{"id": 1, "op": "llm_query", "params": {"x": NaN}}'),
        frame(rb'{"id": 1, "op": "llm_query", "params": {"prompt": "\ud800"}}'),
        frame({"id": "1", "op": "llm_query", "params": {}}),
        frame({"id": True, "op": "llm_query", "params": {}}),
        frame({"id": 1.5, "op": "llm_query", "params": {}}),
        frame({"id": 1, "op": 5, "params": {}}),
        frame({"id": 1, "op": "x" * 1000, "params": {}}),
        frame({"op": "llm_query", "params": {}}),
        frame({}),
        frame(b"1" * 5000),
        call(1, "sleep 5") + call(1),
    ],
)
async def test_a_connection_that_breaks_the_rules_is_closed_and_no_other(
    tmp_path: Path, garbage: bytes
) -> None:
    async with serving(tmp_path):
        async with joined(tmp_path) as (reader, writer):
            writer.write(garbage)
            assert await is_closed(reader)
        await still_serves(tmp_path)


async def test_a_frame_of_millions_of_values_is_refused(tmp_path: Path) -> None:
    bomb = frame(b'{"id":1,"op":"x","params":{"p":[' + b"[]," * 1_000_000 + b"0]}}")
    async with serving(tmp_path, frame=1 << 23):
        async with joined(tmp_path) as (reader, writer):
            writer.write(bomb)
            assert await is_closed(reader)
        async with joined(tmp_path) as (reader, writer):
            writer.write(call(1, "a,b" * 500_000))
            assert (await read(reader))["ok"].startswith("re: a,b")


async def test_params_that_are_no_object_are_an_error_frame(tmp_path: Path) -> None:
    async with serving(tmp_path), joined(tmp_path) as (reader, writer):
        for params in (None, [1], "x", 5):
            writer.write(frame({"id": 1, "op": "llm_query", "params": params}))
            assert (await read(reader))["error"]["type"] == "FrameError"


async def test_half_a_frame_holds_up_no_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as broker, joined(tmp_path) as (_, writer):
        writer.write(struct.pack(">I", 1000) + b'{"id"')
        await still_serves(tmp_path)
        async with asyncio.timeout(30):
            await broker.close()


async def test_silence_is_refused_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outcore.kernel_sandbox.broker._HELLO_SECONDS", 0.1)
    async with serving(tmp_path) as broker:
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "b.sock"))
        assert await is_closed(reader)
        assert broker.refused == 1
        writer.transport.abort()


async def test_connections_are_capped(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, connections=2) as broker,
        joined(tmp_path) as (one, first),
        joined(tmp_path) as (two, second),
    ):
        for reader, writer in ((one, first), (two, second)):
            writer.write(call(1))
            await read(reader)
        async with joined(tmp_path) as (reader, _):
            assert await is_closed(reader)
        assert broker.refused == 1


async def test_calls_above_the_cap_wait_and_are_answered(tmp_path: Path) -> None:
    host = Host()
    async with serving(tmp_path, host, calls=4), joined(tmp_path) as (reader, writer):
        writer.write(b"".join(call(number, "sleep 0.02") for number in range(20)))
        assert sorted([(await read(reader))["id"] for _ in range(20)]) == list(range(20))
        assert host.peak == 4


async def test_bytes_above_the_cap_wait_and_are_answered(tmp_path: Path) -> None:
    host = Host()
    async with serving(tmp_path, host, calls_bytes=3000), joined(tmp_path) as (reader, writer):
        padding = "x" * 1000
        for number in range(8):
            params = {"prompt": "sleep 0.02", "text": padding}
            writer.write(frame({"id": number, "op": "llm_query", "params": params}))
        assert sorted([(await read(reader))["id"] for _ in range(8)]) == list(range(8))
        assert host.peak == 2


async def test_a_flood_of_calls_is_slowed(tmp_path: Path) -> None:
    async with serving(tmp_path, calls_rate=50), joined(tmp_path) as (reader, writer):
        loop = asyncio.get_running_loop()
        started = loop.time()
        writer.write(b"".join(call(number) for number in range(120)))
        for _ in range(120):
            await read(reader)
        assert 1.5 < loop.time() - started < 60


async def test_calls_end_with_their_connection(tmp_path: Path) -> None:
    host = Host()
    async with serving(tmp_path, host):
        async with joined(tmp_path) as (reader, writer):
            writer.write(b"".join(call(number, "sleep 60") for number in range(5)) + call(9))
            assert (await read(reader))["id"] == 9
        async with asyncio.timeout(30):
            while host.running:
                await asyncio.sleep(0.01)
        assert host.cancelled == 5


async def test_one_call_can_be_cancelled(tmp_path: Path) -> None:
    host = Host()
    async with serving(tmp_path, host), joined(tmp_path) as (reader, writer):
        writer.write(call(1, "sleep 60"))
        async with asyncio.timeout(30):
            while not host.running:
                await asyncio.sleep(0.01)
        writer.write(frame({"id": 1, "op": "cancel"}))
        writer.write(frame({"id": 77, "op": "cancel"}) + call(2))
        assert (await read(reader))["id"] == 2
        assert host.cancelled == 1


async def test_closing_ends_all(tmp_path: Path) -> None:
    host = Host()
    async with serving(tmp_path, host) as broker, joined(tmp_path) as (reader, writer):
        writer.write(call(1, "sleep 60") + call(2))
        await read(reader)
        async with asyncio.timeout(30):
            await broker.close()
            assert await is_closed(reader)
        assert host.cancelled == 1


async def test_the_kernels_end_tells_a_lost_host_and_returns(tmp_path: Path) -> None:
    async with serving(tmp_path) as broker:
        bridge = Bridge(str(tmp_path / "b.sock"), TOKEN, CAP)
        assert await asyncio.to_thread(bridge.call, "llm_query", {"prompt": "x"}) == "re: x"
        pending = asyncio.create_task(bridge.acall("llm_query", {"prompt": "sleep 60"}))
        await asyncio.sleep(0.05)
        await broker.close()
        with pytest.raises(SubcallError, match="closed the bridge"):
            await pending
    with pytest.raises(SubcallError, match="does not answer"):
        await asyncio.to_thread(bridge.call, "llm_query", {"prompt": "x"})
    async with serving(tmp_path):
        assert await asyncio.to_thread(bridge.call, "llm_query", {"prompt": "y"}) == "re: y"


async def test_the_kernels_end_refuses_what_no_frame_can_carry(tmp_path: Path) -> None:
    async with serving(tmp_path):
        bridge = Bridge(str(tmp_path / "b.sock"), TOKEN, CAP)
        for prompt, said in (("x" * CAP, "at most 65,536"), ("\udc80", "surrogate"), ({1}, "set")):
            with pytest.raises(SubcallError, match=said):
                bridge.submit("llm_query", {"prompt": prompt})
        assert await asyncio.to_thread(bridge.call, "llm_query", {"prompt": "x"}) == "re: x"


async def test_answers_that_are_not_read_are_not_made(tmp_path: Path) -> None:
    """A call of forty bytes may have a long answer; those that wait in the host are few."""
    made = 0

    class Long(Host):
        async def _reply(self, op: str, params: dict[str, Any]) -> Any:
            nonlocal made
            made += 1
            return "x" * 900_000

    def held(value: Any, cap: int) -> bytes:
        encoded.append(value["id"])
        return encode(value, cap)

    encoded: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "encode", held)
        async with serving(tmp_path, Long(), frame=1 << 20), joined(tmp_path) as (reader, writer):
            cast("Any", reader)._transport.pause_reading()
            for number in range(100):
                writer.write(call(number))
            while made < 100:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            assert len(encoded) < 10
            cast("Any", reader)._transport.resume_reading()
            answers = [await read(reader) for _ in range(100)]
    assert sorted(one["id"] for one in answers) == list(range(100))
