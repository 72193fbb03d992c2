"""One frame of the bridge: four bytes of big-endian length, then that much UTF-8 JSON.

Both sides of the bridge use this module.

Frames of the kernel: `{"token": str}` first, then
`{"id": int, "op": str, "params": {...}}` or `{"id": int, "op": "cancel"}`.
Frames of the host: `{"id": int, "ok": value}` or
`{"id": int, "error": {"type": str, "message": str, "details": {...}}}`.
"""

from __future__ import annotations

import json
import struct
from typing import Any

HEADER = struct.Struct(">I")


class FrameTooLarge(ValueError):
    """A frame is longer than the bridge allows."""


def encode(value: Any, cap: int) -> bytes:
    """Frame holding `value` as JSON.

    Raises:
        FrameTooLarge: the JSON is over `cap` bytes.
        TypeError: `value` is not made of JSON types.
        ValueError: it holds a float that JSON lacks, or half of a surrogate pair.
    """
    try:
        body = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        payload = body.encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise ValueError(f"the text holds {half!a}, half of a surrogate pair") from None
    return _framed(payload, cap)


def extended(value: dict[str, Any], name: str, body: bytes, cap: int) -> bytes:
    """Frame holding `value` with one more field, whose JSON is `body`.

    Raises:
        FrameTooLarge: the JSON is over `cap` bytes.
    """
    start = json.dumps(value, separators=(",", ":")).encode().removesuffix(b"}")
    return _framed(b'%b,"%b":%b}' % (start, name.encode(), body), cap)


def _framed(payload: bytes, cap: int) -> bytes:
    if len(payload) > cap:
        raise FrameTooLarge(
            f"the call is {len(payload):,} bytes long; one call carries at most {cap:,}"
        )
    return HEADER.pack(len(payload)) + payload
