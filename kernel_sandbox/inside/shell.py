"""The ipykernel this process becomes, fitted to a sandbox that has unix sockets alone.

The listening sockets come from the host as open file descriptors, so the sandbox needs no
folder it can write to on the host.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import zmq
from ipykernel.iostream import IOPubThread
from ipykernel.ipkernel import IPythonKernel
from ipykernel.kernelapp import IPKernelApp
from ipykernel.zmqshell import ZMQDisplayPublisher, ZMQInteractiveShell, ZMQShellDisplayHook
from traitlets import Type
from traitlets.config import Config

from . import tracebacks
from .stream import Stream
from .texts import clean, cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from .dry_run.rehearsal import Rehearsal

_SHOWN = 1 << 17
_LONGEST = 2_000
_LEAVES = ("None", "", "0")


class _DisplayHook(ZMQShellDisplayHook):  # type: ignore[misc]
    """Shows the value of a cell's last line as text of bounded length."""

    def write_format_data(self, format_dict: dict[str, Any], md_dict: Any = None) -> None:
        """Keep the text form alone."""
        super().write_format_data(_plain(format_dict), {})


class _DisplayPublisher(ZMQDisplayPublisher):  # type: ignore[misc]
    """Does the same for `display(...)`."""

    def publish(self, data: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Keep the text form alone."""
        super().publish(_plain(data), *args, **kwargs)


class _Shell(ZMQInteractiveShell):  # type: ignore[misc]
    """An IPython shell whose errors are short and whose `exit` ends a cell, not the kernel."""

    displayhook_class = Type(_DisplayHook)
    display_pub_class = Type(_DisplayPublisher)

    rehearsal: Rehearsal | None = None
    # `!command` without a terminal, which not every sandbox has.
    system = ZMQInteractiveShell.system_raw

    async def run_ast_nodes(self, *args: Any, **kwargs: Any) -> Any:
        """Run the statements of a cell, which may be run ahead of themselves."""
        rehearsal = self.rehearsal
        if rehearsal is None:
            return await super().run_ast_nodes(*args, **kwargs)
        rehearsal.begin()
        try:
            return await super().run_ast_nodes(*args, **kwargs)
        finally:
            rehearsal.end()

    def init_environment(self) -> None:
        """Leave the environment as the host built it: no colours."""

    def showtraceback(self, *args: Any, **kwargs: Any) -> None:
        """Send the traceback of the exception being handled."""
        if args and isinstance(args[0], tuple):
            kind, error, trace = args[0]
        else:
            kind, error, trace = sys.exc_info()
        self._send_traceback(kind, error, trace)

    def showsyntaxerror(self, *args: Any, **kwargs: Any) -> None:
        """Send the syntax error being handled."""
        kind, error, _ = sys.exc_info()
        self._send_traceback(kind, error, None)

    def _send_traceback(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or error is None or _is_leave(error):
            return
        text, message = tracebacks.render(kind, error, trace)
        self._showtraceback(kind, _Shown(message), [text])

    def payloadpage_page(self, strg: Any, *args: Any, **kwargs: Any) -> None:
        """Print what `name?` would show in a pager."""
        print(strg.get("text/plain", "") if isinstance(strg, dict) else strg)

    def ask_exit(self) -> None:
        """End the cell."""
        raise SystemExit

    def enable_gui(self, gui: Any = None) -> None:
        """There is no display."""


class _Shown(Exception):
    """Carries a message that is known to be a string."""


class _Kernel(IPythonKernel):  # type: ignore[misc]
    """A kernel whose replies stay small whatever a cell's exception says of itself."""

    shell_class = Type(_Shell)

    @contextmanager
    def _cancel_on_sigint(self, future: asyncio.Future[Any]) -> Iterator[None]:
        """While an async cell runs, make SIGINT cancel it; ipykernel's own way does not wake
        a loop that waits. A cell that never yields gets the second one as an exception.
        """
        loop = asyncio.get_running_loop()
        seen = False

        def interrupt(*_: Any) -> None:
            nonlocal seen
            if seen:
                raise KeyboardInterrupt
            seen = True
            loop.call_soon_threadsafe(future.cancel)

        saved = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, saved)

    async def do_execute(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run a cell."""
        rehearsal = self.shell.rehearsal
        if rehearsal is not None:
            rehearsal.reset()
        try:
            reply: dict[str, Any] = await super().do_execute(*args, **kwargs)
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, Stream):
                    stream.catch_up()
        except Exception as error:
            # The exception's own `__str__` raised while the reply was made.
            reply = {"status": "error", "ename": type(error).__name__, "evalue": ""}
        left = reply.get("ename") == "SystemExit" and reply.get("evalue") in _LEAVES
        return {
            "status": "ok" if left else reply["status"],
            "execution_count": self.execution_count,
            "ename": reply.get("ename", ""),
            "evalue": cut(clean(reply.get("evalue", "")), _LONGEST),
            "traceback": [],
            "user_expressions": {},
            "payload": [],
        }


class _App(IPKernelApp):  # type: ignore[misc]
    """An ipykernel that takes its sockets from the host and opens none of its own."""

    def __init__(self, sockets: Mapping[str, int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._fds = {int(port): fd for port, fd in sockets.items()}

    def _try_bind_socket(self, s: Any, port: int) -> int:
        s.setsockopt(zmq.USE_FD, self._fds[port])
        s.bind(f"ipc://{self.ip}-{port}")
        return port

    def init_heartbeat(self) -> None:
        """The host watches the process itself."""

    def write_connection_file(self, **kwargs: Any) -> None:
        """The host has written it."""

    def log_connection_info(self) -> None:
        """Nobody else can connect."""
        self._ports = {
            name: getattr(self, f"{name}_port")
            for name in ("shell", "iopub", "stdin", "hb", "control")
        }

    def init_pdb(self) -> None:
        """There is no one to debug with."""


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    return {"text/plain": cut(clean(str(data.get("text/plain", ""))), _SHOWN)}


def _is_leave(error: BaseException) -> bool:
    return isinstance(error, SystemExit) and str(error) in _LEAVES


def _no_pipe(thread: IOPubThread) -> None:
    thread._pipe_flag = False


def _write_to_fd() -> None:
    """In a forked child, print to the pipe that the kernel reads; its sockets are not ours."""
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - open while the child lives
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(
    connection_file: str, sockets: Mapping[str, int], names: dict[str, Any]
) -> tuple[_App, ZMQInteractiveShell]:
    """Kernel ready to serve: `app.start()` does not return.

    Args:
        connection_file: Jupyter's connection file, transport `ipc`.
        sockets: file descriptor of the listening socket for each port of that file.
        names: what its cells find at the start.
    """
    IOPubThread._setup_pipe_in = _no_pipe
    warnings.filterwarnings("ignore", message="To exit: use")
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    config.InteractiveShell.cache_size = 0
    config.InteractiveShellApp.exec_PYTHONSTARTUP = False
    config.InteractiveShellApp.ignore_cwd = True
    app = _App.instance(sockets=sockets, config=config, user_ns=names)
    app.outstream_class = f"{Stream.__module__}.{Stream.__name__}"
    app.kernel_class = _Kernel
    app.connection_file = connection_file
    app.initialize([])
    os.register_at_fork(after_in_child=_write_to_fd)
    shell = app.shell
    cells = iter(range(1, sys.maxsize))
    # The default hashes the cell in Python, a third of a second a megabyte.
    shell.compile.get_code_name = lambda *_: f"{tracebacks.CELL}{next(cells)}>"
    return app, shell
