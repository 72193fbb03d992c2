"""Named values in lines: which separator and joint they have, and which names."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from outcore.kernel_sandbox.inside.layout import Shape
from outcore.kernel_sandbox.inside.pairs import LEAD, between

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Separator and joint, the more telling first.
_STYLES = (
    ("||", ":"), ("||", "="), ("|", ":"), ("|", "="), ("\t", ":"), ("\t", "="),
    (";", ":"), (";", "="), ("&", "="), (",", ":"), (",", "="), (" ", "="),
)  # fmt: skip
_NAMES = 40
_RARE = 0.02
_ORDERED = 0.98


def named_values(lines: Sequence[str]) -> Iterator[Shape]:
    """Shapes of pairs that the lines may have."""
    for separator, joint in _STYLES:
        holding = [line for line in lines if separator in line and joint in line]
        if 2 * len(holding) < len(lines):
            continue
        shape = _shape(holding, separator, joint)
        if shape is not None:
            yield shape


def _shape(lines: Sequence[str], separator: str, joint: str) -> Shape | None:
    word = r"[^\W\d][\w.@/-]{0,39}" if separator == " " else r"[^\W\d][\w .@/()#'-]{0,39}?"
    quoted = r'(?:\s*"(?:[^"\\]|\\.)*")?' if joint == "=" else ""
    find = re.compile(rf"(?:^{LEAD}|{between(separator)})({word})\s*{re.escape(joint)}{quoted}")
    uses: Counter[str] = Counter()
    places: defaultdict[str, list[int]] = defaultdict(list)
    orders: list[list[str]] = []
    for line in lines:
        names = list(dict.fromkeys(match[1] for match in find.finditer(line)))
        uses.update(names)
        orders.append(names)
        for place, name in enumerate(names):
            places[name].append(place)
    least = max(2.0, _RARE * len(lines))
    kept = {name for name, many in uses.items() if many >= least}
    common = sum(1 for name in kept if uses[name] >= len(lines) / 2)
    if common < 2 or len(kept) > _NAMES:
        return None
    ranked = sorted(kept, key=lambda name: (sum(places[name]) / len(places[name]), name))
    rank = {name: at for at, name in enumerate(ranked)}
    in_order = sum(
        1
        for names in orders
        if (held := [rank[one] for one in names if one in rank]) == sorted(held)
    )
    ordered = in_order >= _ORDERED * len(orders)
    return Shape("pairs", tuple(ranked), separator, joint, ordered=ordered)
