"""Finished items of the quality benchmark: one JSON line each, appended as they come.

A row holds no text of the context; its answer and gold are cut to 2,000 characters. What it is
about is its key: the same item, put to the same system on the same models, is done once.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

MOST_CHARS = 2_000

Key = tuple[str, int, str, int, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """One item that a system has answered.

    Attributes:
        task: name of the task.
        size: length of the text in tokens, as asked for; 0 for a tree.
        system: who answered.
        seed: of the draw.
        split: half of the pool.
        item: its id.
        root: the root model.
        sub: the sub-LM.
        kind: of the question.
        score: from 0 to 1.
        seconds: wall clock of the whole answer, other items at work beside it.
        answer: cut.
        gold: cut.
        complete: see `systems.Reply`.
        reason: why it is incomplete, or what failed.
        error: whether the system failed.
        turns: replies of the root.
        tokens: per role, `in`, `out` and `cached`, as the engines computed them.
        calls: per role.
        remembered: per role, calls that the memo answered.
        lines: records of the context, where it has any.
        run: name of the run's folder; empty without one.
        way: how it was answered.
        machine: where.
    """

    task: str
    size: int
    system: str
    seed: int
    split: str
    item: str
    root: str
    sub: str
    kind: str
    score: float
    seconds: float
    answer: str
    gold: str | list[str]
    complete: bool = True
    reason: str | None = None
    error: bool = False
    turns: int = 0
    tokens: dict[str, dict[str, int]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    remembered: dict[str, int] = field(default_factory=dict)
    lines: int = 0
    run: str = ""
    way: str = ""
    machine: str = ""

    @property
    def key(self) -> Key:
        """What makes it the same question to the same system."""
        return (
            *(self.task, self.size, self.system, self.seed),
            *(self.split, self.item, self.root, self.sub),
        )

    def total(self, what: str) -> int:
        """Tokens `in`, `out` or `cached` of both roles."""
        return sum(of.get(what, 0) for of in self.tokens.values())


class Rows:
    """The rows of one file, read when opened; several threads may add.

    Raises:
        SystemExit: the file holds a line that is no row, other than a last one cut off.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.all: dict[Key, Row] = {}
        self._lock = threading.Lock()
        self._cut = 0
        if not path.is_file():
            return
        data = path.read_bytes()
        self._cut = len(data) - (data.rfind(b"\n") + 1)
        for number, line in enumerate(data[: len(data) - self._cut].splitlines(), start=1):
            try:
                row = Row(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise SystemExit(f"{path}, line {number}, is no row: {error}") from error
            self.all[row.key] = row

    def add(self, row: Row) -> None:
        """Write one at once. A line that a killed process left half written goes first."""
        line = json.dumps(asdict(row), ensure_ascii=False, separators=(",", ":")) + "\n"
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                if self._cut:
                    file.truncate(file.tell() - self._cut)
                    self._cut = 0
                file.write(line.encode("utf-8", "replace"))
            self.all[row.key] = row


def cut(value: Any) -> Any:
    """A text, or a list of texts, of at most 2,000 characters in all."""
    if isinstance(value, str):
        return value if len(value) <= MOST_CHARS else value[: MOST_CHARS - 1] + "…"
    kept, left = [], MOST_CHARS
    for one in value:
        left -= len(one)
        if left < 0:
            kept.append(f"… {len(value)} in all")
            break
        kept.append(one)
    return kept
