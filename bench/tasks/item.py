"""What a task is made of: its items, how they are drawn, and the lengths of their texts."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Split = Literal["dev", "report"]
Gold = str | tuple[str, ...]
Tokens = Callable[[str], int]

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


@dataclass(frozen=True, slots=True)
class Item:
    """One question with its answer.

    Attributes:
        id: its name among the items of one draw.
        question: what is asked.
        context: the text it is asked about, or a folder that holds it.
        gold: the right answer; several strings where a set is asked for.
        meta: what else is known of it; small values, for tables.
    """

    id: str
    question: str
    context: str | Path
    gold: Gold
    meta: Mapping[str, str | int] = field(default_factory=dict)


def by_fours(text: str) -> int:
    """Length of a text in tokens where no tokenizer is at hand: four characters each."""
    return len(text) // 4


@dataclass(frozen=True, slots=True)
class Draw:
    """Which items of a task are wanted.

    Attributes:
        seed: decides everything that is drawn.
        samples: how many items.
        size: length of their texts, in tokens.
        data: folder of the data sets.
        split: which half of a pool they come from: prompts and tools are developed on items of
            one half, and figures are reported on the other.
        tokens: counts tokens as the root does.
        tree: source tree of the code task.
    """

    seed: int
    samples: int
    size: int
    data: Path
    split: Split = "report"
    tokens: Tokens = by_fours
    tree: Path | None = None

    def random(self, *parts: object) -> random.Random:
        """A source of chance for one part of the draw, apart from all others."""
        return random.Random("/".join(map(str, (self.seed, self.size, *parts))))


def half(text: str) -> Split:
    """The half that a text belongs to, by its SHA-256, the same for ever."""
    return "dev" if hashlib.sha256(text.encode()).digest()[0] % 2 else "report"


def size_of(name: str) -> int:
    """Tokens of `8192`, `2^13`, `8k`, `10m`; what is about a power of two is that power.

    Raises:
        ValueError: it is no size.
    """
    text = name.strip().lower().replace(",", "").replace("_", "")
    if power := re.fullmatch(r"2\^(\d+)", text):
        return int(1 << int(power[1]))
    plain = re.fullmatch(r"(\d+)([km]?)", text)
    if plain is None or not int(plain[1]):
        raise ValueError(f"{name!r} is no size; write 8192, 2^13, 8k or 10m")
    size = int(plain[1]) * _UNITS[plain[2]]
    near = 1 << round_log2(size)
    return near if plain[2] and abs(near - size) <= 0.05 * size else size


def round_log2(size: int) -> int:
    """The exponent of the power of two that is nearest in ratio."""
    below = size.bit_length() - 1
    return below if size * size < 2 << (2 * below) else below + 1


def size_name(size: int) -> str:
    """A size for people: `8k` for 8,192, `10M` for 10,000,000; `tree` for 0."""
    if not size:
        return "tree"
    for unit, short in ((1 << 20, "M"), (10**6, "M"), (1 << 10, "k"), (10**3, "k")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{short}"
    return f"{size:,}"
