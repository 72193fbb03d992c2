"""Windows of OOLONG: lines of dated, signed questions whose labels have to be judged.

The questions and their labels are TREC's, drawn with replacement; each window has a label mix
of its own, and users of its own who write unevenly much. Which half of the questions a window
is drawn from is the draw's split.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from outcore.kernel_sandbox.inside.dates import MONTHS
from tasks.item import half

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tasks.item import Split

LABELS = (
    "location",
    "numeric value",
    "description and abstract concept",
    "abbreviation",
    "human being",
    "entity",
)
_COARSE = dict(zip(("LOC", "NUM", "DESC", "ABBR", "HUM", "ENTY"), LABELS, strict=True))
_FIRST, _LAST = dt.date(2022, 2, 1), dt.date(2025, 6, 30)
# From the real windows: 787 lines are 2^15 tokens, 3,182 are 2^17.
_TOKENS_PER_LINE = ((1 << 17) - (1 << 15)) / (3_182 - 787)
_TOKENS_AROUND = (1 << 15) - 787 * _TOKENS_PER_LINE
# From this size on the header says that users repeat.
_NOTE_FROM = 1 << 17
_USERS_LEAST, _USERS_MOST = 0.15, 0.3
_HEADER = (
    "The following lines contain {lines} general-knowledge questions, one per line. Each question "
    "has an answer that can be described as one of 6 categories: {labels}.\n\nYou will be asked to "
    "answer questions about the aggregate label statistics across all {lines} examples in this "
    "dataset. Do not try to guess, estimate, or approximate the result. Calculate the exact answer "
    "given these datapoints.{note}\n\n"
)
_NOTE = (
    " Each line has a User ID, which is not necessarily unique, i.e. each User ID can be "
    "associated with multiple questions."
)

Pool = Mapping[str, tuple[str, ...]]
Month = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a window, with the label that does not stand in it."""

    date: dt.date
    user: int
    text: str
    label: str

    @property
    def line(self) -> str:
        """As it stands in the window."""
        return f"Date: {day(self.date)} || User: {self.user} || Instance: {self.text}"


def day(date: dt.date) -> str:
    """A date as the lines write it: `Jun 29, 2022`."""
    return f"{MONTHS[date.month - 1][:3]} {date.day:02}, {date.year}"


def lines_of(size: int) -> int:
    """How many lines make a window of so many tokens, at least 8."""
    return max(8, round((size - _TOKENS_AROUND) / _TOKENS_PER_LINE))


@lru_cache(maxsize=4)
def pool(data: Path, split: Split) -> Pool:
    """TREC's questions of one half, by label; each question once."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for name in ("train.txt", "test.txt"):
        try:
            text = (data / "trec" / name).read_text(encoding="iso-8859-1")
        except OSError as error:
            raise SystemExit(f"{error}; name the data folder with --data") from error
        for line in text.split("\n"):
            label, _, question = line.strip().partition(" ")
            if question and half(question) == split:
                found[_COARSE[label.partition(":")[0]]][question] = None
    return {label: tuple(found[label]) for label in LABELS}


def rows(questions: Pool, lines: int, chance: random.Random, *, skew: float = 1.0) -> list[Row]:
    """Draw a window.

    Args:
        questions: the pool, by label.
        lines: how many.
        chance: decides all of it.
        skew: of the label mix; near 0 all labels are as frequent.
    """
    mix = [chance.gammavariate(1 / skew, 1.0) for _ in LABELS]
    users = chance.sample(
        range(10_000, 100_000), max(4, round(lines * chance.uniform(_USERS_LEAST, _USERS_MOST)))
    )
    shares = [chance.gammavariate(2.0, 1.0) for _ in users]
    days = (_LAST - _FIRST).days
    drawn = zip(
        chance.choices(LABELS, mix, k=lines), chance.choices(users, shares, k=lines), strict=True
    )
    return [
        Row(
            date=_FIRST + dt.timedelta(chance.randint(0, days)),
            user=user,
            text=chance.choice(questions[label]),
            label=label,
        )
        for label, user in drawn
    ]


def text_of(window: list[Row], size: int) -> str:
    """The whole text of a window, header included."""
    header = _HEADER.format(
        lines=f"{len(window)}",
        labels=", ".join(f"'{label}'" for label in LABELS),
        note=_NOTE if size >= _NOTE_FROM else "",
    )
    return header + "".join(f"{row.line}\n" for row in window)
