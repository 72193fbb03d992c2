"""How often the answers are right: tasks, systems, tables.

    python -P bench/quality.py TASK [--sizes 8k,32k] [--samples N] [--systems code,auto,root]
    python -P bench/quality.py TASK --table          draws the tables from what is done
    python -P bench/quality.py readme                prints the README's tables from what is done
    python -P bench/quality.py failures TASK         says what went wrong, a line a question

Tasks: needle, oolong, pairs, code (see tasks/). Systems: outcore with its root in the modes
`code`, `plan` and `auto`; `root`, the root alone on the text cut to its window; `mapreduce` over
all slices; `rlms` 0.1.3. All answer with the same running models. What is finished stands in
bench/quality/TASK.jsonl at once, and is not done again; Ctrl-C loses only what is under way.
Develop with `--split dev`: figures are reported on the other half of the data, and on a seed
that development has not used. The templates of the questions serve both halves. What the recorded
rows pool to, and the commands that ask them again, stand in RESULTS.md; where the data comes from,
in DATA.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from outcore.config import Budget, Settings
from outcore.engine.rlm import RLM
from outcore.errors import OutcoreError
from outcore.models.progress import on_stderr

sys.path.insert(0, str(Path(__file__).parent))

import failures
import oracle
import readme
import report
from front import Front
from map_reduce import MapReduce
from rlms_system import Rlms
from rows import Rows
from runner import Runner
from systems import Models, Outcore, RootAlone
from tasks import code, data, needle, oolong, pairs
from tasks.item import Draw, Split, size_of
from tasks.source import installed_vllm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runner import Task
    from systems import System

BENCH = Path(__file__).parent
TASKS: dict[str, Task] = {task.NAME: task for task in (needle, oolong, pairs, code)}
MODES = ("code", "plan", "auto")
SYSTEMS = (*MODES, "root", "mapreduce", "rlms")
# The models whose figures the README has.
_ROOT, _SUB = "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"
_INTERRUPTED = 130


def main(words: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; returns the exit code."""
    options = _parser().parse_args(words)
    if options.readme:
        for line in readme_lines(options.root or _ROOT, options.sub or _SUB):
            print(line)
        return 0
    task = TASKS[options.task]
    rows = Rows(options.out or BENCH / "quality" / f"{task.NAME}.jsonl")
    if options.table:
        report.table(task, rows.all.values())
        return 0
    if options.failures:
        return _failures(options, rows)
    try:
        return _measure(task, options, rows)
    except OutcoreError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def readme_lines(root: str = _ROOT, sub: str = _SUB) -> list[str]:
    """The README's tables, from the rows in bench/quality."""
    rows = {name: Rows(BENCH / "quality" / f"{name}.jsonl").all.values() for name in TASKS}
    return list(readme.lines([(task, rows[name]) for name, task in TASKS.items()], root, sub))


def _check_data(task: Task, options: argparse.Namespace) -> None:
    """What is to be read is looked for before the models start, which takes minutes."""
    if task.NAME == code.NAME:
        tree = options.tree or installed_vllm()
        if not tree.is_dir():
            raise SystemExit(f"{tree} is no folder; --tree names a source tree")
        return
    for line in data.check(task.NAME, options.data):
        print(f"{line}: the answers are to other questions; see bench/DATA.md", file=sys.stderr)


def _measure(task: Task, options: argparse.Namespace, rows: Rows) -> int:
    _check_data(task, options)
    budget = Budget(seconds=options.seconds)
    settings = Settings(
        root=options.root,
        sub=options.sub,
        profile=options.profile,
        direct=options.direct,
        memo=options.memo,
        runs=options.runs,
    )
    sizes = options.sizes or task.SIZES
    rlm = RLM(settings=settings, progress=on_stderr())
    runner = None
    try:
        with rlm:
            models = Models(rlm, budget)
            draws = [
                Draw(
                    seed=options.seed,
                    samples=options.samples,
                    size=size,
                    data=options.data,
                    split=options.split,
                    tokens=models.tokens,
                    tree=options.tree,
                )
                for size in sizes
            ]
            names = [Path(way.engine.name).name for way in (models.root, models.sub)]
            runner = Runner(task, rows, names[0], names[1], options.parallel)
            runner.run([system_of(name, models) for name in options.systems], draws)
    except KeyboardInterrupt:
        print(f"\nstopped; what is finished stands in {rows.path}", file=sys.stderr)
        return _INTERRUPTED
    report.table(task, rows.all.values())
    return 0


def system_of(name: str, models: Models) -> System:
    """The system of a name of `SYSTEMS`."""
    if name in MODES:
        return Outcore(models, name)
    if name == "root":
        return RootAlone(models)
    return MapReduce(models) if name == "mapreduce" else Rlms(models, Front(models))


def _failures(options: argparse.Namespace, rows: Rows) -> int:
    chosen = [
        row
        for row in rows.all.values()
        if row.system in options.systems
        and row.split == options.split
        and (not options.sizes or row.size in options.sizes)
    ]
    found = failures.wrong(chosen, options.samples, options.seed)
    judge = oracle.Judge(TASKS[options.task], options.data)
    for line in failures.lines(found, options.runs or Settings().runs_dir, judge):
        print(line)
    print(f"{len(found)} of {len(chosen)} answers, not wholly right", file=sys.stderr)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench/quality.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="+", metavar="[failures] TASK | readme", action=_Words)
    parser.add_argument("--sizes", type=_sizes, default=(), help="8k,2^15,10m; all of the task's")
    parser.add_argument("--samples", type=int, default=None, help="a size; 20, failures: 50")
    parser.add_argument("--systems", "--system", type=_systems, default=MODES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--split", choices=get_args(Split), default="report")
    parser.add_argument("--parallel", type=int, default=1, help="questions at once")
    parser.add_argument("--seconds", type=float, default=1_800.0, help="most for a question")
    parser.add_argument("--out", type=Path, help="file of the rows")
    parser.add_argument("--data", type=Path, default=BENCH / "data", help="bench/data")
    parser.add_argument("--tree", type=Path, help="of the code task; the installed vLLM's")
    parser.add_argument("--root")
    parser.add_argument("--sub")
    parser.add_argument("--profile")
    parser.add_argument("--direct", choices=("auto", "always", "never"), default="auto")
    parser.add_argument("--memo", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--runs", type=Path, help="folder of the runs' records")
    parser.add_argument("--table", action="store_true", help="only draw tables and plot")
    return parser


class _Words(argparse.Action):
    """`TASK`, or `failures TASK`, or `readme`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        assert isinstance(values, list)
        namespace.readme = values == ["readme"]
        if namespace.readme:
            return
        namespace.failures = values[0] == "failures"
        *before, namespace.task = values
        if before not in ([], ["failures"]) or namespace.task not in TASKS:
            parser.error(f"say one of {', '.join(TASKS)}, perhaps after the word failures")
        if namespace.samples is None:
            namespace.samples = 50 if namespace.failures else 20


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(size_of(one) for one in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _systems(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(SYSTEMS)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
