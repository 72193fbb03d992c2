"""One connection over the bridge: calls come in, answers and errors go out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from outcore.errors import OutcoreError
from outcore.kernel_sandbox.frames import FrameError, FrameTooLarge, encode

if TYPE_CHECKING:
    from outcore.kernel_sandbox.bounded_log import BoundedLog
    from outcore.kernel_sandbox.limits import Limits
    from outcore.kernel_sandbox.room import Room

Handler = Callable[[str, dict[str, Any]], Awaitable[Any]]

_LOG = logging.getLogger(__name__)
_NAME_LENGTH = 64
# Answers are made one by one once the kernel leaves so much unread.
_UNREAD = 1 << 20


class Connection:
    """One process of the kernel, and the calls it has outstanding."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        handler: Handler,
        limits: Limits,
        room: Room,
        log: BoundedLog,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._handler = handler
        self._limits = limits
        self._room = room
        self._log = log
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._out: list[bytes] = []
        self._made = 0

    async def serve(self) -> None:
        """Answer calls until the connection ends, then cancel those outstanding."""
        try:
            while True:
                async with self._room.gate.frame(self._reader, self._limits.frame) as (frame, size):
                    await self._take(frame, size)
        except FrameError as error:
            self._log.warning("bridge: closed a connection that sent %s", error)
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
            self._log.exception("bridge: the handler of '%s' failed", op)
            message = f"the host failed to answer ({type(error).__name__}); its log has the rest"
            reply = {"id": number, "error": _report("SubcallError", message)}
        await self._send(reply)

    async def _send(self, reply: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the connection is gone, and its reader notices
            while self._unread > _UNREAD:
                await self._writer.drain()
                # What has just been made is written a moment later.
                await asyncio.sleep(0)
        cap = self._limits.frame
        try:
            frame = encode(reply, cap)
        except (TypeError, ValueError, RecursionError) as error:
            if not isinstance(error, FrameTooLarge):
                self._log.exception("bridge: an answer can't be sent")
            message = f"the answer can't be sent: {error}"
            frame = encode({"id": reply["id"], "error": _report("SubcallError", message)}, cap)
        self._out.append(frame)
        self._made += len(frame)
        if len(self._out) == 1:
            # Answers that come in the same moment leave as one.
            asyncio.get_running_loop().call_soon(self._flush)
        with contextlib.suppress(OSError):  # the connection is gone, and its reader notices
            await self._writer.drain()

    @property
    def _unread(self) -> int:
        """Bytes of answers that the kernel has not taken."""
        return self._made + self._writer.transport.get_write_buffer_size()

    def _flush(self) -> None:
        self._writer.write(b"".join(self._out))
        self._out.clear()
        self._made = 0


def _report(kind: str, message: str, details: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details or {}}
