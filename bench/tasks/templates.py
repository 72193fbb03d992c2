"""OOLONG's eleven kinds of question, each with its answer over a window.

A template is a function of a window and a source of chance. It returns the question, the answer
and the kind of answer, or None where what was drawn has no single answer.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

from outcore.kernel_sandbox.inside.dates import MONTHS
from tasks.window import LABELS, Month, Row, day

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

PHRASES = ("more common", "less common", "same frequency")

Rows = list[Row]
Asked = tuple[str, str, str] | None

_ABOVE = "In the above data, "


def most_common(window: Rows) -> str | None:
    """The label that is more frequent than all others."""
    return _single_most(Counter(row.label for row in window))


def relation(first: float, second: float) -> str:
    """`more common`, `less common` or `same frequency`."""
    return PHRASES[0] if first > second else PHRASES[1] if first < second else PHRASES[2]


def of_label(window: Rows, label: str) -> int:
    """How many rows have a label."""
    return sum(row.label == label for row in window)


def by_month(window: Rows) -> dict[Month, Rows]:
    """The rows of each month that has any, in order."""
    months: dict[Month, Rows] = {}
    for row in sorted(window, key=lambda row: row.date):
        months.setdefault((row.date.year, row.date.month), []).append(row)
    return months


def _single_most(counted: Counter[str]) -> str | None:
    first, *others = [*counted.most_common(2), ("", 0)]
    return first[0] if first[1] > others[0][1] else None


def _most_common(window: Rows, _: random.Random, above: str = _ABOVE) -> Asked:
    gold = most_common(window)
    form = f"'Label: answer' where answer is one of the labels: {', '.join(LABELS)}."
    question = f"{above}which of the labels is the most common? Give your final answer in the form "
    return (question + form, gold, "label") if gold else None


def _compared(window: Rows, chance: random.Random, above: str = _ABOVE) -> Asked:
    if not window:
        return None
    a, b = chance.sample(LABELS, 2)
    said = relation(of_label(window, a), of_label(window, b))
    question = (
        f"{above}is label '{a}' more common, less common, or the same frequency as label '{b}'? "
        f"Give your final answer in the form 'Answer: {a} is [X] {b}', where [X] is 'more common "
        "than', 'less common than', or 'same frequency as'."
    )
    return question, f"{said} {'as' if said == PHRASES[2] else 'than'}", "comparison"


def _counted(window: Rows, chance: random.Random, above: str = _ABOVE) -> Asked:
    if not window:
        return None
    a = chance.choice(LABELS)
    question = (
        f"{above}how many data points should be classified as label '{a}'? Give your final answer "
        "in the form 'Answer: number'."
    )
    return question, str(of_label(window, a)), "number"


def _top_user(window: Rows, _: random.Random) -> Asked:
    gold = _single_most(Counter(str(row.user) for row in window))
    question = (
        f"{_ABOVE}which user is represented most often? Give your final answer in the form "
        "'User: [X]', where [X] is the user ID."
    )
    return (question, gold, "user") if gold else None


_INNER: tuple[Callable[[Rows, random.Random, str], Asked], ...] = (
    _most_common,
    _compared,
    _counted,
)


def _within(
    inner: Sequence[Callable[[Rows, random.Random, str], Asked]],
    chosen: Rows,
    chance: random.Random,
    subset: str,
    among: str,
) -> Asked:
    asked = chance.choice(inner)(chosen, chance, "")
    if asked is None:
        return None
    question, gold, kind = asked
    start = f"For the following question, only consider the subset of instances that {subset}. "
    return f"{start}Among instances {among}, {question}", gold, kind


def _of_users(window: Rows, chance: random.Random) -> Asked:
    users = sorted({row.user for row in window})
    ids = chance.sample(users, chance.randint(min(2, len(users)), min(12, len(users))))
    return _within(
        _INNER,
        [row for row in window if row.user in ids],
        chance,
        f"are associated with user IDs {', '.join(map(str, ids))}",
        "associated with these users",
    )


def _before_and_after(window: Rows, chance: random.Random) -> Asked:
    a, date = chance.choice(LABELS), chance.choice(window).date
    # Whether the day itself counts, and whether counts or shares are meant, must not matter.
    found = set()
    for shift in (0, 1):
        cut = date + dt.timedelta(shift)
        before = [row for row in window if row.date < cut]
        after = [row for row in window if row.date >= cut]
        if not before or not after:
            return None
        counts = of_label(before, a), of_label(after, a)
        shares = counts[0] * len(after), counts[1] * len(before)
        found |= {relation(*counts), relation(*shares)}
    if len(found) > 1 or not of_label(window, a):
        return None
    [said] = found
    question = (
        f"{_ABOVE}was label '{a}' more common, less common, or the same frequency before {date}, "
        f"as compared to after {date}? Give your final answer in the form 'Answer: {a} is [X] "
        f"before {date}', where [X] is 'more common', 'less common', or 'the same frequency'."
    )
    return question, f"the {said}" if said == PHRASES[2] else said, "comparison"


def _of_month(window: Rows, chance: random.Random) -> Asked:
    month = chance.randrange(12)
    chosen = [row for row in window if row.date.month == month + 1]
    name = MONTHS[month]
    return _within(_INNER, chosen, chance, f"occur in {name} of any year", f"occuring in {name}")


def _of_range(window: Rows, chance: random.Random) -> Asked:
    first, last = sorted(row.date for row in chance.sample(window, 2))
    return _within(
        _INNER[1:],
        [row for row in window if first <= row.date <= last],
        chance,
        f"occur between {day(first)} and {day(last)}, inclusive",
        "occuring in this date range",
    )


def _first_month(window: Rows, chance: random.Random) -> Asked:
    a, b = chance.sample(LABELS, 2)
    months = by_month(window).items()
    when = next((month for month, of in months if of_label(of, a) > of_label(of, b)), None)
    question = (
        f"In which month did the label '{a}' first occur more often than the label '{b}'? Give "
        "your final answer in the form 'Answer: [month] [year]'"
    )
    return (question, f"{MONTHS[when[1] - 1]} {when[0]}", "month") if when else None


def _months_ahead(window: Rows, chance: random.Random) -> Asked:
    a, b = chance.sample(LABELS, 2)
    months = sum(of_label(of, a) > of_label(of, b) for of in by_month(window).values())
    question = (
        f"For how many months does the label '{a}' occur more frequently than the label '{b}'? "
        "Disregard months where there is a tie. Give your final answer in the form 'Answer: [X]'"
    )
    return question, str(months), "number"


def _months_on_top(window: Rows, chance: random.Random) -> Asked:
    a = chance.choice(LABELS)
    months = sum(most_common(of) == a for of in by_month(window).values())
    question = (
        f"For how many months is the label '{a}' the single most frequently occuring label? "
        "Disregard months where there is a tie for the most common label. Give your final answer "
        "in the form 'Answer: [X]'"
    )
    return question, str(months), "number"


TEMPLATES: tuple[Callable[[Rows, random.Random], Asked], ...] = (
    _most_common,
    _compared,
    _counted,
    _top_user,
    _of_users,
    _before_and_after,
    _of_month,
    _of_range,
    _first_month,
    _months_ahead,
    _months_on_top,
)
