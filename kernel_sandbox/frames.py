"""Reading the kernel's frames on the host, where nothing in them is trusted."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from outcore.kernel_sandbox.inside.frames import HEADER, FrameTooLarge, encode

if TYPE_CHECKING:
    import asyncio

__all__ = ["FrameError", "FrameTooLarge", "encode", "read_frame"]

_VALUES = 100_000
_SMALL = 1 << 16
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class FrameError(Exception):
    """What was read is no frame; the connection it came over can't be trusted further."""


async def read_frame(reader: asyncio.StreamReader, cap: int) -> tuple[dict[str, Any], int]:
    """Next frame, a JSON object, and its length in bytes.

    Raises:
        FrameError: longer than `cap`, not JSON, not an object, more than 100,000 values in
            it, or text that is no Unicode.
        asyncio.IncompleteReadError: the connection ended; `.partial` is empty where it ended
            between two frames.
    """
    (length,) = HEADER.unpack(await reader.readexactly(HEADER.size))
    if length > cap:
        raise FrameError(f"a frame of {length:,} bytes; the cap is {cap:,}")
    body = await reader.readexactly(length)
    return decode(body), length


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`.

    Raises:
        FrameError: see `read_frame`.
    """
    # A few megabytes of "[[],[],..." would become gigabytes of lists.
    if len(body) > _SMALL and _STRING.sub(b"", body).count(b",") > _VALUES:
        raise FrameError(f"a frame of more than {_VALUES:,} values")
    try:
        value = json.loads(body.decode(), parse_constant=_no_constant)
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise FrameError(f"a frame that is not JSON: {type(error).__name__}") from None
    if not isinstance(value, dict):
        raise FrameError(f"a frame that holds no object but {type(value).__name__}")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(name)
