"""What went wrong with each question that outcore answered wrongly, by rules over its record.

One cause each, the first rule that fits:

error               the system failed with an exception; its message is shown
parse               no cell ran to its end: nothing could be parsed, or each one raised
budget              the answer is incomplete: turns, calls, tokens or seconds were spent
root's reading      the right answer was printed (or the text was read whole), and another given
wrong program       lines had to be judged, and the code had fewer than nine tenths of them judged
judgement           it had them judged; by its size the program is right, so the sub-LM was not,
                    or the arithmetic after it, which this does not tell apart: marked with a ?
wrong program       the sub-LM said the right answer to the code, and the code did not print it
judgement           the sub-LM was asked, and the right answer stands in none of its replies
search              the text was searched, and what was printed did not hold the answer
wrong program       none of these

Where a plan wrote the program, lines that had to be judged are no matter of size: the program is
run again with right labels (`oracle.py`), which tells a wrong program from wrong labels, and both
from a right output that the root read wrongly.

A sub-LM's reply is on record up to 500 characters, so "stands in none" may be wrong of longer
ones.
"""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any

from outcore.engine.trajectory import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from rows import Row

    Judge = Callable[[Row, Sequence[dict[str, Any]]], str]

_JUDGED_TASKS = ("oolong", "pairs")
_JUDGED_SHARE = 0.9
_WRONG_BELOW = 1.0
_SEARCHES = re.compile(r"\b(search|grep|find|findall|finditer|match|index)\s*\(")
_SHOWN = 70


def wrong(rows: Iterable[Row], samples: int, seed: int) -> list[Row]:
    """At most `samples` rows that are not wholly right, drawn with the seed."""
    found = [row for row in rows if row.score < _WRONG_BELOW]
    chosen = random.Random(seed).sample(found, min(samples, len(found)))
    return sorted(chosen, key=lambda row: row.key)


def lines(rows: Sequence[Row], runs: Path, judge: Judge | None = None) -> Iterator[str]:
    """One line for each row: item, score, gold, answer, cause.

    Args:
        rows: the answers.
        runs: folder of the runs' records.
        judge: tells by a run's events whether its program or its labels were wrong; "" where it
            can't.
    """
    for row in rows:
        gold = row.gold if isinstance(row.gold, str) else ", ".join(row.gold)
        answer = row.reason or "" if row.error else row.answer
        yield (
            f"{row.size} {row.system} {row.item} ({row.score:.2f}) | gold: {_short(gold)} | "
            f"answer: {_short(answer)} | {cause_of(row, runs, judge)}"
        )


def cause_of(row: Row, runs: Path, judge: Judge | None = None) -> str:
    """The cause, as far as the run's record tells."""
    folder = runs / row.run
    if not row.run or not (folder / "trajectory.jsonl").is_file():
        return _without_record(row)
    events = list(read(folder))
    found = cause(row, events)
    if judge is not None and row.complete and row.task in _JUDGED_TASKS:
        return judge(row, events) or found
    return found


def cause(row: Row, events: Sequence[dict[str, Any]]) -> str:
    """The cause, by the events of the run; see the module for the rules."""
    if row.error:
        return f"error: {row.reason}"
    cells = [event for event in events if event["event"] == "cell"]
    if row.way == "direct" or any(event.get("direct") for event in events):
        return "root's reading (answered directly)" if row.complete else f"budget: {row.reason}"
    if not any(cell["status"] == "ok" for cell in cells):
        return (
            "parse" if not cells else f"parse: {_short(cells[-1].get('error') or 'no cell ended')}"
        )
    if not row.complete:
        return f"budget: {row.reason}"
    calls = [call for event in events if event["event"] == "calls" for call in event["calls"]]
    if row.task in _JUDGED_TASKS:
        asked = f"{len(calls)} calls for {row.lines} lines"
        if len(calls) < _JUDGED_SHARE * row.lines:
            return f"wrong program ({asked})"
        return f"judgement? ({asked})"
    if any(_holds(str(cell.get("output", "")), row) for cell in cells):
        return "root's reading (the answer was printed)"
    if any(_holds(str(call.get("reply", "")), row) for call in calls):
        return "wrong program (the sub-LM had said it)"
    if calls:
        return f"judgement ({len(calls)} calls)"
    if any(_SEARCHES.search(str(cell["code"])) for cell in cells):
        return "search (it was not printed)"
    return "wrong program"


def _without_record(row: Row) -> str:
    if row.error:
        return f"error: {row.reason}"
    if not row.complete:
        return f"budget: {row.reason}"
    return "no record of the run" + (f" ({row.reason})" if row.reason else "")


def _holds(text: str, row: Row) -> bool:
    golds = [row.gold] if isinstance(row.gold, str) else row.gold
    return all(one.casefold() in text.casefold() for one in golds)


def _short(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _SHOWN else plain[: _SHOWN - 1] + "…"
