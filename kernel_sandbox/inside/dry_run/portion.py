"""Part of what a dry run has reported, to go to the host in one frame."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..bridge import Bridge
    from .reports import Record

_CALLS = 256
_BYTES = 1 << 20
# The host takes frames of up to twice as many.
_VALUES = 50_000
_SECONDS = 0.05


class Portion:
    """Gathers records, and tells the host of them.

    Args:
        bridge: way to the host.
    """

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._known = False
        self._since = 0.0
        self._clear()

    def _clear(self) -> None:
        self._bodies: list[bytes] = []
        self._bytes = self._values = 0

    def has_room(self, record: Record) -> bool:
        """Whether `record` may be added to what there is."""
        return not self._bodies or (
            len(self._bodies) < _CALLS
            and self._bytes + len(record.body) <= _BYTES
            and self._values + record.values <= _VALUES
        )

    def add(self, record: Record) -> None:
        """Take one call."""
        if not self._bodies:
            self._since = time.monotonic()
        self._known = self._known or record.known
        self._bodies.append(record.body)
        self._bytes += len(record.body) + 1
        self._values += record.values

    def due(self, latest: float) -> float:
        """When it is to be sent."""
        return min(latest, self._since + _SECONDS) if self._bodies else latest

    def send(self) -> None:
        """Tell the host, unless nothing in the report so far could be started."""
        bodies = self._bodies
        self._clear()
        if bodies and self._known:
            with contextlib.suppress(Exception):  # the host may want no guesses
                self._bridge.submit("speculate", b'{"calls":[%b]}' % b",".join(bodies))
