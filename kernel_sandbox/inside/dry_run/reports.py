"""What a dry run reports: one record for each call it would make, in order.

A record is three numbers and the call's parameters as JSON, `null` where they hang on an
answer. The parent need not read the JSON: the numbers are its length, how many values are in
it at most, and a mark, the parameters' hash, which is the same in parent and child.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HEADER = struct.Struct("=qII")


def mark(params: Mapping[str, Any]) -> int:
    """Hash of the parameters of a call, of this process and those forked from it."""
    schema, choices = params.get("schema"), params.get("choices")
    return hash(
        (
            params["prompt"],
            params["text"],
            None if schema is None else json.dumps(schema, sort_keys=True),
            None if choices is None else tuple(choices),
            params.get("max_tokens"),
            bool(params.get("scores")),
            params.get("guide"),
            tuple(params.get("meanings") or ()),
        )
    )


class Record(NamedTuple):
    """One call.

    Attributes:
        mark: hash of its parameters, 0 where they are not known.
        values: how many values the JSON holds, at most.
        body: the JSON.
    """

    mark: int
    values: int
    body: bytes

    @classmethod
    def of(cls, params: Mapping[str, Any], body: str) -> Record:
        """Record of a call with these parameters, `body` as JSON."""
        lists = sum(len(params.get(name) or ()) for name in ("choices", "meanings"))
        typed = lists, json.dumps(params.get("schema")).count(",")
        return cls(mark(params), 2 * len(params) + sum(typed), body.encode())

    @property
    def known(self) -> bool:
        """Whether the call can be made before the cell makes it."""
        return self.body != UNKNOWN.body

    def pack(self) -> bytes:
        """Its bytes in the pipe."""
        return _HEADER.pack(self.mark, len(self.body), self.values) + self.body


UNKNOWN = Record(0, 1, b"null")


def unpacked(received: bytearray) -> Iterator[Record]:
    """The whole records in `received`, which are taken out of it."""
    start = 0
    while len(received) - start >= _HEADER.size:
        number, length, values = _HEADER.unpack_from(received, start)
        end = start + _HEADER.size + length
        if len(received) < end:
            break
        yield Record(number, values, bytes(received[start + _HEADER.size : end]))
        start = end
    del received[:start]
