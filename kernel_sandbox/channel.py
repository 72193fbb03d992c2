"""The host's end of Jupyter's channels to one kernel.

The kernel holds the key that signs its messages, and so does the code that runs in it: a
message is data to be looked at with care, never a reason to fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outcore.kernel_sandbox.frames import is_crowded
from outcore.kernel_sandbox.zmtp import Connection, ZmtpError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcore.kernel_sandbox.output import Output

_LOG = logging.getLogger(__name__)
_LONGEST = 2_000
# How long nothing may come before what is missing counts as lost, and how long in all.
_LAGGARD_SECONDS, _LAGGARD_MOST_SECONDS = 2.0, 30.0
_LAST_WORDS_SECONDS = 1.0
_ASK_AGAIN_SECONDS = 0.3


@dataclass(slots=True)
class Execution:
    """A cell under way.

    Attributes:
        output: what it has printed so far.
        shown: its exception as it was printed, as `Kind: message`.
        told: the same as the reply has it, which is less where it can't be shown.
        replied: resolves when the kernel has answered the request.
        idle: resolves when the kernel has sent all output of the cell.
        flooded: resolves when the output has passed the cap.
        heard: messages that have come on the channel of the output, of whatever cell.
    """

    output: Output
    flood: int
    replied: asyncio.Future[None]
    idle: asyncio.Future[None]
    flooded: asyncio.Future[None]
    shown: str | None = None
    told: str | None = None
    heard: int = 0

    @classmethod
    def new(cls, output: Output, flood: int) -> Execution:
        """Nothing has come yet."""
        future = asyncio.get_running_loop().create_future
        return cls(output, flood, replied=future(), idle=future(), flooded=future())

    @property
    def error(self) -> str | None:
        """Its exception, whichever of the two channels was the faster."""
        return self.told if self.shown is None else self.shown

    async def finished(self) -> None:
        """Wait until the cell has ended and its output is complete.

        Either sign of the end will do: the other follows, or was lost in a flood. What an earlier
        cell has printed may have to be read first.
        """
        await asyncio.wait((self.replied, self.idle), return_when=asyncio.FIRST_COMPLETED)
        until = time.monotonic() + _LAGGARD_MOST_SECONDS
        heard = -1
        while self.heard != heard and time.monotonic() < until:
            heard = self.heard
            _, missing = await asyncio.wait((self.replied, self.idle), timeout=_LAGGARD_SECONDS)
            if not missing:
                return

    def print(self, text: str) -> None:
        """Take a piece of output."""
        self.output.add(text)
        if self.output.total > self.flood:
            _settle(self.flooded)


class Channel:
    """Runs cells over the shell channel and gathers their output from iopub.

    Args:
        session: a jupyter_client Session with the kernel's key.
        shell: connection to the kernel's shell socket, as a DEALER.
        iopub: connection to its iopub socket, as a SUB.
        broken: called once when a connection has ended, or carries what is no message.
    """

    def __init__(
        self, session: Any, shell: Connection, iopub: Connection, broken: Callable[[], None]
    ) -> None:
        """Use `Channel.open`."""
        self._session = session
        self._shell = shell
        self._iopub = iopub
        self._broken: Callable[[], None] | None = broken
        self._welcomed = asyncio.Event()
        self._informed = asyncio.Event()
        self._current: tuple[str, Execution] | None = None
        self._pumps = [
            asyncio.create_task(self._pump(iopub, self._on_iopub)),
            asyncio.create_task(self._pump(shell, self._on_shell)),
        ]

    @classmethod
    async def open(
        cls, session: Any, shell: Path, iopub: Path, most: int, broken: Callable[[], None]
    ) -> Channel:
        """Connect to a kernel's sockets.

        Args:
            session, broken: as for the class.
            shell: where the kernel listens.
            iopub: the same.
            most: bytes of a message that is taken; larger ones are left out.

        Raises:
            ZmtpError: the kernel speaks another protocol.
            OSError, EOFError: it has ended.
        """
        first = await Connection.open(shell, "DEALER", most)
        try:
            second = await Connection.open(iopub, "SUB", most)
        except BaseException:
            first.close()
            raise
        return cls(session, first, second, broken)

    async def ready(self) -> None:
        """Wait until the kernel answers and its output arrives here."""
        self._ask("kernel_info_request", {})
        await self._informed.wait()
        while not self._welcomed.is_set():
            # An ipykernel that sends no welcome publishes its state with each answer.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._welcomed.wait(), _ASK_AGAIN_SECONDS)
                break
            self._ask("kernel_info_request", {})

    def execute(self, code: str, output: Output, flood: int) -> Execution:
        """Start a cell; its output goes to `output`."""
        execution = Execution.new(output, flood)
        wanted = {
            "code": code,
            "silent": False,
            "store_history": False,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        number = self._ask("execute_request", wanted)
        self._current = (number, execution)
        return execution

    async def close(self) -> None:
        """Stop listening."""
        self._broken = None
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for connection in (self._shell, self._iopub):
            connection.close()

    def _ask(self, kind: str, content: dict[str, Any]) -> str:
        """Send a request; returns its number."""
        message = self._session.msg(kind, content)
        self._shell.send(self._session.serialize(message))
        return str(message["header"]["msg_id"])

    async def _pump(self, source: Connection, take: Callable[[dict[str, Any]], None]) -> None:
        while True:
            try:
                parts = await source.receive()
            except (ZmtpError, OSError, EOFError) as error:
                _LOG.debug("kernel: a channel ended: %s", error)
                # A kernel that has died says so by itself, and how.
                await asyncio.sleep(_LAST_WORDS_SECONDS)
                broken, self._broken = self._broken, None
                if broken is not None:
                    broken()
                return
            if source is self._iopub and self._current is not None:
                self._current[1].heard += 1
            try:
                if parts is not None and not any(map(is_crowded, parts)):
                    _, parts = self._session.feed_identities(parts)
                    take(self._session.deserialize(parts))
            except Exception as error:
                _LOG.debug("kernel: dropped a message that is none: %s", type(error).__name__)
            # A flood keeps the socket ready, and then awaiting it never yields.
            await asyncio.sleep(0)

    def _on_iopub(self, message: dict[str, Any]) -> None:
        self._welcomed.set()
        execution = self._mine(message)
        if execution is None:
            return
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            execution.print(_text(content.get("text")))
        elif kind in ("execute_result", "display_data"):
            execution.print(_text(content["data"].get("text/plain")) + "\n")
        elif kind == "error":
            execution.print("\n".join(_text(line) for line in content["traceback"]) + "\n")
            if execution.shown is None:
                execution.shown = _report(content)
        elif kind == "status" and content["execution_state"] == "idle":
            _settle(execution.idle)

    def _on_shell(self, message: dict[str, Any]) -> None:
        self._informed.set()
        execution = self._mine(message)
        if execution is None:
            return
        content = message["content"]
        if content.get("status") != "ok":
            execution.told = _report(content)
        _settle(execution.replied)

    def _mine(self, message: dict[str, Any]) -> Execution | None:
        if self._current is None or message["parent_header"].get("msg_id") != self._current[0]:
            return None
        return self._current[1]


def _report(content: dict[str, Any]) -> str:
    report = f"{_text(content.get('ename'))}: {_text(content.get('evalue'))}"
    return report.encode("utf-8", "replace").decode()[:_LONGEST]


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
