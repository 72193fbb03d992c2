"""A stand-in for an OpenAI-compatible server, in a process of its own.

    python -P bench/server.py SECONDS     serves until its input is closed; prints its address

It serves two models: `sub` answers `re: ` and the question after SECONDS, however many ask at
once, and `root` replies with the cells that were posted to `/script`.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

WINDOW = 32_768


def fenced(cell: str) -> str:
    """A root's reply that holds one cell, in the form every system reads."""
    return f"```repl\n{cell.strip()}\n```"


class Server:
    """The stand-in server, started and ended with a `with` block."""

    def __init__(self, seconds: float) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__, str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.address = self._process.stdout.readline().strip()

    def script(self, cells: Sequence[str]) -> None:
        """Have the root reply with these cells, one a turn."""
        body = json.dumps([fenced(cell) for cell in cells]).encode()
        urllib.request.urlopen(f"{self.address}/script", body).close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # closes its input


class _Connection(asyncio.Protocol):
    """One HTTP connection, kept alive. Understands what these clients send, and no more."""

    seconds = 0.0
    replies: list[str]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._out = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].decode("latin-1").split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in head[1:])
            size = end + 4 + int(fields.get("content-length", 0))
            if len(self._received) < size:
                return
            body, self._received = self._received[end + 4 : size], self._received[size:]
            self._take(head[0].split()[1], json.loads(body) if body else None)

    def _take(self, path: str, body: Any) -> None:
        if path.endswith("/models"):
            models = [{"id": name, "max_model_len": WINDOW} for name in ("root", "sub")]
            self._answer({"object": "list", "data": models})
        elif path == "/script":
            type(self).replies = body
            self._answer({})
        elif body["model"] == "root":
            self._answer(_completion(self.replies.pop(0)))
        else:
            reply = _completion("re: " + body["messages"][-1]["content"])
            asyncio.get_running_loop().call_later(self.seconds, self._answer, reply)

    def _answer(self, body: Any) -> None:
        data = json.dumps(body).encode()
        self._out.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(data), data)
        )


def _completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "standin",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 8, "total_tokens": 16},
    }


async def bare(address: str, calls: int) -> float:
    """Seconds that `calls` calls at once take a client that does nothing else."""
    host, _, port = address.removeprefix("http://").partition(":")
    body = json.dumps({"model": "sub", "messages": [{"role": "user", "content": "q"}]}).encode()
    sent = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    streams = [await asyncio.open_connection(host, int(port)) for _ in range(calls)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.rpartition(b": ")[2]))

    begun = time.perf_counter()
    await asyncio.gather(*(ask(*stream) for stream in streams))
    seconds = time.perf_counter() - begun
    for _, writer in streams:
        writer.close()
    return seconds


def allow_files() -> None:
    """As many connections as the machine lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(seconds: float) -> None:
    allow_files()
    _Connection.seconds = seconds
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(float(sys.argv[1])))
