"""What a cell has printed: its start and its end, however much lies between."""

from __future__ import annotations

import re
from collections import deque

_CONTROL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")


class Output:
    """Collects text and keeps `limit` characters of it, half from each end.

    Attributes:
        total: characters seen.
        dropped: bytes cut out of the middle, as UTF-8.
    """

    def __init__(self, limit: int) -> None:
        self.total = 0
        self.dropped = 0
        self._head: list[str] = []
        self._head_room = limit - limit // 2
        self._tail: deque[str] = deque()
        self._tail_room = limit // 2

    def add(self, text: str) -> None:
        """Append `text`."""
        self.total += len(text)
        if self._head_room:
            self._head.append(text[: self._head_room])
            text = text[self._head_room :]
            self._head_room -= len(self._head[-1])
        if not text:
            return
        self._tail.append(text)
        self._tail_room -= len(text)
        while self._tail_room < 0:
            first = self._tail.popleft()
            cut, kept = first[: -self._tail_room], first[-self._tail_room :]
            self.dropped += len(cut.encode("utf-8", "replace"))
            self._tail_room += len(cut)
            if kept:
                self._tail.appendleft(kept)

    def text(self) -> str:
        """All that was kept, without terminal colours, with a note where the cut is."""
        head, tail = "".join(self._head), "".join(self._tail)
        note = f"\n... {self.dropped:,} bytes of output cut here ...\n" if self.dropped else ""
        clean = _CONTROL.sub("", f"{head}{note}{tail}")
        return clean.encode("utf-8", "replace").decode()
