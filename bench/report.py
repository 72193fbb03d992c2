"""Tables and plots of the quality benchmark, drawn from the rows on disk.

Rows of one pair of models and one half of the data are pooled over their seeds. A system is
compared with plan mode on the questions that both were asked.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from results import record
from tasks.item import size_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
# The mode that the default root answers in; others are compared with it.
BASE = "plan"
_COLUMNS = (
    "length",
    "system",
    "n",
    "seeds",
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
    """The 95% interval of a mean, by 10,000 resamples with a fixed seed; order is of no matter."""
    chance = np.random.default_rng(_SEED)
    values = np.sort(np.asarray(scores, dtype=float))
    means = [chance.choice(values, len(values)).mean() for _ in range(_RESAMPLES)]
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def interval(scores: Sequence[float], *, binary: bool) -> tuple[float, float]:
    """The 95% interval of a mean score: Wilson's for 0/1 scores, else a bootstrap."""
    return wilson(sum(scores), len(scores)) if binary else bootstrap(scores)


def table(task: Task, rows: Iterable[Row]) -> None:
    """Print the task's tables, put them into RESULTS.md, and draw its plot.

    Rows of other splits or models make tables of their own.
    """
    sets: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        sets[row.root, row.sub, row.split].append(row)
    kind = "Wilson" if task.BINARY else "bootstrap over the questions"
    for number, ((root, sub, split), of_set) in enumerate(sorted(sets.items())):
        groups = grouped(of_set)
        places = sorted({row.machine for row in of_set})
        name = f"quality-{task.NAME}" + (f"-{number + 1}" if number else "")
        title = f"{_TITLES.get(task.NAME, task.NAME)} ({root} and {sub})"
        record(
            name,
            title,
            _COLUMNS,
            [_cells(task, size, system, group) for (size, system), group in groups.items()],
            [
                f"Half `{split}` of the data, seeds pooled. Score: mean of 100 for a right answer; "
                f"95% interval: {kind}.",
                "Seconds, tokens and sub-calls are means of a question. What the memo or an equal "
                "call answered cost no tokens.",
                f"Answered on: {'; '.join(places)}{_days(of_set)}.",
                *_unfinished(of_set),
                *(f"To ask them again: `{one}`." for one in commands(task, of_set)),
                f"![score and cost](plots/{name}.svg)",
            ],
        )
        plot(task, groups, PLOTS / f"{name}.svg", f"{root} and {sub}")
        if pairs := beside(of_set):
            record(
                f"{name}-beside",
                f"{title}: others beside plan mode",
                ("length", "system", "n", "score", "plan mode"),
                [
                    [size_name(size), system, len(ours), scored(task, others), scored(task, ours)]
                    for (size, system), (others, ours) in pairs.items()
                ],
                [
                    f"Half `{split}` of the data. Each row: the questions that both were asked. "
                    f"Behind a score its 95% interval ({kind})."
                ],
            )


def beside(rows: Iterable[Row]) -> dict[tuple[int, str], tuple[list[Row], list[Row]]]:
    """By size and system, its rows and plan mode's, of the questions that both were asked.

    Rows are of one pair of models and one half of the data.
    """
    groups = grouped(rows)
    found = {}
    for (size, system), group in groups.items():
        ours = {(row.seed, row.item): row for row in groups.get((size, BASE), ())}
        both = [row for row in group if (row.seed, row.item) in ours]
        if system != BASE and both:
            found[size, system] = (both, [ours[row.seed, row.item] for row in both])
    return found


def commands(task: Task, rows: Iterable[Row]) -> list[str]:
    """The command lines that ask all of these questions, as few as can be."""
    samples: defaultdict[tuple[str, str, str, int, int, str], int] = defaultdict(int)
    for row in rows:
        key = (row.root, row.sub, row.split, row.seed, row.size, row.system)
        samples[key] = max(samples[key], _number(row) + 1)
    sizes: defaultdict[tuple[str, str, str, int, int, str], list[int]] = defaultdict(list)
    for (root, sub, split, seed, size, system), number in sorted(samples.items()):
        sizes[root, sub, split, seed, number, system].append(size)
    systems: defaultdict[tuple[str, str, str, int, int, tuple[int, ...]], list[str]]
    systems = defaultdict(list)
    for (root, sub, split, seed, number, system), of in sizes.items():
        systems[root, sub, split, seed, number, tuple(of)].append(system)
    found = []
    for (root, sub, split, seed, number, of_all), names in sorted(systems.items()):
        words = [f"python -P bench/quality.py {task.NAME} --seed {seed} --samples {number}"]
        if of_all != task.SIZES:
            words.append(f"--sizes {','.join(map(size_name, of_all))}")
        words.append(f"--systems {','.join(sorted(names, key=_place))}")
        if split != "report":
            words.append(f"--split {split}")
        found.append(" ".join([*words, f"--root {root} --sub {sub}"]))
    return found


def _unfinished(rows: Iterable[Row]) -> Iterator[str]:
    """A line for each system that left out some of the questions of a draw."""
    numbers: defaultdict[tuple[int, int, str], list[int]] = defaultdict(list)
    for row in rows:
        numbers[row.seed, row.size, row.system].append(_number(row))
    for (seed, size, system), of in sorted(numbers.items()):
        if len(of) <= max(of):
            yield (
                f"Of the first {max(of) + 1} questions of seed {seed}, {size_name(size)}, {system} "
                f"has answered {len(of)}; the others are not on record."
            )


def _number(row: Row) -> int:
    """Of a question in its draw: the first part of the item's id."""
    return int(row.item.partition("-")[0])


def _days(rows: Iterable[Row]) -> str:
    """When, where runs tell it: their folders begin with the day."""
    days = sorted({row.run[:8] for row in rows if row.run[:8].isdigit()})
    told = ", ".join(f"{day[:4]}-{day[4:6]}-{day[6:]}" for day in days)
    return f"; {told}" if told else ""


def scored(task: Task, rows: Sequence[Row]) -> str:
    """The mean score with its 95% interval: `53.0 (37.4 to 68.6)`."""
    scores = [row.score for row in rows]
    low, high = interval(scores, binary=task.BINARY)
    return f"{100 * mean(scores):.1f} ({100 * low:.1f} to {100 * high:.1f})"


def seeds_of(rows: Iterable[Row]) -> str:
    """The seeds of some rows: `2026, 2027`."""
    return ", ".join(map(str, sorted({row.seed for row in rows})))


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
        seeds_of(group),
        f"{100 * mean(scores):.1f}",
        f"{100 * low:.1f} to {100 * high:.1f}",
        f"{mean(row.seconds for row in group):,.1f}",
        round(mean(row.total("in") for row in group)),
        round(mean(row.total("cached") for row in group)),
        round(mean(row.total("out") for row in group)),
        round(mean(row.calls.get("sub", 0) for row in group)),
        round(mean(sum(row.remembered.values()) for row in group)),
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
        means = [100 * mean(row.score for row in group) for group in of.values()]
        ends = [interval([r.score for r in group], binary=task.BINARY) for group in of.values()]
        errors = [
            [max(0.0, mean - 100 * low) for mean, (low, _) in zip(means, ends, strict=True)],
            [max(0.0, 100 * high - mean) for mean, (_, high) in zip(means, ends, strict=True)],
        ]
        costs = [
            max(
                1.0,
                mean(row.total("in") - row.total("cached") + row.total("out") for row in group),
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


def mean(values: Iterable[float]) -> float:
    """Of at least one number."""
    listed = list(values)
    return sum(listed) / len(listed)
