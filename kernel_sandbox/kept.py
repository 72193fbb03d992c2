"""What one kernel has kept of its variables, held on the host for the kernel after it.

None of it is looked into here. It comes from code that is not trusted, and goes to a kernel
that is trusted no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outcore.errors import SandboxError

if TYPE_CHECKING:
    from outcore.kernel_sandbox.connection import Handler

# A little above what a kernel keeps of its own accord, as it is sent.
BYTES = 8 << 20
_NAMES = 1_000
_NAME_CHARS = 100
_KINDS = ("data", "code")
_WHY = {
    "size": "too large",
    "time": "too much to keep",
    "kind": "no plain data",
    "fields": "the fields that cells have set",
}
_SHOWN = 30


@dataclass(slots=True, eq=False)
class Kept:
    """Takes the calls of one kernel, and keeps to itself those about its variables.

    Attributes:
        handler: answers all other calls.
    """

    handler: Handler
    _entries: dict[str, dict[str, str]] = field(default_factory=dict)
    _lost: dict[str, str] = field(default_factory=dict)
    _restored: list[str] = field(default_factory=list)

    async def __call__(self, op: str, params: dict[str, Any]) -> Any:
        """Answer one call.

        Raises:
            OutcoreError: it can't be done.
        """
        if op == "keep":
            return self._keep(params)
        if op == "kept":
            return {"entries": self._entries}
        if op == "restored":
            names = _names(params.get("names"))
            self._restored = [name for name in names if name in self._entries]
            return {}
        return await self.handler(op, params)

    def __bool__(self) -> bool:
        return bool(self._entries)

    def drop(self) -> None:
        """Forget everything: it could not be restored."""
        self._lost |= dict.fromkeys(self._entries, "kind")
        self._entries = {}
        self._restored = []

    def told(self) -> str:
        """What a fresh kernel has of the one before it, in words for the root."""
        restored = [name for name in self._restored if name in self._entries]
        self._restored = []
        gone = {name: "could not be restored" for name in self._entries if name not in restored}
        gone |= {name: _WHY[why] for name, why in self._lost.items()}
        self._entries = {name: self._entries[name] for name in restored}
        self._lost = {}
        if not restored:
            return "The kernel was started afresh: all variables are gone"
        said = "The kernel was started afresh. Restored as they were before this cell: "
        said += f"{_listed(restored)}. Gone: "
        if gone:
            said += _listed([f"{name} ({why})" for name, why in gone.items()]) + ", and "
        return f"{said}what this cell has set or changed"

    def _keep(self, params: dict[str, Any]) -> dict[str, Any]:
        entries = _entries(params.get("set"))
        lost = params.get("lost")
        if not isinstance(lost, dict) or any(why not in _WHY for why in lost.values()):
            raise SandboxError("lost must name what could not be kept, and why")
        after = dict(self._entries)
        for name in _names(params.get("gone")):
            after.pop(name, None)
        after |= entries
        size = sum(map(_size, after.items()))
        if size > BYTES or len(after) + len(lost) > _NAMES:
            raise SandboxError(f"at most {BYTES:,} bytes and {_NAMES:,} variables are kept")
        self._lost = dict(zip(_names(list(lost)), lost.values(), strict=True))
        self._entries = after
        return {}


def _entries(given: Any) -> dict[str, dict[str, str]]:
    if not isinstance(given, dict):
        raise SandboxError("set must be a dict of what is to be kept")
    for entry in given.values():
        [*kinds] = entry if isinstance(entry, dict) else ()
        if len(kinds) != 1 or kinds[0] not in _KINDS or not isinstance(entry[kinds[0]], str):
            raise SandboxError("what is to be kept must be data or code, as text")
    _names(list(given))
    return given


def _names(given: Any) -> list[str]:
    if not isinstance(given, list) or len(given) > _NAMES:
        raise SandboxError(f"names must be a list of at most {_NAMES:,}")
    for name in given:
        if not isinstance(name, str) or len(name) > _NAME_CHARS or not name.isidentifier():
            raise SandboxError("a name must be one that a variable can have")
    return given


def _size(entry: tuple[str, dict[str, str]]) -> int:
    name, parts = entry
    return len(name) + sum(map(len, parts.values()))


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
