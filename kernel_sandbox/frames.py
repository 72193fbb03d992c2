"""Reading the kernel's frames on the host, where nothing in them is trusted."""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from outcore.kernel_sandbox.inside.frames import HEADER, FrameTooLarge, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["FrameError", "FrameTooLarge", "Gate", "encode", "is_crowded", "read_frame"]

_LARGE = 1 << 20
_LARGE_AT_ONCE = 4
_LARGE_SECONDS = 60.0
_WIDEST = 4
_VALUES = 100_000
_SMALL = 1 << 16
# One that is not closed goes to the end: sought anew from each quote in it, it took hours.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


class FrameError(Exception):
    """What was read is no frame; the connection it came over can't be trusted further."""


class Gate:
    """Lets four frames of more than a megabyte in at once, over all connections of one kernel.

    Else a kernel could have the host hold as many as it has connections, each half sent.
    """

    def __init__(self) -> None:
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)

    @asynccontextmanager
    async def frame(
        self, reader: asyncio.StreamReader, cap: int
    ) -> AsyncIterator[tuple[dict[str, Any], int]]:
        """Next frame, as from `read_frame`; the gate counts it until the context is left.

        Raises:
            FrameError, asyncio.IncompleteReadError: see `read_frame`.
            TimeoutError: a large frame was not whole after a minute.
        """
        length = await _length(reader, cap)
        if length <= _LARGE:
            yield await _body(reader, length)
            return
        async with self._large:
            async with asyncio.timeout(_LARGE_SECONDS):
                frame = await _body(reader, length)
            yield frame


async def read_frame(reader: asyncio.StreamReader, cap: int) -> tuple[dict[str, Any], int]:
    """Next frame, a JSON object, and about how many bytes its values take.

    Of a key that is repeated the last value counts.

    Raises:
        FrameError: longer than `cap`, not JSON, not an object, more than 100,000 values in
            it, a number without end, or text that is no Unicode.
        asyncio.IncompleteReadError: the connection ended; `.partial` is empty where it ended
            between two frames.
    """
    return await _body(reader, await _length(reader, cap))


async def _length(reader: asyncio.StreamReader, cap: int) -> int:
    (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
    if length > cap:
        raise FrameError(f"a frame of {length:,} bytes; the cap is {cap:,}")
    return int(length)


async def _body(reader: asyncio.StreamReader, length: int) -> tuple[dict[str, Any], int]:
    return _read(await reader.readexactly(length))


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`.

    Raises:
        FrameError: see `read_frame`.
    """
    return _read(body)[0]


def is_crowded(body: bytes) -> bool:
    """Whether JSON holds more than 100,000 values: a few megabytes of "[[],[],..." would become
    gigabytes of lists.
    """
    return len(body) > _SMALL and _STRING.sub(b"", body).count(b",") > _VALUES


def _read(body: bytes) -> tuple[dict[str, Any], int]:
    if is_crowded(body):
        raise FrameError(f"a frame of more than {_VALUES:,} values")
    try:
        text = body.decode()
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
        escaped = b"\\u" in body
        if escaped:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame that is not JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise FrameError(f"a frame that holds no object but {type(value).__name__}")
    # One emoji in a long text makes every letter of it take four bytes.
    return value, len(text) * _WIDEST if escaped else max(len(body), sys.getsizeof(text))


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)
