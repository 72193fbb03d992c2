"""Tables and plots of the quality benchmark, drawn from the rows on disk."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from results import record
from tasks.item import size_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rows import Row
    from runner import Task

PLOTS = Path(__file__).parent / "plots"

_Z = 1.959964
_RESAMPLES, _SEED = 10_000, 20_240_229
_TITLES = {
    "needle": "S-NIAH: one sentence in a long text",
    "oolong": "OOLONG trec_coarse: counting over lines that have to be judged",
    "pairs": "OOLONG-Pairs: pairs of users that meet a condition",
    "code": "Questions about a source tree",
}
_ORDER = ("code", "plan", "auto", "root", "mapreduce", "rlms")
_COLUMNS = (
    "length",
    "system",
    "n",
    "score",
    "95% interval",
    "s",
    "tokens in",
    "of these cached",
    "tokens out",
    "sub-calls",
    "from memo",
    "incomplete",
    "failed",
)


def wilson(hits: float, n: int) -> tuple[float, float]:
    """The 95% interval of a share of `n` trials, from 0 to 1."""
    share, spread = hits / n, _Z * _Z / n
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / n + spread / (4 * n)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap(scores: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of a mean, by 10,000 resamples with a fixed seed."""
    chance = np.random.default_rng(_SEED)
    values = np.asarray(scores, dtype=float)
    means = [chance.choice(values, len(values)).mean() for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def interval(scores: Sequence[float], *, binary: bool) -> tuple[float, float]:
    """The 95% interval of a mean score: Wilson's for 0/1 scores, else a bootstrap."""
    return wilson(sum(scores), len(scores)) if binary else bootstrap(scores)


def table(task: Task, rows: Iterable[Row]) -> None:
    """Print the task's table, put it into RESULTS.md, and draw its plot.

    Rows of other seeds, splits or models make tables of their own.
    """
    sets: defaultdict[tuple[str, str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        sets[row.root, row.sub, row.split, row.seed].append(row)
    for number, ((root, sub, split, seed), of_set) in enumerate(sorted(sets.items())):
        groups = grouped(of_set)
        places = sorted({row.machine for row in of_set})
        name = f"quality-{task.NAME}" + (f"-{number + 1}" if number else "")
        kind = "Wilson" if task.BINARY else "bootstrap over the questions"
        record(
            name,
            f"{_TITLES.get(task.NAME, task.NAME)} ({root} and {sub})",
            _COLUMNS,
            [_cells(task, size, system, group) for (size, system), group in groups.items()],
            [
                f"Seed {seed}, half `{split}` of the data. Score: mean of 100 for a right answer; "
                f"95% interval: {kind}.",
                "Seconds, tokens and sub-calls are means of a question. What the memo or an equal "
                "call answered cost no tokens.",
                f"Answered on: {'; '.join(places)}.",
                f"![score and cost](plots/{name}.svg)",
            ],
        )
        plot(task, groups, PLOTS / f"{name}.svg", f"{root} and {sub}")


def grouped(rows: Iterable[Row]) -> dict[tuple[int, str], list[Row]]:
    """Rows by size and system, in the order of the table."""
    groups: defaultdict[tuple[int, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.size, row.system].append(row)
    return dict(sorted(groups.items(), key=lambda one: (one[0][0], _place(one[0][1]))))


def _place(system: str) -> tuple[int, str]:
    return (_ORDER.index(system) if system in _ORDER else len(_ORDER), system)


def _cells(task: Task, size: int, system: str, group: Sequence[Row]) -> list[object]:
    scores = [row.score for row in group]
    low, high = interval(scores, binary=task.BINARY)
    return [
        size_name(size),
        system,
        len(group),
        f"{100 * _mean(scores):.1f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{_mean(row.seconds for row in group):,.1f}",
        round(_mean(row.total("in") for row in group)),
        round(_mean(row.total("cached") for row in group)),
        round(_mean(row.total("out") for row in group)),
        round(_mean(row.calls.get("sub", 0) for row in group)),
        round(_mean(sum(row.remembered.values()) for row in group)),
        sum(not row.complete for row in group),
        sum(row.error for row in group),
    ]


def plot(task: Task, groups: dict[tuple[int, str], list[Row]], path: Path, models: str) -> None:
    """Score and computed tokens against the length of the text, one line a system."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = task.NAME  # the same rows, the same file
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(7, 7), layout="constrained")
    systems = sorted({system for _, system in groups}, key=_place)
    sizes = sorted({size for size, _ in groups})
    for at, system in enumerate(systems):
        of = {size: groups[size, system] for size in sizes if (size, system) in groups}
        means = [100 * _mean(row.score for row in group) for group in of.values()]
        ends = [interval([r.score for r in group], binary=task.BINARY) for group in of.values()]
        errors = [
            [max(0.0, mean - 100 * low) for mean, (low, _) in zip(means, ends, strict=True)],
            [max(0.0, 100 * high - mean) for mean, (_, high) in zip(means, ends, strict=True)],
        ]
        costs = [
            max(
                1.0,
                _mean(row.total("in") - row.total("cached") + row.total("out") for row in group),
            )
            for group in of.values()
        ]
        if len(sizes) == 1:
            above.bar(system, means, yerr=errors, capsize=3, color=f"C{at}")
            below.bar(system, costs, color=f"C{at}")
        else:
            # Side by side by a hair, so that equal scores don't hide one another.
            shifted = [size * 1.02 ** (at - len(systems) / 2) for size in of]
            above.errorbar(shifted, means, yerr=errors, marker="o", capsize=3, label=system)
            below.plot(list(of), costs, marker="o", label=system)
    above.set(
        ylabel="score", ylim=(-3, 103), title=f"{_TITLES.get(task.NAME, task.NAME)}\n{models}"
    )
    below.set(ylabel="tokens computed per question", yscale="log")
    if len(sizes) > 1:
        for axes in (above, below):
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [size_name(size) for size in sizes])
            axes.minorticks_off()
        below.set_xlabel("length of the text, tokens")
        above.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
