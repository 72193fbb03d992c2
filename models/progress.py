"""How far a long job is, told to a person or to a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from outcore.models.units import human

Advance = Callable[[int], None]


class Progress(Protocol):
    """Where jobs report to."""

    def stage(self, label: str, total: int | None = None) -> AbstractContextManager[Advance]:
        """Begin a stage of `total` bytes, or of unknown length; gives a function to advance it."""
        ...

    def say(self, line: str) -> None:
        """Tell one thing."""
        ...


class Silent:
    """Tells nobody."""

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        """See Progress."""
        yield lambda _size: None

    def say(self, line: str) -> None:
        """See Progress."""


class Lines:
    """Plain lines on stderr, for logs: one when a stage begins and one when it ends."""

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        """See Progress."""
        self.say(label if total is None else f"{label} ({human(total)})")
        begun = time.monotonic()
        yield lambda _size: None
        self.say(f"{label}: done in {time.monotonic() - begun:.0f} s")

    def say(self, line: str) -> None:
        """See Progress."""
        print(line, file=sys.stderr, flush=True)


class Bars:
    """Live bars on a terminal."""

    @contextmanager
    def stage(self, label: str, total: int | None = None) -> Iterator[Advance]:
        """See Progress."""
        from rich import progress as rich
        from rich.console import Console

        columns: list[rich.ProgressColumn] = [
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
        ]
        if total is not None:
            columns += [rich.DownloadColumn(), rich.TransferSpeedColumn()]
        columns.append(rich.TimeElapsedColumn())
        with rich.Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(label, total=total)
            yield lambda size: bar.advance(task, size)

    def say(self, line: str) -> None:
        """See Progress."""
        print(line, file=sys.stderr, flush=True)


SILENT: Progress = Silent()


def on_stderr() -> Progress:
    """Bars where stderr is a terminal, lines where it is not."""
    return Bars() if sys.stderr.isatty() else Lines()
