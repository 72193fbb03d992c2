"""What a plan's program would have printed, had every label been right.

Tells a wrong program from a wrong judgement of the sub-LM: the program of a run's first cell is run
again over the same context, with the tools of the kernel, and each label looked up in the data.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tasks import pairs as pairs_task
from tasks.item import Draw
from tasks.window import pool

from outcore.engine.context.corpus import stage
from outcore.engine.context.layout import layout_of
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.dates import as_date
from outcore.kernel_sandbox.inside.pairing import group, pairs
from outcore.kernel_sandbox.inside.record_list import Records
from outcore.kernel_sandbox.inside.tally import tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rows import Row
    from runner import Task
    from tasks.item import Item, Split

# How a tally says that two labels are equally common.
_EQUAL = ("equally common", "as common")


def labels_of(data: Path, split: Any) -> dict[str, str]:
    """Each question of a half of the pool with its label."""
    return {text: label for label, texts in pool(data, split).items() for text in texts}


def rerun(program: str, context: str, labels: Mapping[str, str]) -> tuple[str, str]:
    """What a program prints, and what it answers, with right labels.

    Raises:
        Exception: whatever the program raises; a KeyError where it asks for a label of a text
            that is none of the data's.
    """
    out: list[str] = []
    answers: list[str] = []

    def classify(items: Sequence[Any], *_: Any, **__: Any) -> list[str]:
        return [labels[str(item).strip()] for item in items]

    with tempfile.TemporaryDirectory() as folder:
        corpus = stage(context, Path(folder) / "context")
        names: dict[str, Any] = {
            "records": Records(open_context(corpus.folder), layout_of(corpus)),
            "as_date": as_date,
            "group": group,
            "pairs": pairs,
            "tally": tally,
            "llm_classify": classify,
            "print": lambda *said: out.append(" ".join(map(str, said))),
            "done": lambda value, **_: answers.append(str(value)),
        }
        exec(program, names)
    return "\n".join(out), answers[-1] if answers else ""


def shows(printed: str, row: Row) -> bool:
    """Whether an output tells the right answer to a counting question, read rightly."""
    gold = str(row.gold)
    if row.kind in ("label", "user"):
        return any(gold in line for line in printed.split("\n") if line.startswith("most common:"))
    if gold.startswith(("same frequency", "the same frequency")):
        return any(said in printed for said in _EQUAL)
    return gold in (_numbers(printed) if row.kind == "number" else printed)


def verdict(row: Row, item: Item, program: str, printed: str, labels: Mapping[str, str]) -> str:
    """Why a question about labels was answered wrongly, in words.

    Args:
        row: the answer.
        item: the question.
        program: of the plan.
        printed: what it printed in the run.
        labels: the right label of each text.
    """
    assert isinstance(item.context, str)
    try:
        right, answer = rerun(program, item.context, labels)
    except Exception as error:
        return f"wrong program ({type(error).__name__}: {error})"
    if answer:
        return "judgement" if pairs_task.score(item, answer) == 1 else "wrong program"
    if not shows(right, row):
        return "wrong program (with right labels it would not print the answer)"
    if printed.strip() == right.strip() or _misread(row, printed, right):
        return "root's reading (the answer was printed)"
    return "judgement (with right labels it would print the answer)"


def _misread(row: Row, printed: str, right: str) -> bool:
    """Whether a right reader would have answered otherwise than the root did."""
    if row.kind != "number":
        return shows(printed, row)
    # The outputs differ in their numbers alone, so that one place tells of the other.
    wanted, found = _numbers(right), _numbers(printed)
    at = wanted.index(str(row.gold))
    return at < len(found) and found[at] not in _numbers(row.answer)


def _numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text.replace(",", ""))


class Judge:
    """Finds the verdict on an answer from the run's events.

    Args:
        task: the task of the answers.
        data: folder of the data sets.
    """

    def __init__(self, task: Task, data: Path) -> None:
        self._task = task
        self._data = data

    def __call__(self, row: Row, events: Sequence[dict[str, Any]]) -> str:
        """The verdict; empty where no plan wrote the program."""
        programs = [event["program"] for event in events if event["event"] == "plan"]
        cells = [event for event in events if event["event"] == "cell"]
        if not programs or not cells:
            return ""
        # The first part of an item's id is its number.
        samples = int(row.item.partition("-")[0]) + 1
        draw = Draw(row.seed, samples, row.size, self._data, cast("Split", row.split))
        item = list(self._task.items(draw))[-1]
        labels = labels_of(self._data, row.split)
        return verdict(row, item, programs[0], str(cells[0]["output"]), labels)
