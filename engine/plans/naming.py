"""Fields that a question names by a part of their name: `fees` for `fee_eur`."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from outcore.engine.plans.wording import NEAR, mentions, parts_of, spans

if TYPE_CHECKING:
    from collections.abc import Iterable

_LEAST = 3
_MOST = 200
# Parts that say nothing of what a field is about.
_GENERAL = frozenset(
    [
        "all",
        "amount",
        "and",
        "code",
        "count",
        "date",
        "day",
        "each",
        "for",
        "from",
        "key",
        "name",
        "num",
        "number",
        "per",
        "record",
        "row",
        "the",
        "time",
        "total",
        "type",
        "value",
        "with",
        "year",
        "month",
    ]
)
# What is counted or listed is a record, not the field with a like name: `how many visits`.
_THINGS = re.compile(r"\b(?:how many|number of|all|every|the most|fewest)\s+(?:\w+\s+)?\Z", re.I)


def named_whole(question: str, names: Iterable[str]) -> str:
    """The question, with each field that only a part of its name stands for named whole, once.

    Args:
        question: what is asked.
        names: of the fields. A part that two of them have stands for neither.
    """
    owners: dict[str, list[str]] = defaultdict(list)
    for name in list(names)[:_MOST]:
        for part in {one.casefold() for one in parts_of(name)}:
            owners[part].append(name)
    found: dict[str, tuple[int, int]] = {}
    for part, (name, *others) in owners.items():
        if others or len(part) < _LEAST or part in _GENERAL or part == name.casefold():
            continue
        if mentions(question, name):
            continue
        for start, end in spans(question, part):
            if not _THINGS.search(question[max(0, start - NEAR) : start]):
                found[name] = min(found.get(name, (start, end)), (start, end))
                break
    for name, (start, end) in sorted(found.items(), key=lambda one: one[1], reverse=True):
        question = f"{question[:start]}{name}{question[end:]}"
    return question
