"""The README's tables of quality, from the rows on disk.

One rule for all of them: the rows of the reporting half, answered by one pair of models, are pooled
over their seeds, and each cell says how many there are. A system is compared with plan mode on the
questions that both were asked, and on no others.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from report import BASE, beside, grouped, mean, scored, seeds_of
from tasks.item import size_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rows import Row
    from runner import Task

_NAMES = {
    "needle": "S-NIAH",
    "oolong": "OOLONG trec_coarse",
    "pairs": "OOLONG-Pairs, F1",
    "code": "vLLM's source",
}
_OTHERS = {
    "code": "code mode",
    "root": "the root alone",
    "mapreduce": "map-reduce",
    "rlms": "rlms 0.1.3",
}


def lines(tasks: Iterable[tuple[Task, Iterable[Row]]], root: str, sub: str) -> Iterator[str]:
    """Both tables, a line at a time; an empty one stands between them.

    Args:
        tasks: the rows of each task.
        root: the root model whose answers are wanted.
        sub: the sub-LM.
    """
    reported = [
        (task, [row for row in rows if (row.root, row.sub, row.split) == (root, sub, "report")])
        for task, rows in tasks
    ]
    yield from _table(
        ("what", "score", "questions", "seeds", "tokens a question"),
        (row for task, rows in reported for row in _plan(task, rows)),
    )
    yield ""
    yield from _table(
        ("other / plan mode", *_OTHERS.values()),
        (row for task, rows in reported for row in _others(task, rows)),
    )


def _plan(task: Task, rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    """Plan mode's rows; sizes that differ in their tokens alone share one."""
    found = [
        ((scored(task, group), f"{len(group):,}", seeds_of(group)), size, group)
        for (size, system), group in grouped(rows).items()
        if system == BASE
    ]
    for (score, number, seeds), alike in groupby(found, key=lambda one: one[0]):
        together = list(alike)
        tokens = [
            f"{mean(row.total('in') + row.total('out') for row in group):,.0f}"
            for _, _, group in together
        ]
        yield (
            _what(task, [size for _, size, _ in together]),
            score,
            number + (" each" if len(together) > 1 else ""),
            seeds,
            ", ".join(tokens),
        )


def _others(task: Task, rows: Sequence[Row]) -> Iterator[Sequence[str]]:
    pairs = beside(rows)
    for size in sorted({size for size, _ in pairs}):
        cells = []
        for system in _OTHERS:
            others, ours = pairs.get((size, system), ([], []))
            cells.append(
                f"{_percent(others)} / {_percent(ours)} (n={len(ours)})" if ours else "not run"
            )
        yield (_what(task, [size]), *cells)


def _what(task: Task, sizes: Sequence[int]) -> str:
    name = _NAMES.get(task.NAME, task.NAME)
    return ", ".join([name, *(size_name(size) for size in sizes if size)])


def _percent(rows: Sequence[Row]) -> str:
    return f"{100 * mean(row.score for row in rows):.1f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _line(head)
    yield "|" + "---|" * len(head)
    yield from map(_line, rows)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
