"""Puts a task's items to systems, some at once, and writes down what comes of each."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from results import machine
from rows import Row, Rows, cut
from tasks.item import size_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rows import Key
    from systems import Reply, System
    from tasks.item import Draw, Item

    from outcore.engine.budget import Usage

_SHOWN = 60
_WAIT_SECONDS = 0.2


class Task(Protocol):
    """A module of `tasks`."""

    NAME: str
    BINARY: bool
    SIZES: tuple[int, ...]

    def items(self, draw: Draw) -> Iterator[Item]:
        """The items of a draw."""
        ...

    def score(self, item: Item, answer: str) -> float:
        """From 0 to 1."""
        ...


@dataclass(slots=True)
class Runner:
    """Runs one task.

    Attributes:
        task: which.
        rows: what is done, and where it is written.
        root: name of the root model.
        sub: name of the sub-LM.
        parallel: items under way at once.
    """

    task: Task
    rows: Rows
    root: str
    sub: str
    parallel: int = 1
    _stop: threading.Event = field(default_factory=threading.Event)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _scores: list[float] = field(default_factory=list)
    _machine: str = field(default_factory=machine)

    def run(self, systems: Sequence[System], draws: Iterable[Draw]) -> None:
        """Every system on every draw, one after the other; items that are done are skipped.

        A KeyboardInterrupt is raised at once; what is finished has been written.
        """
        for draw in draws:
            for system in systems:
                if any(
                    self._key(draw, system, one) not in self.rows.all for one in self._ids(draw)
                ):
                    self._one(system, draw)

    def stop(self) -> None:
        """Take no more items, and write down none of those under way."""
        self._stop.set()

    def _ids(self, draw: Draw) -> Iterator[str]:
        return (item.id for item in self.task.items(draw))

    def _key(self, draw: Draw, system: System, item: str) -> Key:
        return (
            *(self.task.NAME, draw.size, system.name, draw.seed),
            *(draw.split, item, self.root, self.sub),
        )

    def _one(self, system: System, draw: Draw) -> None:
        self._scores = []
        system.begin()
        try:
            items = self.task.items(draw)
            workers = [
                threading.Thread(target=self._work, args=(system, draw, items), daemon=True)
                for _ in range(self.parallel)
            ]
            for worker in workers:
                worker.start()
            # A thread that is joined without a limit can't be interrupted.
            while any(worker.is_alive() for worker in workers):
                workers[0].join(_WAIT_SECONDS)
                if not workers[0].is_alive():
                    workers.append(workers.pop(0))
        except BaseException:
            self.stop()
            raise
        finally:
            system.end()

    def _work(self, system: System, draw: Draw, items: Iterator[Item]) -> None:
        while not self._stop.is_set():
            with self._turn:
                item = next(items, None)
            if item is None:
                return
            done = self.rows.all.get(self._key(draw, system, item.id))
            if done is not None:
                self._scores.append(done.score)
                continue
            row = self._row(system, draw, item)
            if self._stop.is_set():
                return
            self.rows.add(row)
            self._tell(row, draw)

    def _row(self, system: System, draw: Draw, item: Item) -> Row:
        begun = time.monotonic()
        reply, failure = None, None
        try:
            reply = system.answer(item)
        except Exception as error:  # a wrong answer, with its message
            failure = f"{type(error).__name__}: {error}"[:500]
        seconds = time.monotonic() - begun
        answer = reply.answer if reply else ""
        used = _used(reply)
        return Row(
            task=self.task.NAME,
            size=draw.size,
            system=system.name,
            seed=draw.seed,
            split=draw.split,
            item=item.id,
            root=self.root,
            sub=self.sub,
            kind=str(item.meta.get("kind", "")),
            score=round(self.task.score(item, answer), 6) if answer else 0.0,
            seconds=round(seconds, 2),
            answer=cut(answer),
            gold=cut(item.gold),
            complete=reply.complete if reply else False,
            reason=reply.reason if reply else failure,
            error=reply is None,
            turns=reply.turns if reply else 0,
            tokens={
                role: {"in": of.tokens_in, "out": of.tokens_out, "cached": of.tokens_cached}
                for role, of in used.items()
            },
            calls={role: of.calls for role, of in used.items()},
            remembered={role: of.remembered for role, of in used.items()},
            lines=int(item.meta.get("lines", 0)),
            run=reply.run_dir if reply else "",
            way=reply.way if reply else "",
            machine=self._machine,
        )

    def _tell(self, row: Row, draw: Draw) -> None:
        self._scores.append(row.score)
        mean = statistics.fmean(self._scores)
        said = " ".join((row.reason or "failed" if row.error else row.answer).split())
        print(
            f"{row.task} {size_name(row.size)} {row.system} {len(self._scores)}/{draw.samples} "
            f"{row.item}: {row.score:.2f} (mean {mean:.3f}), {row.seconds:,.1f} s, "
            f"{row.total('in'):,} tokens in, {row.total('out'):,} out: {said[:_SHOWN]}",
            file=sys.stdout,
            flush=True,
        )


def _used(reply: Reply | None) -> dict[str, Usage]:
    return {"root": reply.root, "sub": reply.sub} if reply else {}
