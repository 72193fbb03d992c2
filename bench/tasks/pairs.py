"""OOLONG-Pairs: all pairs of users that meet a condition, scored by F1.

Item number n is condition n % 20 + 1 on window n // 20. Windows in which a condition has no
pair are drawn again, so that every F1 is defined.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, count
from typing import TYPE_CHECKING

from tasks.item import Draw, Item
from tasks.window import Row, lines_of, pool, rows, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME, BINARY = "pairs", False
SIZES = (1 << 13, 1 << 15)

_LOC, _NUM, _DESC = "location", "numeric value", "description and abstract concept"
_ABBR, _HUM, _ENTY = "abbreviation", "human being", "entity"
# Labels nearer to even than OOLONG's: else most windows have a condition that nobody meets.
_SKEW = 0.4
_ID = r"['\"]?(\d{5})['\"]?"
_PAIR = re.compile(rf"[(\[]\s*{_ID}\s*,\s*{_ID}\s*[)\]]")
_BARE_PAIR = re.compile(rf"^\W*{_ID}\s*,\s*{_ID}\W*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class User:
    """What one user has written: the labels' counts, and the dates of each."""

    counts: Counter[str]
    dates: dict[str, list[dt.date]]

    @classmethod
    def of(cls, written: list[Row]) -> User:
        """From the user's rows."""
        dates: dict[str, list[dt.date]] = {}
        for row in written:
            dates.setdefault(row.label, []).append(row.date)
        return cls(Counter(row.label for row in written), dates)


Test = Callable[[User], bool]


def _any_of(*labels: str) -> Test:
    return lambda user: any(user.counts[label] for label in labels)


def _least(number: int, label: str) -> Test:
    return lambda user: user.counts[label] >= number


def _exactly(number: int, label: str) -> Test:
    return lambda user: user.counts[label] == number


def _all_after(label: str, year: int, month: int, day: int) -> Test:
    bound = dt.date(year, month, day)
    return lambda user: all(date > bound for date in user.dates.get(label, ()))


def _all_before(label: str, year: int, month: int, day: int) -> Test:
    bound = dt.date(year, month, day)
    return lambda user: all(date < bound for date in user.dates.get(label, ()))


def _all(*tests: Test) -> Test:
    return lambda user: all(test(user) for test in tests)


def _both(*tests: Test) -> tuple[Test, Test]:
    """Both users meet all of it."""
    return _all(*tests), _all(*tests)


# What one user of a pair must meet, and what the other, in either order.
CONDITIONS: dict[int, tuple[Test, Test]] = {
    1: _both(_any_of(_NUM, _LOC)),
    2: _both(_any_of(_ENTY, _HUM)),
    3: _both(_any_of(_DESC, _ABBR)),
    4: _both(_any_of(_HUM, _LOC), _all_after(_HUM, 2023, 1, 6)),
    5: _both(_any_of(_ENTY, _NUM), _all_before(_ENTY, 2023, 3, 15)),
    6: _both(_any_of(_LOC, _ABBR)),
    7: _both(_any_of(_DESC, _NUM), _all_after(_NUM, 2023, 2, 1)),
    8: _both(_any_of(_HUM, _DESC)),
    9: _both(_any_of(_ENTY, _LOC), _all_after(_LOC, 2023, 4, 10)),
    10: _both(_any_of(_NUM, _ABBR), _all_before(_ABBR, 2023, 5, 20)),
    11: (_all(_least(1, _ENTY), _least(1, _ABBR)), _exactly(1, _ENTY)),
    12: (_least(2, _NUM), _all(_least(1, _LOC), _least(1, _HUM))),
    13: (_exactly(1, _DESC), _all(_least(1, _ABBR), _least(1, _ENTY))),
    14: (_all(_least(1, _HUM), _least(1, _NUM)), _exactly(2, _LOC)),
    15: (_all(_least(1, _ENTY), _least(1, _LOC), _least(1, _ABBR)), _exactly(1, _NUM)),
    16: (
        _all(_least(1, _DESC), _least(1, _HUM)),
        _all(_least(2, _ENTY), _exactly(1, _ABBR)),
    ),
    17: (_exactly(1, _NUM), _all(_least(1, _LOC), _least(1, _DESC))),
    18: (
        _all(_least(1, _ABBR), _exactly(1, _HUM)),
        _all(_least(1, _ENTY), _least(1, _NUM)),
    ),
    19: (
        _all(_least(2, _LOC), _least(1, _ENTY)),
        _all(_exactly(1, _DESC), _exactly(1, _ABBR)),
    ),
    20: (
        _all(_least(1, _NUM), _least(1, _HUM)),
        _all(_least(1, _LOC), _least(1, _ENTY), _exactly(1, _ABBR)),
    ),
}


def items(draw: Draw) -> Iterator[Item]:
    """The items of a draw."""
    questions, lines = pool(draw.data, draw.split), lines_of(draw.size)
    told = _told(draw.data)
    for number in range(0, draw.samples, len(CONDITIONS)):
        for attempt in count():
            chance = draw.random(NAME, draw.split, number // len(CONDITIONS), attempt)
            window = rows(questions, lines, chance, skew=_SKEW)
            golds = {condition: pairs(window, condition) for condition in CONDITIONS}
            if all(golds.values()):
                break
        text = text_of(window, draw.size)
        for at, (condition, gold) in enumerate(golds.items()):
            if number + at < draw.samples:
                yield Item(
                    id=f"{number + at:03}-c{condition:02}",
                    question=told[condition],
                    context=text,
                    gold=tuple(f"({a}, {b})" for a, b in sorted(gold)),
                    meta={"kind": f"condition {condition}", "lines": lines, "pairs": len(gold)},
                )


def score(item: Item, answer: str) -> float:
    """F1 over the pairs, each as a set of two users."""
    assert not isinstance(item.gold, str)
    gold, said = read(" ".join(item.gold)), read(answer)
    hits = len(gold & said)
    return 2 * hits / (len(gold) + len(said)) if gold or said else 1.0


def read(answer: str) -> set[tuple[int, int]]:
    """The pairs in an answer: `(12345, 23456)` anywhere, or two ids alone on a line."""
    found = [*_PAIR.findall(answer), *_BARE_PAIR.findall(answer)]
    pairs = {(int(min(pair)), int(max(pair))) for pair in found}
    return {(a, b) for a, b in pairs if a != b}


def pairs(window: list[Row], condition: int) -> set[tuple[int, int]]:
    """The pairs of users in a window that meet a condition, lower id first."""
    written: dict[int, list[Row]] = {}
    for row in window:
        written.setdefault(row.user, []).append(row)
    users = {user: User.of(of) for user, of in written.items()}
    one, other = CONDITIONS[condition]
    ones = {user for user, of in users.items() if one(of)}
    others = {user for user, of in users.items() if other(of)}
    return {
        (a, b)
        for a, b in combinations(sorted(ones | others), 2)
        if (a in ones and b in others) or (b in ones and a in others)
    }


@lru_cache(maxsize=2)
def _told(data: Path) -> dict[int, str]:
    """The question for each condition, as the paper words it."""
    path = data / "oolong" / "oolong_pairs_tasks.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SystemExit(f"{error}; name the data folder with --data") from error
    return {
        int(number): f"{told['prefix']}{condition}{told['suffix']}"
        for number, condition in told["conditions"].items()
    }
