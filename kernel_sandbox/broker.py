"""The host's end of the bridge: lets one kernel in, and answers its calls.

The kernel is not trusted. Whatever it sends, this end neither raises nor waits on it, nor
holds more than a fixed amount of memory for it: a connection that breaks the rules is
closed, a call that fails is one error frame, and calls beyond the caps stay unread in the
socket until others have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from outcore.errors import OutcoreError
from outcore.kernel_sandbox.frames import FrameError, FrameTooLarge, Gate, encode, read_frame

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.kernel_sandbox.limits import Limits

Handler = Callable[[str, dict[str, Any]], Awaitable[Any]]

_LOG = logging.getLogger(__name__)
_UCRED = struct.Struct("iII")
_HELLO_SECONDS = 5.0
_HELLO_BYTES = 4096
_NAME_LENGTH = 64


class Broker:
    """Serves one kernel on one unix socket.

    Args:
        path: where to listen.
        token: secret the kernel sends first.
        uid: user the kernel runs as, as the host sees it.
        handler: answers a call; raises OutcoreError for what the kernel is to be told.
        limits: caps on frames, calls and connections.

    Attributes:
        first_pid: resolves to the host's pid of the process that connected first.
        refused: connections turned away, for tests and logs.
    """

    def __init__(self, path: Path, token: str, uid: int, handler: Handler, limits: Limits) -> None:
        self.first_pid: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.refused = 0
        self._path = path
        self._token = token.encode()
        self._uid = uid
        self._handler = handler
        self._limits = limits
        self._room = _Room(limits)
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. The socket belongs to the kernel's user and to no one else."""
        listener = socket.socket(socket.AF_UNIX)
        try:
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            if self._uid != os.geteuid():
                os.chown(self._path, self._uid, -1)
            listener.listen(self._limits.connections)
            self._server = await asyncio.start_unix_server(self._accept, sock=listener)
        except BaseException:
            listener.close()
            raise

    async def close(self) -> None:
        """Stop listening, drop all connections and cancel the calls they have made."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self.first_pid.cancel()
        self._path.unlink(missing_ok=True)

    async def _accept(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handed: asyncio.Event | None = None,
    ) -> None:
        """Serve one connection.

        Args:
            reader, writer: its ends.
            handed: for one that was made here and handed in; is set once it is known what it is.
        """
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            hello = await self._admit(reader, writer, handed=handed is not None)
            if handed is not None:
                handed.set()
            if hello is None:
                self.refused += 1
            elif hello.get("door") is True:
                await self._hand_in(reader, writer)
            else:
                await _Connection(reader, writer, self._handler, self._limits, self._room).serve()
        except asyncio.CancelledError:
            return  # the broker closes; asyncio's streams would report a cancelled callback
        finally:
            if handed is not None:
                handed.set()
            self._connections.discard(task)
            writer.transport.abort()

    async def _hand_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hand a new connection in for each byte that comes, one after the other.

        A kernel that may make no connections of its own has this one for its forked children.
        """
        way = socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))
        with way, contextlib.suppress(OSError):
            while await reader.read(1):
                ours, theirs = socket.socketpair()
                with theirs:
                    try:
                        # Never waits: a kernel that takes none away gets no more.
                        socket.send_fds(way, [b"\0"], [theirs.fileno()])
                    except OSError:
                        ours.close()
                        raise
                handed = asyncio.Event()
                streams = await asyncio.open_unix_connection(sock=ours)
                self._connections.add(asyncio.create_task(self._accept(*streams, handed)))
                try:
                    await handed.wait()
                except asyncio.CancelledError:
                    # Its task may be cancelled too before it has begun, and then ends nothing.
                    streams[1].transport.abort()
                    raise

    async def _admit(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, handed: bool
    ) -> dict[str, Any] | None:
        """The greeting of a connection that may stay; None for one that may not."""
        peer: socket.socket = writer.get_extra_info("socket")
        pid, uid, _ = _UCRED.unpack(
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        if uid != self._uid and not handed:
            _LOG.warning(
                "bridge: refused a connection of uid %d; the kernel's is %d", uid, self._uid
            )
            return None
        if len(self._connections) > self._limits.connections:
            _LOG.warning("bridge: refused a connection above the cap")
            return None
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                hello, _ = await read_frame(reader, _HELLO_BYTES)
        except (FrameError, asyncio.IncompleteReadError, TimeoutError, OSError) as error:
            _LOG.warning("bridge: refused a connection: %s", error or type(error).__name__)
            return None
        token = hello.get("token")
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(), self._token):
            _LOG.warning("bridge: refused a connection with a wrong token")
            return None
        if not self.first_pid.done():
            self.first_pid.set_result(pid)
        return hello


class _Connection:
    """One process of the kernel, and the calls it has outstanding."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handler: Handler,
        limits: Limits,
        room: _Room,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._limits = limits
        self._room = room
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._out: list[bytes] = []

    async def serve(self) -> None:
        """Answer calls until the connection ends, then cancel those outstanding."""
        try:
            while True:
                async with self._room.gate.frame(self._reader, self._limits.frame) as (frame, size):
                    await self._take(frame, size)
        except FrameError as error:
            _LOG.warning("bridge: closed a connection that sent %s", error)
        except (asyncio.IncompleteReadError, OSError) as error:
            _LOG.debug("bridge: a connection ended: %s", error)
        finally:
            calls = tuple(self._calls.values())
            for one in calls:
                one.cancel()
            await asyncio.gather(*calls, return_exceptions=True)

    async def _take(self, frame: dict[str, Any], size: int) -> None:
        number, op = frame.get("id"), frame.get("op")
        if type(number) is not int or not isinstance(op, str) or len(op) > _NAME_LENGTH:
            raise FrameError("a call without an id or a name")
        if op == "cancel":
            if number in self._calls:
                self._calls[number].cancel()
            return
        if number in self._calls:
            raise FrameError(f"call {number} twice")
        params = frame.get("params")
        if not isinstance(params, dict):
            await self._send({"id": number, "error": _report("FrameError", "params is no object")})
            return
        await self._room.take(size)
        call = asyncio.create_task(self._answer(number, op, params))
        self._calls[number] = call

        def ended(_: asyncio.Task[None]) -> None:
            self._calls.pop(number, None)
            self._room.give(size)

        call.add_done_callback(ended)

    async def _answer(self, number: int, op: str, params: dict[str, Any]) -> None:
        try:
            reply: dict[str, Any] = {"id": number, "ok": await self._handler(op, params)}
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The handler's own work was cancelled, not this call: the kernel still waits.
            reply = {"id": number, "error": _report("SubcallError", "the call was cancelled")}
        except OutcoreError as error:
            details = {
                key: value
                for key, value in vars(error).items()
                if isinstance(value, (int, float, str))
            }
            reply = {"id": number, "error": _report(type(error).__name__, str(error), details)}
        except Exception as error:
            _LOG.exception("bridge: the handler of %r failed", op)
            message = f"the host failed to answer ({type(error).__name__}); its log has the rest"
            reply = {"id": number, "error": _report("SubcallError", message)}
        await self._send(reply)

    async def _send(self, reply: dict[str, Any]) -> None:
        cap = self._limits.frame
        try:
            frame = encode(reply, cap)
        except (TypeError, ValueError, RecursionError) as error:
            if not isinstance(error, FrameTooLarge):
                _LOG.exception("bridge: an answer can't be sent")
            message = f"the answer can't be sent: {error}"
            frame = encode({"id": reply["id"], "error": _report("SubcallError", message)}, cap)
        self._out.append(frame)
        if len(self._out) == 1:
            # Answers that come in the same moment leave as one.
            asyncio.get_running_loop().call_soon(self._flush)
        with contextlib.suppress(OSError):  # the connection is gone, and its reader notices
            await self._writer.drain()

    def _flush(self) -> None:
        self._writer.write(b"".join(self._out))
        self._out.clear()


class _Room:
    """Room for outstanding calls: how many, how large, how fast."""

    def __init__(self, limits: Limits) -> None:
        self.gate = Gate()
        self._limits = limits
        self._calls = 0
        self._bytes = 0
        self._freed = asyncio.Event()
        self._second = 0.0
        self._taken = 0

    async def take(self, size: int) -> None:
        """Wait until one more call of `size` bytes may be outstanding."""
        while self._calls and (
            self._calls >= self._limits.calls or self._bytes + size > self._limits.calls_bytes
        ):
            self._freed.clear()
            await self._freed.wait()
        now = time.monotonic()
        if now - self._second >= 1.0:
            self._second, self._taken = now, 0
        self._taken += 1
        if self._taken > self._limits.calls_rate:
            await asyncio.sleep(self._second + 1.0 - now)
        self._calls += 1
        self._bytes += size

    def give(self, size: int) -> None:
        """A call of `size` bytes has ended."""
        self._calls -= 1
        self._bytes -= size
        self._freed.set()


def _report(kind: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details or {}}
