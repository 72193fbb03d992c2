"""Jupyter's messages, forged by the code that holds the key for them.

What they may do is end the cell they are sent from, or spoil its output. They may not stop,
block or fill the host, nor the next cell, nor stand for what another key signed.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import hmac
import json
import os
import socket
import threading
import time
from typing import Any

from .attack import Aim, Stopped, attack

_OWN = "only a kernel has messages"
_DELIMITER = b"<IDS|MSG>"


def _app() -> Any:
    from ipykernel.kernelapp import IPKernelApp

    return IPKernelApp.instance()


class _Pen:
    """Writes messages with any content, signed as the kernel signs or otherwise."""

    def __init__(self, key: bytes | None = None) -> None:
        self._app = _app()
        self._key = self._app.session.key if key is None else key
        told = json.dumps(self._app.kernel.get_parent()["header"], default=str)
        self.parent: dict[str, Any] = json.loads(told)
        self._serial = 0

    def header(self, kind: str) -> dict[str, Any]:
        self._serial += 1
        number = f"forged-{os.getpid()}-{self._serial}-{time.monotonic_ns()}"
        session = self.parent.get("session", "")
        return {
            "msg_id": number,
            "username": "x",
            "session": session,
            "msg_type": kind,
            "date": "2026-01-01T00:00:00Z",
            "version": "5.3",
        }

    def parts(self, kind: str, content: Any, parent: Any = None) -> list[bytes]:
        """The parts of a message; `content` as JSON, or as bytes as they are."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        above = json.dumps(self.parent if parent is None else parent).encode()
        signed = [json.dumps(self.header(kind)).encode(), above, b"{}", body]
        digest = hmac.new(self._key, digestmod=hashlib.sha256)
        for one in signed:
            digest.update(one)
        return [_DELIMITER, digest.hexdigest().encode(), *signed]

    def publish(self, parts: list[bytes], *, copy: bool = True) -> None:
        """Send on the channel of outputs; without copies, parts cost this process no memory."""
        self._app.iopub_socket.send_multipart([b"stream", *parts], copy=copy)

    def reply(self, parts: list[bytes], *, copy: bool = True) -> None:
        """Send on the channel of replies, to the host; see `publish`."""
        stream = self._app.kernel.shell_stream
        stream = self._app.shell_socket if stream is None else stream
        identities = [bytes(one) for one in (self._app.kernel._parent_ident["shell"] or [])]
        target = getattr(stream, "socket", stream)
        target.send_multipart([*identities, *parts], copy=copy)


def _stream(text: str) -> dict[str, str]:
    return {"name": "stdout", "text": text}


@attack("kernel", control=_OWN)
def output_with_a_wrong_signature(aim: Aim) -> str:
    """Output that another key has signed is taken for the kernel's."""
    pen = _Pen(b"0" * 64)
    pen.publish(pen.parts("stream", _stream(f"{aim.mark} reached with a wrong signature\n")))
    time.sleep(0.2)
    raise Stopped("the host looks whether it was printed")


@attack("kernel", control=_OWN)
def output_without_a_signature(aim: Aim) -> str:
    """Output that nobody has signed is taken for the kernel's."""
    pen = _Pen()
    parts = pen.parts("stream", _stream(f"{aim.mark} reached without a signature\n"))
    parts[1] = b""
    pen.publish(parts)
    time.sleep(0.2)
    raise Stopped("the host looks whether it was printed")


@attack("kernel", control=_OWN)
def output_of_another_cell(aim: Aim) -> str:
    """Output is printed in a cell of the past or the future, or of nobody."""
    pen = _Pen()
    for parent in ({}, {**pen.parent, "msg_id": "another"}, {**pen.parent, "msg_id": None}):
        pen.publish(pen.parts("stream", _stream(f"{aim.mark} reached another cell\n"), parent))
    time.sleep(0.2)
    raise Stopped("the host looks whether it was printed")


@attack("kernel", expected="contained", control=_OWN, seconds=3)
def reply_before_the_end(aim: Aim) -> str:
    """A cell says that it has ended, and runs on into the next."""
    pen = _Pen()
    pen.reply(pen.parts("execute_reply", {"status": "ok", "execution_count": 1}))
    time.sleep(60)
    return aim.mark


@attack("kernel", expected="contained", control=_OWN, seconds=3)
def idle_before_the_end(aim: Aim) -> str:
    """The same by its state."""
    pen = _Pen()
    pen.publish(pen.parts("status", {"execution_state": "idle"}))
    time.sleep(60)
    return aim.mark


@attack("kernel", expected="contained", control=_OWN)
def states_that_do_not_exist(aim: Aim) -> str:
    """States and kinds of messages that do not exist stop the host."""
    pen = _Pen()
    states: tuple[Any, ...] = ("dead", "restarting", "starting", "x", None, 5, ["idle"], {})
    for state in states:
        pen.publish(pen.parts("status", {"execution_state": state}))
    for kind in ("", "x" * 10_000, "shutdown_reply", "comm_open", "input_request", "debug_event"):
        pen.publish(pen.parts(kind, {"data": {}, "comm_id": "x", "target_name": "os"}))
    return aim.mark


@attack("kernel", expected="contained", control=_OWN)
def replies_that_are_none(aim: Aim) -> str:
    """Replies of other types than they should be stop the host."""
    pen = _Pen()
    odd: tuple[Any, ...] = ([], None, 5, "ok", {"status": ["ok"]}, {"status": {"a": 1}}, {})
    for content in odd:
        pen.reply(pen.parts("execute_reply", content))
    for kind in ("kernel_info_reply", "complete_reply", "x"):
        pen.reply(pen.parts(kind, {"status": "ok"}))
    return aim.mark


@attack("kernel", expected="contained", control=_OWN)
def outputs_that_are_none(aim: Aim) -> str:
    """Outputs of other types than they should be stop the host."""
    pen = _Pen()
    odd: tuple[Any, ...] = ([], None, 5, {"text": {"a": 1}}, {"traceback": 5}, {"data": []}, {})
    for kind in ("stream", "error", "execute_result", "display_data", "update_display_data"):
        for content in odd:
            pen.publish(pen.parts(kind, content))
        pen.publish(pen.parts(kind, {"traceback": [None] * 10_000, "ename": [], "evalue": {}}))
    return aim.mark


@attack("kernel", expected="contained", control=_OWN)
def headers_that_are_none(aim: Aim) -> str:
    """Headers of other types, or without what belongs in them, stop the host."""
    pen = _Pen()
    odd: tuple[Any, ...] = ([], "x", 5, {"msg_id": [1]}, {"msg_id": {"a": 1}})
    for parent in odd:
        pen.publish(pen.parts("stream", _stream("x"), parent))
        pen.reply(pen.parts("execute_reply", {"status": "ok"}, parent))
    return aim.mark


@attack("kernel", expected="contained", control=_OWN)
def parts_that_are_missing(aim: Aim) -> str:
    """Messages without their parts, or with others, stop the host."""
    pen = _Pen()
    whole = pen.parts("stream", _stream("x"))
    for parts in ([], [b""], whole[:1], whole[:3], whole[1:], [b"x"] * 500, [*whole, b"x" * 1000]):
        pen.publish(parts)
        with contextlib.suppress(Exception):
            pen.reply(parts or [b""])
    return aim.mark


@attack("kernel", expected="contained", control=_OWN, seconds=6)
def message_of_200_megabytes(aim: Aim) -> str:
    """One message fills the host's memory."""
    pen = _Pen()
    pen.publish(pen.parts("stream", _stream("x" * (200 << 20))))
    time.sleep(1)
    return aim.mark


@attack("kernel", expected="contained", control=_OWN, seconds=8)
def message_of_endless_parts(aim: Aim) -> str:
    """One message of parts that are each small enough fills the host's memory."""
    pen = _Pen()
    part = b"x" * (900 << 10)
    parts = [*pen.parts("stream", _stream("x")), *[part] * (aim.goal // len(part))]
    pen.publish(parts, copy=False)
    time.sleep(2)
    return aim.mark


@attack("kernel", expected="contained", control=_OWN, seconds=8)
def reply_of_endless_parts(aim: Aim) -> str:
    """The same on the channel of replies."""
    pen = _Pen()
    part = b"x" * (900 << 10)
    parts = [*pen.parts("stream", _stream("x")), *[part] * (aim.goal // len(part))]
    pen.reply(parts, copy=False)
    time.sleep(2)
    return aim.mark


@attack("kernel", expected="contained", control=_OWN)
def message_of_deep_json(aim: Aim) -> str:
    """JSON of 200,000 levels uses up the host's stack."""
    pen = _Pen()
    deep = b"[" * 200_000 + b"]" * 200_000
    pen.publish(pen.parts("stream", deep))
    pen.reply(pen.parts("execute_reply", deep))
    return aim.mark


@attack("kernel", expected="contained", control=_OWN)
def message_of_many_values(aim: Aim) -> str:
    """A message below the cap becomes a hundred times its size in objects."""
    pen = _Pen()
    for _ in range(20):
        pen.publish(pen.parts("stream", b"[" + b"[]," * 300_000 + b"[]]"))
    return aim.mark


@attack("kernel", expected="contained", control=_OWN, seconds=5)
def flood_of_messages(aim: Aim) -> str:
    """More messages than the host can look at, so that it never comes to anything else."""
    pen = _Pen()
    small = pen.parts("status", {"execution_state": "busy"})
    until = time.monotonic() + 2
    while time.monotonic() < until:
        for _ in range(100):
            pen.publish(small)
    return aim.mark


@attack("kernel", expected="contained", control=_OWN, seconds=5)
def next_cell_answered(aim: Aim) -> str:
    """The next cell's number is guessed, and its reply sent before it has run."""
    pen = _Pen()
    stem, _, number = str(pen.parent["msg_id"]).rpartition("_")
    for ahead in range(1, 4):
        parent = {**pen.parent, "msg_id": f"{stem}_{int(number) + ahead}"}
        pen.reply(pen.parts("execute_reply", {"status": "ok"}, parent))
        pen.publish(pen.parts("status", {"execution_state": "idle"}, parent))
    return aim.mark


@attack("kernel", expected="contained", control=_OWN, seconds=4)
def garbage_on_the_wire(aim: Aim) -> str:
    """Bytes that are no message of ZeroMQ stop the host's end of it."""
    wrote = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError, ValueError):
            one = socket.socket(fileno=os.dup(int(name)))
            with one:
                if one.family == socket.AF_UNIX and "/kernel-" in str(one.getsockname()):
                    wrote += one.send(b"\xff\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff" * 50)
    if not wrote:
        raise Stopped("there was no connection")
    time.sleep(60)
    return aim.mark


@attack("kernel", expected="contained", control=_OWN, seconds=4)
def channels_closed(aim: Aim) -> str:
    """The kernel hangs up, and the host waits for ever."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError, ValueError):
            one = socket.socket(fileno=os.dup(int(name)))
            with one:
                if one.family == socket.AF_UNIX:
                    one.shutdown(socket.SHUT_RDWR)
    time.sleep(60)
    return aim.mark


@attack("kernel", expected="contained", control=_OWN, seconds=5)
def thread_that_prints_on(aim: Aim) -> str:
    """A thread of this cell prints into the next ones, for ever."""

    def flood() -> None:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            print("x" * 1000)

    threading.Thread(target=flood, daemon=True).start()
    gc.collect()
    return aim.mark
