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
from typing import TYPE_CHECKING, Any

from outcore.kernel_sandbox.bounded_log import BoundedLog
from outcore.kernel_sandbox.connection import Connection, Handler
from outcore.kernel_sandbox.frames import FrameError, read_frame
from outcore.kernel_sandbox.room import Room

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.kernel_sandbox.limits import Limits

_LOG = logging.getLogger(__name__)
_UCRED = struct.Struct("iII")
_HELLO_SECONDS = 5.0
_HELLO_BYTES = 4096


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
        self._room = Room(limits)
        self._log = BoundedLog(_LOG)
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
            self._server = await asyncio.start_unix_server(
                self._accept, sock=listener, start_serving=False
            )
        except BaseException:
            listener.close()
            raise
        await self._server.start_serving()

    async def close(self) -> None:
        """Stop listening, drop all connections and cancel the calls they have made."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        self.first_pid.cancel()
        self._log.close()
        self._path.unlink(missing_ok=True)

    def _accept(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handed: asyncio.Event | None = None,
    ) -> None:
        """Serve one connection, in a task that ends it even if it is cancelled before it begins.

        Args:
            reader, writer: its ends.
            handed: for one that was made here and handed in; is set once it is known what it is.
        """
        task = asyncio.create_task(self._serve(reader, writer, handed))
        self._connections.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._connections.discard(task)
            writer.transport.abort()
            if handed is not None:
                handed.set()
            if not task.cancelled() and (error := task.exception()) is not None:
                self._log.warning("bridge: a connection failed: %s", repr(error))

        task.add_done_callback(ended)

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handed: asyncio.Event | None,
    ) -> None:
        hello = await self._admit(reader, writer, handed=handed is not None)
        if handed is not None:
            handed.set()
        if hello is None:
            self.refused += 1
        elif hello.get("door") is True:
            await self._hand_in(reader, writer)
        else:
            connection = Connection(
                reader, writer, self._handler, self._limits, self._room, self._log
            )
            await connection.serve()

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
                self._accept(*streams, handed)
                await handed.wait()

    async def _admit(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, handed: bool
    ) -> dict[str, Any] | None:
        """The greeting of a connection that may stay; None for one that may not."""
        peer: socket.socket = writer.get_extra_info("socket")
        pid, uid, _ = _UCRED.unpack(
            peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        )
        if uid != self._uid and not handed:
            self._log.warning(
                "bridge: refused a connection of uid %s; the kernel's is %s", uid, self._uid
            )
            return None
        if len(self._connections) > self._limits.connections:
            self._log.warning("bridge: refused a connection above the cap")
            return None
        try:
            async with asyncio.timeout(_HELLO_SECONDS):
                hello, _ = await read_frame(reader, _HELLO_BYTES)
        except (FrameError, asyncio.IncompleteReadError, TimeoutError, OSError) as error:
            self._log.warning("bridge: refused a connection: %s", error or type(error).__name__)
            return None
        token = hello.get("token")
        if not isinstance(token, str) or not hmac.compare_digest(token.encode(), self._token):
            self._log.warning("bridge: refused a connection with a wrong token")
            return None
        if not self.first_pid.done():
            self.first_pid.set_result(pid)
        return hello
