"""`outcore batch`: many questions over files, and a file of answers that is gone on with."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from outcore import flags, settings
from outcore.answers import Answers
from outcore.config import Settings
from outcore.errors import ConfigError
from outcore.live import LiveLine
from outcore.questions import Reading, refuse
from outcore.terminal import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from outcore.questions import Task
    from outcore.workers import Count

ANSWERED, INCOMPLETE, SOME_FAILED = 0, 3, 4
_STDIN = "-"
# Which of the questions that have a line are asked once more.
_AGAIN = {"none": (), "failed": ("failed",), "incomplete": ("failed", "incomplete")}


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `batch` to the command line; `args.run(args)` gives the exit code."""
    parser = commands.add_parser(
        "batch",
        help="answer a file of questions, and go on where that was stopped",
        description="Answer a file of questions over files and folders. Each gets a line of JSON "
        "in ANSWERS as soon as it is answered, in the order in which they end; `id` joins them. "
        "The same command again asks what has no answer yet. Exit code: 0 all answered, 1 the "
        "batch broke off, 2 usage, 3 some answers are incomplete, 4 some questions failed.",
    )
    parser.add_argument(
        "questions",
        metavar="QUESTIONS",
        help='JSON lines {"question": ..., "id": ..., "context": ..., "budget": {...}, "extra": '
        "...}, all but the first optional; - for standard input",
    )
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="context of the questions that name none",
    )
    parser.add_argument(
        "--out", required=True, type=Path, metavar="ANSWERS", help="file that gets the answers"
    )
    parser.add_argument("--plain", action="store_true", help="QUESTIONS has a question a line")
    parser.add_argument(
        "--again",
        choices=tuple(_AGAIN),
        default="failed",
        help="what to ask again of that which has a line in ANSWERS: nothing, what failed, or what "
        "is incomplete too (failed)",
    )
    parser.add_argument(
        "--parallel",
        type=int,
        dest="questions_at_once",
        metavar="N",
        help=f"questions answered at once ({Settings().questions})",
    )
    flags.add(parser)
    parser.set_defaults(run=batch)


def batch(args: argparse.Namespace) -> int:
    """Answer what has no answer yet."""
    chosen = settings.load(flags.given(args) | {"questions": args.questions_at_once})
    tasks = _tasks(args, chosen)
    _check_place(args, tasks)
    with contextlib.closing(Answers(args.out)) as answers:
        asked = _asked(tasks, answers, args.again)
        if len(asked) < len(tasks):
            found = f"{len(tasks) - len(asked):,} of {len(tasks):,} questions have their line in"
            print(shown(f"{found} {args.out}", sys.stderr), file=sys.stderr)
        keys = {task.key for task in asked}
        states: Counter[str] = Counter(
            answers.records[task.key].state for task in tasks if task.key not in keys
        )
        if asked:
            count = _answer(asked, answers, chosen)
            states["incomplete"] += count.incomplete
            states["failed"] += count.failed
        else:
            answers.start(keys)
    if states["failed"]:
        return SOME_FAILED
    return INCOMPLETE if states["incomplete"] else ANSWERED


def _answer(tasks: Sequence[Task], answers: Answers, chosen: Settings) -> Count:
    """Put the questions, and count what comes of them."""
    from outcore.engine.rlm import RLM
    from outcore.models.progress import on_stderr
    from outcore.workers import Workers

    rlm = RLM(settings=chosen, progress=on_stderr())
    workers = Workers(rlm, answers)
    total, summary = len(tasks), ""
    try:
        # Models that don't start are a failure of the batch, and not of each question.
        rlm.check()
        with rlm, LiveLine(lambda: rlm.status, lambda: _lead(workers.count, total)):
            answers.start({task.key for task in tasks})
            began = time.monotonic()
            try:
                workers.run(tasks)
            finally:
                seconds = time.monotonic() - began
                summary = _summary(workers.count, total, f"{seconds:.0f} s: {answers.path}")
    finally:
        rlm.close()
        if summary:
            print(shown(summary, sys.stderr), file=sys.stderr)
    return workers.count


def _lead(count: Count, total: int) -> str:
    failed = f", {count.failed:,} failed" if count.failed else ""
    return f"{count.done:,} of {total:,} done{failed}, {count.under_way} under way"


def _summary(count: Count, total: int, end: str) -> str:
    incomplete = f" ({count.incomplete:,} incomplete)" if count.incomplete else ""
    parts = [f"{count.answered:,} answered{incomplete}"]
    parts += [f"{count.failed:,} failed"] if count.failed else []
    left = total - count.done
    parts += [f"{left:,} left, for the same command again"] if left else []
    faults = [f"failed: {fault}" for fault in count.faults]
    if count.failed > len(faults):
        faults.append(f"and {count.failed - len(faults):,} more")
    return "\n".join((*faults, ", ".join((*parts, end))))


def _tasks(args: argparse.Namespace, chosen: Settings) -> list[Task]:
    name = "standard input" if args.questions == _STDIN else args.questions
    try:
        if args.questions == _STDIN:
            data = sys.stdin.buffer.read()
        else:
            data = Path(args.questions).read_bytes()
    except OSError as error:
        raise ConfigError(f"can't read the questions from {name}: {error.strerror}") from error
    try:
        return Reading(tuple(args.paths), chosen.budget, args.plain).read(data)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def _check_place(args: argparse.Namespace, tasks: Sequence[Task]) -> None:
    """Answers that stood in a context would be read as a part of it, and change it all the time."""
    out = args.out.resolve()
    taken = [] if args.questions == _STDIN else [Path(args.questions)]
    if any(path.resolve() == out for path in taken):
        raise ConfigError(f"--out {args.out} is the file of the questions; name another")
    for path in dict.fromkeys(path for task in tasks for path in task.context):
        if out.is_relative_to(path.resolve()):
            raise ConfigError(
                f"--out {args.out} is in the context {path}, of which it would become a part; name "
                "a file elsewhere"
            )
    if not out.parent.is_dir():
        raise ConfigError(f"--out {args.out}: there is no folder {out.parent}; make it")


def _asked(tasks: Sequence[Task], answers: Answers, again: str) -> list[Task]:
    """The questions that are to be put.

    Raises:
        ConfigError: an answer is that of another question with the same id.
    """
    asked: list[Task] = []
    problems: list[str] = []
    for task in tasks:
        record = answers.records.get(task.key)
        if record is None or record.state in _AGAIN[again]:
            asked.append(task)
            continue
        where = f"line {task.line}: {answers.path.name}, line {record.line}, answers id {task.id!r}"
        if record.question != task.question:
            problems.append(
                f"{where} for another question, {record.question[:60]!r}; give this one an id of "
                "its own, or name another file with --out"
            )
        elif record.context != tuple(map(str, task.context)):
            problems.append(
                f"{where} from another context, {', '.join(record.context)[:60]!r}; give this one "
                "an id of its own, or name another file with --out"
            )
    refuse(problems)
    return asked
