"""A connection to the host's end of the bridge, made by hand."""

from __future__ import annotations

import gc
import json
import socket
import struct
import time
from typing import Any

from .attack import Stopped

_HEADER = struct.Struct(">I")
_OP = "llm_query"
_found: list[Any] = []


def own_bridge() -> tuple[str, str, int]:
    """Path, token and largest frame of this kernel's bridge.

    Raises:
        Stopped: there is none in this process.
    """
    for one in _found or gc.get_objects():
        if type(one).__name__ == "Bridge" and hasattr(one, "_token"):
            _found[:] = [one]
            return one._path, one._token, one.cap
    raise Stopped("no bridge in this process")


def keep(code: str) -> None:
    """Have the host keep code, which the next kernel of this session runs as it starts.

    Raises:
        Stopped: there is no bridge in this process.
    """
    own_bridge()
    _found[0].call("keep", {"set": {"kept": {"code": code}}, "gone": [], "lost": {}})


def framed(body: Any) -> bytes:
    """A frame with these bytes, or with the JSON of this value."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return _HEADER.pack(len(data)) + data


class Line:
    """One connection, with a hello of choice.

    Args:
        path: the bridge's socket.
        token: what to say first, if it is text; the frame's bytes, if it is bytes; nothing,
            if it is None.
        cap: ignored.
        seconds: how long to wait for the host.
    """

    def __init__(self, path: str, token: str | bytes | None, cap: int = 0, seconds: float = 8):
        del cap
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self._ids = 0
        try:
            self.socket.connect(path)
            if token is not None:
                self.send(token if isinstance(token, bytes) else framed({"token": token}))
        except OSError:
            self.socket.close()
            raise

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are.

        Raises:
            Stopped: the host has closed the connection.
        """
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            raise Stopped("the host closed the connection") from None

    def read(self) -> dict[str, Any]:
        """The host's next frame.

        Raises:
            Stopped: the host closed the connection.
            TimeoutError: it says nothing.
        """
        (length,) = _HEADER.unpack(self._exactly(_HEADER.size))
        frame: dict[str, Any] = json.loads(self._exactly(length))
        return frame

    def _exactly(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            try:
                part = self.socket.recv(size - len(parts))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Stopped("the host closed the connection")
            parts += part
        return bytes(parts)

    def call(self, op: Any, params: Any, number: Any = None) -> Any:
        """Make a call; returns its number."""
        if number is None:
            number, self._ids = self._ids, self._ids + 1
        self.send(framed({"id": number, "op": op, "params": params}))
        return number

    def ask(self, prompt: str) -> Any:
        """Make a call as the kernel would, and wait for the answer.

        Raises:
            Stopped: the host refused.
        """
        number = self.call(_OP, {"prompt": prompt})
        while True:
            frame = self.read()
            if frame.get("id") == number:
                return answer(frame)

    def is_closed(self) -> str:
        """Wait for the host to hang up.

        Raises:
            Stopped: it did, as it should.
            TimeoutError: it did not.
        """
        while True:
            self.read()


def answer(frame: dict[str, Any]) -> Any:
    """What a frame of the host holds.

    Raises:
        Stopped: an error.
    """
    if "error" in frame:
        raise Stopped(f"the host refused: {frame['error']['type']}")
    return frame["ok"]


def still_served() -> None:
    """See that the host answers a right call on a new connection.

    Raises:
        RuntimeError: it does not.
    """
    path, token, _ = own_bridge()
    until = time.monotonic() + 30
    while True:
        try:
            with Line(path, token) as line:
                line.ask("still there?")
                return
        except (Stopped, OSError) as error:
            # Connections of a flood that are being closed still count.
            if time.monotonic() > until:
                raise RuntimeError(
                    f"the host does not serve its kernel any more: {error}"
                ) from None
            time.sleep(0.1)
