"""Connections that the host hands in, to kernels that keep to it and to those that don't."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from test_broker import CAP, TOKEN, call, frame, is_closed, joined, read, serving

from outcore.kernel_sandbox.inside.bridge import Bridge
from outcore.kernel_sandbox.inside.door import Door
from outcore.kernel_sandbox.inside.errors import SubcallError

if TYPE_CHECKING:
    from pathlib import Path

DOOR = {"token": TOKEN, "door": True}


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


def taken(folder: Path, times: int = 1) -> list[socket.socket]:
    door = Door(str(folder / "b.sock"), TOKEN, CAP)
    try:
        return [door.connection() for _ in range(times)]
    finally:
        door._socket.close()


async def greeted(end: socket.socket, hello: Any = None) -> Any:
    reader, writer = await asyncio.open_unix_connection(sock=end)
    writer.write(frame({"token": TOKEN} if hello is None else hello))
    return reader, writer


async def test_what_is_handed_in_is_a_connection_like_any_other(tmp_path: Path) -> None:
    async with serving(tmp_path) as broker:
        door = await asyncio.to_thread(Door, str(tmp_path / "b.sock"), TOKEN, CAP)
        ends = []
        for number in range(3):
            ends.append(await greeted(await asyncio.to_thread(door.connection)))
            ends[-1][1].write(call(number, f"from {number}"))
        for number, (reader, writer) in enumerate(ends):
            assert await read(reader) == {"id": number, "ok": f"re: from {number}"}
            writer.transport.abort()
        assert broker.refused == 0
        door._socket.close()


async def test_a_bridge_asks_at_the_door_when_its_connection_is_lost(tmp_path: Path) -> None:
    async with serving(tmp_path):

        def ask() -> list[str]:
            bridge = Bridge(str(tmp_path / "b.sock"), TOKEN, CAP)
            bridge.connect()
            bridge.keep_door()
            bridge._path = "/nowhere"
            first = bridge.call("llm_query", {"prompt": "a"})
            link: Any = bridge._link
            link._socket.shutdown(socket.SHUT_RDWR)
            while not link.broken:
                threading.Event().wait(0.01)
            return [first, bridge.call("llm_query", {"prompt": "b"})]

        assert await asyncio.to_thread(ask) == ["re: a", "re: b"]


async def test_one_that_nobody_came_to_take_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as broker:
        door = await asyncio.to_thread(Door, str(tmp_path / "b.sock"), TOKEN, CAP)
        await broker.first_pid
        with monkeypatch.context() as patch:
            patch.setattr("outcore.kernel_sandbox.broker._HELLO_SECONDS", 0.1)
            # A child asked, and died before it read.
            door._socket.send(b"\0")
            while not broker.refused:
                await asyncio.sleep(0.01)
        reader, writer = await greeted(await asyncio.to_thread(door.connection))
        writer.write(call(1))
        assert (await read(reader))["ok"] == "re: hi"
        writer.transport.abort()
        door._socket.close()


async def test_a_connection_handed_in_needs_the_token_too(tmp_path: Path) -> None:
    async with serving(tmp_path) as broker:
        (end,) = await asyncio.to_thread(taken, tmp_path)
        reader, writer = await greeted(end, {"token": "x" * 64})
        assert await is_closed(reader)
        writer.transport.abort()
        assert broker.refused == 1


@pytest.mark.parametrize("hello", [{"token": "no", "door": True}, {"door": True}])
async def test_the_door_is_shut_to_strangers(tmp_path: Path, hello: Any) -> None:
    async with serving(tmp_path), joined(tmp_path, hello=hello) as (reader, writer):
        writer.write(b"\0" * 10)
        assert await is_closed(reader)


async def test_a_flood_at_the_door_costs_one_connection_at_a_time(tmp_path: Path) -> None:
    before = open_files()
    async with serving(tmp_path) as broker, joined(tmp_path, hello=DOOR) as (_, writer):
        writer.write(b"\0" * 100_000)
        await asyncio.sleep(0.5)
        # The door, its first connection, and what joined and serving hold.
        assert len(broker._connections) <= 2
        assert open_files() - before < 12
        async with joined(tmp_path) as (reader, other):
            other.write(call(1))
            assert (await read(reader))["ok"] == "re: hi"


async def test_no_more_are_handed_in_than_may_be_open(tmp_path: Path) -> None:
    async with serving(tmp_path, connections=4):

        def use_up() -> str:
            door = Door(str(tmp_path / "b.sock"), TOKEN, CAP)
            held = []
            try:
                for _ in range(6):
                    held.append(door.connection())
                    held[-1].sendall(frame({"token": TOKEN}) + call(1))
                    held[-1].settimeout(60)
                    if not held[-1].recv(4):
                        return f"closed after {len(held) - 1}"
            except SubcallError:
                # Told at the door, where the host has counted the last one already.
                return f"closed after {len(held)}"
            except ConnectionError:
                return f"closed after {len(held) - 1}"
            finally:
                for one in (*held, door._socket):
                    one.close()
            return "never"

        # One of the four is the door.
        assert await asyncio.to_thread(use_up) == "closed after 3"


async def test_a_host_that_has_gone_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path):
        door = await asyncio.to_thread(Door, str(tmp_path / "b.sock"), TOKEN, CAP)
        (await asyncio.to_thread(door.connection)).close()
    with pytest.raises(SubcallError, match="hands in no further connection"):
        await asyncio.to_thread(door.connection)
    door._socket.close()
