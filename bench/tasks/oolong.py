"""OOLONG trec_coarse: counts and comparisons over lines whose labels have to be judged.

A window is asked all eleven kinds of question, so item number n is question n % 11 on window
n // 11, as the data set asks many questions of each window. A question whose answer would not
be one answer (a tie, a month that never comes, a frequency that counts and shares tell apart)
is drawn again.
"""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

from outcore.kernel_sandbox.inside.dates import MONTHS
from tasks.item import Draw, Item
from tasks.templates import PHRASES, TEMPLATES
from tasks.window import Month, Row, lines_of, pool, rows, text_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator

NAME, BINARY = "oolong", False
SIZES = (1 << 13, 1 << 15, 1 << 17)


_TRIES = 200
# An answer without a colon is taken whole up to this length, else its last word.
_SHORT = 20


def items(draw: Draw) -> Iterator[Item]:
    """The items of a draw."""
    questions, lines = pool(draw.data, draw.split), lines_of(draw.size)
    for number in range(0, draw.samples, len(TEMPLATES)):
        window, asked = _window(draw, number // len(TEMPLATES), lambda c: rows(questions, lines, c))
        text = text_of(window, draw.size)
        for at, (question, gold, kind) in enumerate(asked[: draw.samples - number]):
            yield Item(
                id=f"{number + at:03}-t{at + 1:02}",
                question=question,
                context=text,
                gold=gold,
                meta={"kind": kind, "template": at + 1, "lines": lines},
            )


def score(item: Item, answer: str) -> float:
    """The data set's rule: what stands after the last colon, compared by kind."""
    assert isinstance(item.gold, str)
    said, gold, kind = _last_part(answer), item.gold, item.meta["kind"]
    if said == gold:
        return 1.0
    if kind == "comparison":
        meant = [phrase for phrase in PHRASES if phrase in said]
        return float(len(meant) == 1 and meant[0] in gold)
    if kind == "number":
        plain = said.replace(",", "")
        return 0.75 ** abs(int(gold) - int(plain)) if re.fullmatch(r"-?\d{1,9}", plain) else 0.0
    if kind == "month":
        return float(month_said(said) == month_said(gold) is not None)
    return 0.0


def month_said(text: str) -> Month | None:
    """Year and month of `March 2023`, `Mar 2023`, `2023-03` or a full date."""
    plain = text.replace(",", " ").strip()
    names = {short: at + 1 for at, name in enumerate(MONTHS) for short in (name, name[:3])}
    if named := re.fullmatch(r"([A-Za-z]+)\.?(?:\s+\d{1,2})?\s+(\d{4})", plain):
        month = names.get(named[1].capitalize())
        return (int(named[2]), month) if month else None
    if digits := re.fullmatch(r"(\d{4})-(\d{1,2})(?:-\d{1,2})?", plain):
        return int(digits[1]), int(digits[2])
    if digits := re.fullmatch(r"(\d{1,2})/(\d{4})", plain):
        return int(digits[2]), int(digits[1])
    return None


def _last_part(answer: str) -> str:
    """What is compared; asterisks and brackets around it don't count."""
    _, colon, tail = answer.rpartition(":")
    said = re.sub(r"[*\[\]]", "", tail).strip()
    if colon or len(said) < _SHORT or any(phrase in said for phrase in PHRASES):
        return said
    return said.split()[-1]


def _window(
    draw: Draw, number: int, make: Callable[[random.Random], list[Row]]
) -> tuple[list[Row], list[tuple[str, str, str]]]:
    """A window that every template can be asked of, and the questions."""
    for attempt in count():
        window = make(draw.random(NAME, draw.split, number, attempt))
        asked: list[tuple[str, str, str]] = []
        for at, template in enumerate(TEMPLATES):
            chance = draw.random(NAME, draw.split, number, attempt, at)
            tries = (template(window, chance) for _ in range(_TRIES))
            found = next((one for one in tries if one is not None), None)
            if found is None:
                break
            asked.append(found)
        else:
            return window, asked
    raise AssertionError("count never ends")
