"""One remembered generation as bytes, with a checksum over its key and itself."""

from __future__ import annotations

import struct
import zlib
from array import array
from typing import get_args

from outcore.models.engine import ID_BYTES, Finish, Generation, pack

KEY_BYTES = 32
_FINISHES: tuple[Finish, ...] = get_args(Finish)
# Checksum; finish, tokens in, cached and out, number of ids and of logprobs; then ids, logprobs
# and text. In this machine's byte order: another's fails the checksum.
_SUM = struct.Struct("=I")
_HEAD = struct.Struct("=BqqqII")
_BODY = _SUM.size + _HEAD.size
# Of more than 5 kB zlib lets go of the interpreter's lock, which takes long to have back.
_PIECE = 4096
_LOGPROB_BYTES = array("d").itemsize


def encode(key: bytes, generation: Generation) -> bytes:
    """Everything of a generation but its origin, as bytes to be kept under a key of 32.

    Raises:
        OverflowError, struct.error: a number in it is larger than any true one could be.
    """
    head = _HEAD.pack(
        _FINISHES.index(generation.finish),
        generation.tokens_in,
        generation.tokens_cached,
        generation.tokens_out,
        len(generation.ids),
        len(generation.logprobs),
    )
    data = b"".join(
        (
            head,
            pack(generation.ids),
            array("d", generation.logprobs).tobytes(),
            generation.text.encode("utf-8", "surrogatepass"),
        )
    )
    return _SUM.pack(_checksum(key, data)) + data


def decode(key: bytes, data: bytes) -> Generation | None:
    """The generation that `encode` was given with this key; None where the bytes differ."""
    if len(data) < _BODY or _SUM.unpack_from(data)[0] != _checksum(key, data[_SUM.size :]):
        return None
    finish, tokens_in, tokens_cached, tokens_out, ids, logprobs = _HEAD.unpack_from(data, _SUM.size)
    logprobs_at = _BODY + ids * ID_BYTES
    text_at = logprobs_at + logprobs * _LOGPROB_BYTES
    view = memoryview(data)
    return Generation(
        text=data[text_at:].decode("utf-8", "surrogatepass"),
        ids=tuple(view[_BODY:logprobs_at].cast("I")),
        finish=_FINISHES[finish],
        tokens_in=tokens_in,
        tokens_cached=tokens_cached,
        tokens_out=tokens_out,
        logprobs=tuple(view[logprobs_at:text_at].cast("d")) if logprobs else (),
        origin="memo",
    )


def _checksum(key: bytes, data: bytes) -> int:
    # With the key, so that an entry found under another's key is not taken for its own.
    checksum = zlib.crc32(key)
    for start in range(0, len(data), _PIECE):
        checksum = zlib.crc32(data[start : start + _PIECE], checksum)
    return checksum
