"""The host's end of Jupyter's channels to one kernel.

The kernel holds the key that signs its messages, and so does the code that runs in it: a
message is data to be looked at with care, never a reason to fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import zmq
import zmq.asyncio

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcore.kernel_sandbox.output import Output

_LOG = logging.getLogger(__name__)
_LONGEST = 2_000
_LAGGARD_SECONDS = 1.0
_ASK_AGAIN_SECONDS = 0.3


@dataclass(slots=True)
class Execution:
    """A cell under way.

    Attributes:
        output: what it has printed so far.
        error: its exception, as `Kind: message`.
        replied: resolves when the kernel has answered the request.
        idle: resolves when the kernel has sent all output of the cell.
        flooded: resolves when the output has passed the cap.
    """

    output: Output
    flood: int
    replied: asyncio.Future[None]
    idle: asyncio.Future[None]
    flooded: asyncio.Future[None]
    error: str | None = None

    @classmethod
    def new(cls, output: Output, flood: int) -> Execution:
        """Nothing has come yet."""
        future = asyncio.get_running_loop().create_future
        return cls(output, flood, replied=future(), idle=future(), flooded=future())

    async def finished(self) -> None:
        """Wait until the cell has ended and its output is complete.

        Either sign of the end will do: the other follows at once, or was lost in a flood.
        """
        await asyncio.wait((self.replied, self.idle), return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait((self.replied, self.idle), timeout=_LAGGARD_SECONDS)

    def print(self, text: str) -> None:
        """Take a piece of output."""
        self.output.add(text)
        if self.output.total > self.flood:
            _settle(self.flooded)


class Channel:
    """Runs cells over the shell channel and gathers their output from iopub.

    Args:
        client: a jupyter_client AsyncKernelClient with shell and iopub started.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._welcomed = asyncio.Event()
        self._informed = asyncio.Event()
        self._current: tuple[str, Execution] | None = None
        self._pumps = [
            asyncio.create_task(self._pump(client.iopub_channel.socket, self._on_iopub)),
            asyncio.create_task(self._pump(client.shell_channel.socket, self._on_shell)),
        ]

    async def ready(self) -> None:
        """Wait until the kernel answers and its output arrives here."""
        self._client.kernel_info()
        await self._informed.wait()
        while not self._welcomed.is_set():
            # An ipykernel that sends no welcome publishes its state with each answer.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._welcomed.wait(), _ASK_AGAIN_SECONDS)
                break
            self._client.kernel_info()

    def execute(self, code: str, output: Output, flood: int) -> Execution:
        """Start a cell; its output goes to `output`."""
        execution = Execution.new(output, flood)
        number = self._client.execute(code, store_history=False, allow_stdin=False)
        self._current = (number, execution)
        return execution

    async def close(self) -> None:
        """Stop listening."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        self._client.stop_channels()

    async def _pump(self, source: Any, take: Callable[[dict[str, Any]], None]) -> None:
        session = self._client.session
        while True:
            try:
                parts = await source.recv_multipart()
            except zmq.ZMQError:
                return
            try:
                _, parts = session.feed_identities(parts)
                take(session.deserialize(parts))
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
            self._fail(execution, content)
        elif kind == "status" and content["execution_state"] == "idle":
            _settle(execution.idle)

    def _on_shell(self, message: dict[str, Any]) -> None:
        self._informed.set()
        execution = self._mine(message)
        if execution is None:
            return
        content = message["content"]
        if content.get("status") != "ok":
            self._fail(execution, content)
        _settle(execution.replied)

    def _mine(self, message: dict[str, Any]) -> Execution | None:
        if self._current is None or message["parent_header"].get("msg_id") != self._current[0]:
            return None
        return self._current[1]

    @staticmethod
    def _fail(execution: Execution, content: dict[str, Any]) -> None:
        if execution.error is None:
            report = f"{_text(content.get('ename'))}: {_text(content.get('evalue'))}"
            execution.error = report.encode("utf-8", "replace").decode()[:_LONGEST]


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
