"""Keeping a cell's variables, so that a kernel that dies takes few of them with it.

After each cell, once its result is out, the host is sent what has changed: plain data, pickled,
and the source of imports and definitions. The host looks into none of it and gives it back to
the next kernel, which is trusted no more than this one.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import pickle
import signal
import time
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from itertools import islice
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from .definitions import bound, definitions
from .record_list import Records

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .bridge import Bridge

# The hint by which a kernel is told to take back what another has kept.
RESTORE = "restore"
# Bytes of all variables together, and processor seconds to look through them after one cell.
BYTES = 4 << 20
SECONDS = 0.06
_NAMES = 500
_LONGEST_NAME = 100
# The reply to a cell goes out first.
_AFTER_SECONDS = 0.005
# A cell that comes before the host has what the last one set waits so long for it.
_WAIT_SECONDS = 0.5
_RESTORE_SECONDS = 3.0
_ALIKE = (str, bytes, int, float, bool, type(None))


class _TooMuch(Exception):
    """There is no room or time to keep a variable; says which."""


class _Sink:
    """Takes a pickle until it is too long or has taken too long."""

    def __init__(self, room: int, until: float) -> None:
        self.parts: list[bytes] = []
        self._room = room
        self._until = until

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        self._room -= size
        if self._room < 0:
            raise _TooMuch("size")
        if time.thread_time() > self._until:
            raise _TooMuch("time")
        self.parts.append(bytes(data))
        return size


class Keeping:
    """Sends the variables of the cells to the host, and takes them back in a fresh kernel.

    Args:
        bridge: way to the host.
        names: namespace of the cells.
        tools: names that are not the root's own variables.
    """

    def __init__(self, bridge: Bridge, names: dict[str, Any], tools: set[str]) -> None:
        self._bridge = bridge
        self._names = names
        self._tools = tools
        self._sources: dict[str, str] = {}
        # What the host has, by name: the entry, and where that tells, the value it was made of.
        self._sent: dict[str, dict[str, str]] = {}
        self._values: dict[str, Any] = {}
        self._lost: dict[str, str] = {}
        self._due = False
        self._sending: Future[Any] | None = None

    def before(self) -> None:
        """A cell begins: see that the host has what the ones before have left."""
        self._keep()
        if self._sending is not None:
            with contextlib.suppress(Exception, Late):
                self._sending.result(_WAIT_SECONDS)
            self._sending = None

    def after(self, code: str) -> None:
        """The cell `code` has ended, in whatever way."""
        if self._sources:
            for name in bound(code):
                self._sources.pop(name, None)
        self._sources |= definitions(code)
        self._due = True
        with contextlib.suppress(RuntimeError):  # no loop: it is done before the next cell
            asyncio.get_running_loop().call_later(_AFTER_SECONDS, self._keep)

    def restore(self) -> None:
        """Take back what the host has kept of a kernel that died, and tell it how that went."""
        entries = self._bridge.call("kept", {})["entries"]
        restored: list[str] = []
        signal.signal(signal.SIGALRM, _out_of_time)
        signal.setitimer(signal.ITIMER_REAL, _RESTORE_SECONDS)
        try:
            # Data may be of classes that cells have defined.
            for name, entry in sorted(entries.items(), key=lambda one: "data" in one[1]):
                if self._take_back(name, entry):
                    restored.append(name)
        except _TooMuch:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
        self._sent = {name: entries[name] for name in restored}
        self._sources = {name: one["code"] for name, one in self._sent.items() if "code" in one}
        self._bridge.call("restored", {"names": restored})

    def _take_back(self, name: str, entry: dict[str, str]) -> bool:
        try:
            if "code" in entry:
                exec(compile(entry["code"], "<restored>", "exec"), self._names)  # noqa: S102
            else:
                self._names[name] = pickle.loads(base64.b64decode(entry["data"]))  # noqa: S301
        except _TooMuch:
            raise
        except Exception:  # whatever was in it: it counts as gone
            return False
        return True

    def _keep(self) -> None:
        if not self._due:
            return
        self._due = False
        now = dict(self._own())
        changed: dict[str, dict[str, str]] = {}
        lost: dict[str, str] = {}
        records = self._names.get("records")
        if isinstance(records, Records) and records.changed:
            lost["records"] = "fields"
        room, until = BYTES, time.thread_time() + SECONDS
        for number, (name, value) in enumerate(now.items()):
            try:
                if number >= _NAMES:
                    raise _TooMuch("size")
                entry = self._entry(name, value, room, until)
            except _TooMuch as error:
                lost[name] = str(error)
                continue
            except Exception:  # what a pickle calls may raise anything
                lost[name] = "kind"
                continue
            room -= len(entry.get("data", "")) * 3 // 4
            if self._sent.get(name) != entry:
                changed[name] = entry
            if type(value) in _ALIKE:
                self._values[name] = value
        gone = [name for name in self._sent if name not in now or name in lost]
        # Of more names the host would refuse all, and keep what they were before.
        lost = dict(islice(lost.items(), _NAMES))
        if not changed and not gone and lost == self._lost:
            return
        self._sent |= changed
        for name in gone:
            del self._sent[name]
            self._values.pop(name, None)
        self._lost = lost
        with contextlib.suppress(Exception):  # without a host there is nobody to keep it
            self._sending = self._bridge.submit(
                "keep", {"set": changed, "gone": gone, "lost": lost}
            )

    def _own(self) -> Iterator[tuple[str, Any]]:
        for name, value in tuple(self._names.items()):
            known = isinstance(name, str) and name.isidentifier() and len(name) <= _LONGEST_NAME
            if known and name not in self._tools and name[:1] != "_":
                yield name, value

    def _entry(self, name: str, value: Any, room: int, until: float) -> dict[str, str]:
        if isinstance(value, (type, ModuleType, FunctionType, BuiltinFunctionType)):
            if name not in self._sources:
                raise _TooMuch("kind")
            return {"code": self._sources[name]}
        sent = self._sent.get(name)
        if sent is not None and name in self._values and value is self._values[name]:
            return sent
        self._values.pop(name, None)
        if _heavy(value, room):
            raise _TooMuch("size")
        sink = _Sink(room, until)
        pickle.Pickler(sink, protocol=5).dump(value)
        return {"data": base64.b64encode(b"".join(sink.parts)).decode()}


def _heavy(value: Any, room: int) -> bool:
    """Whether a value is so large that pickling it would take memory before it is noticed."""
    if isinstance(value, (str, bytes, bytearray)):
        return len(value) > room
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(isinstance(one, (str, bytes)) and len(one) > room for one in value)
    if isinstance(value, dict):
        return any(isinstance(one, (str, bytes)) and len(one) > room for one in value.values())
    return False


def _out_of_time(*_: object) -> None:
    raise _TooMuch("time")
