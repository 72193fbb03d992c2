"""The kernel's end of the bridge: calls go out, answers come back in any order.

One background thread per process reads the socket and writes what is large, so an interrupt
that hits a caller can never cut a frame in two. Any thread may call, and so may asyncio. A
forked child gets its own connection at its first call.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import select
import socket
import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from typing import TYPE_CHECKING, Any

from .condition import Condition, new_future
from .door import Door
from .errors import SubcallError, revive
from .frames import HEADER, encode, extended

if TYPE_CHECKING:
    from .dry_run.life import DryRun

_READ = 1 << 18
_QUEUED = 64 << 20
# A unix socket takes a frame of this size whole or not at all, so the caller may send it.
_ATOMIC = 1 << 14


class Bridge:
    """Calls to the host.

    Attributes:
        cap: most bytes of one call.
    """

    def __init__(self, path: str, token: str, cap: int) -> None:
        self.cap = cap
        self._path = path
        self._token = token
        self._link: _Link | DryRun | None = None
        self._door: Door | None = None
        self._lock = threading.Lock()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._link = None
        self._lock = threading.Lock()

    def connect(self) -> None:
        """Connect now instead of at the first call.

        Raises:
            SubcallError: the host does not listen.
        """
        self._connected()

    def keep_door(self) -> None:
        """See to it that connections can be had when this process may make none any more.

        Raises:
            OSError: the host does not listen.
        """
        self._door = Door(self._path, self._token, self.cap)

    def divert(self, link: DryRun) -> None:
        """Have `link` answer all calls of this process."""
        self._link = link

    def _connected(self) -> _Link | DryRun:
        with self._lock:
            if self._link is None or self._link.broken:
                self._link = _Link(self._opened(), self._token, self.cap)
            return self._link

    def _opened(self) -> socket.socket:
        if self._door is not None:
            return self._door.connection()
        made = socket.socket(socket.AF_UNIX)
        try:
            made.connect(self._path)
        except OSError as error:
            made.close()
            raise SubcallError(f"the host does not answer: {error}") from None
        return made

    def submit(self, op: str, params: dict[str, Any] | bytes) -> Future[Any]:
        """Send one call; cancelling the future tells the host to drop it.

        Args:
            op: name of the call.
            params: its parameters, or the JSON of them.

        Raises:
            SubcallError: the call can't be put in a frame, or the host does not listen.
        """
        return self._connected().submit(op, params)

    def call(self, op: str, params: dict[str, Any]) -> Any:
        """Send one call and wait for its answer.

        Raises:
            SubcallError: the host's error, under its own name.
        """
        future = self.submit(op, params)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def acall(self, op: str, params: dict[str, Any]) -> Any:
        """Like `call`, for asyncio."""
        return await asyncio.wrap_future(self.submit(op, params))


class _Link:
    """One connection and its thread."""

    def __init__(self, connected: socket.socket, token: str, cap: int) -> None:
        self.broken = False
        self._cap = cap
        self._ids = itertools.count()
        self._pending: dict[int, Future[Any]] = {}
        self._out: deque[bytes] = deque()
        self._queued = 0
        self._writing = False
        self._changed = Condition()
        self._socket = connected
        self._socket.setblocking(False)
        self._bell, self._listener = socket.socketpair()
        self._bell.setblocking(False)
        self._send(encode({"token": token}, cap))
        threading.Thread(target=self._run, name="bridge", daemon=True).start()

    def submit(self, op: str, params: dict[str, Any] | bytes) -> Future[Any]:
        number = next(self._ids)
        call = {"id": number, "op": op}
        try:
            if isinstance(params, bytes):
                frame = extended(call, "params", params, self._cap)
            else:
                frame = encode({**call, "params": params}, self._cap)
        except (TypeError, ValueError, RecursionError) as error:
            raise SubcallError(f"{op}: {error}") from None
        future: Future[Any] = new_future()
        self._pending[number] = future
        future.add_done_callback(lambda done: self._drop(number) if done.cancelled() else None)
        self._send(frame)
        return future

    def _drop(self, number: int) -> None:
        if self._pending.pop(number, None) is not None:
            self._send(encode({"id": number, "op": "cancel"}, self._cap))

    def _send(self, frame: bytes) -> None:
        with self._changed:
            while self._queued > _QUEUED and not self.broken:
                self._changed.wait()
            if self.broken:
                self._fail()
                return
            if len(frame) <= _ATOMIC and not self._out and not self._writing:
                with contextlib.suppress(OSError):
                    self._socket.send(frame)
                    return
            self._out.append(frame)
            self._queued += len(frame)
        # A full bell rings already, and a closed one has no one left to ring for.
        with contextlib.suppress(OSError):
            self._bell.send(b"\0")

    def _run(self) -> None:
        try:
            self._pump()
        except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
            pass  # a lost host and a frame that is not one end the same way
        finally:
            with self._changed:
                self.broken = True
                self._changed.notify_all()
            self._fail()
            for one in (self._socket, self._bell, self._listener):
                one.close()

    def _pump(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._socket, select.POLLIN)
        received = bytearray()
        rest = memoryview(b"")
        while True:
            for fd, _ in poll.poll():
                if fd == self._listener.fileno():
                    self._listener.recv(4096)
            rest = self._write(rest)
            waits = select.POLLIN | (select.POLLOUT if rest or self._out else 0)
            poll.modify(self._socket, waits)
            with contextlib.suppress(BlockingIOError):
                while data := self._socket.recv(_READ):
                    received += data
                    if len(data) < _READ:
                        break
                else:
                    return
            self._take(received)

    def _write(self, rest: memoryview) -> memoryview:
        while True:
            if not rest:
                with self._changed:
                    self._writing = bool(self._out)
                    if not self._writing:
                        return rest
                    rest = memoryview(self._out.popleft())
                    self._queued -= len(rest)
                    self._changed.notify()
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                return rest

    def _take(self, received: bytearray) -> None:
        start = 0
        while len(received) - start >= HEADER.size:
            (length,) = HEADER.unpack_from(received, start)
            end = start + HEADER.size + length
            if length > self._cap:
                raise ValueError("a frame above the cap")
            if len(received) < end:
                break
            self._settle(json.loads(received[start + HEADER.size : end]))
            start = end
        del received[:start]

    def _settle(self, frame: dict[str, Any]) -> None:
        # Whatever a frame lacks shows before its call is taken off those that are told of a loss.
        error = revive(frame["error"]) if "error" in frame else None
        value = frame["ok"] if error is None else None
        future = self._pending.pop(frame["id"], None)
        if future is None:
            return
        with contextlib.suppress(InvalidStateError):  # cancelled a moment ago
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(value)

    def _fail(self) -> None:
        while self._pending:
            _, future = self._pending.popitem()
            with contextlib.suppress(InvalidStateError):
                future.set_exception(SubcallError("the host closed the bridge"))
