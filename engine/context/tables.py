"""Columns in lines: which separator they have, how many, and whether a header names them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from outcore.engine.context.fields import type_of
from outcore.kernel_sandbox.inside.columns import RULE, cells_of, quoted_cells
from outcore.kernel_sandbox.inside.layout import FieldType, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SEPARATORS = ("\t", "||", "|", ";", ",", "::")
_REGULAR = 0.9
_MOST = 500
_NAME_CHARS = 40
_NAME_WORDS = 4
_SENTENCE = 1.8
# Rows without their last cells are a habit of what wrote the file, and not an accident.
_SHORT = 3
_SHORT_SHARE = 0.02
_FIGURES = ("number", "date")


def tables(lines: Sequence[str], head: Sequence[str], *, named: bool) -> Iterator[Shape]:
    """Shapes of columns that the lines may have.

    Args:
        lines: lines from all over the context.
        head: the first lines of the context, where a header may stand.
        named: whether the files are called tables, so that a header is to be expected.
    """
    for separator in _SEPARATORS:
        holding = [line for line in lines if separator in line]
        if 2 * len(holding) < len(lines):
            continue
        quoted = separator in "\t;,|" and any('"' in line for line in holding)
        if separator == "," or quoted:
            yield from _csv(holding, head, separator, named=named)
        if separator != ",":
            yield from _plain(holding, head, separator, named=named)


def _csv(
    lines: Sequence[str], head: Sequence[str], separator: str, *, named: bool
) -> Iterator[Shape]:
    # Of a row that goes on in the next line, the rest is no row.
    whole = [line for line in lines if line.count('"') % 2 == 0] if named else lines
    rows = [quoted_cells(line, separator) for line in whole or lines]
    top = [quoted_cells(line, separator) for line in head]
    count, rest = _count(rows, top, named=named)
    if count > 1:
        body = [row for row in rows if len(row) == count]
        names = _header(top, body, count, named=named) or _made_up(count)
        fewest = _fewest(rows, count) if named and not rest else 0
        yield Shape("csv", names, separator, rest=rest, fewest=fewest)


def _plain(
    lines: Sequence[str], head: Sequence[str], separator: str, *, named: bool
) -> Iterator[Shape]:
    rows = [cells_of(line, separator) for line in lines]
    top = [cells_of(line, separator) for line in head]
    count, rest = _count(rows, top, named=named)
    if count > 1:
        body = [cells_of(line, separator, count if rest else -1) for line in lines]
        body = [row for row in body if len(row) == count]
        names = _header(top, body, count, named=named) or _made_up(count)
        fewest = _fewest(rows, count) if named and not rest else 0
        yield Shape("columns", names, separator, rest=rest, fewest=fewest)


def _count(
    rows: Sequence[Sequence[str]], top: Sequence[Sequence[str]], *, named: bool
) -> tuple[int, bool]:
    """How many columns there are, 0 for none, and whether the last takes what is more."""
    counts = Counter(map(len, rows))
    count, most = counts.most_common(1)[0]
    if 2 <= count <= _MOST and most >= _REGULAR * len(rows):
        return count, False
    if named and top and len(top[0]) in counts and len(top[0]) > 1:
        first = len(top[0])
        more = sum(many for one, many in counts.items() if one >= first)
        if more >= _REGULAR * len(rows):
            return first, more > counts[first]
        return (first, False) if _fewest(rows, first) else (0, False)
    # The count that nearly all rows have or exceed, if what comes before the last is regular.
    at_least = 0
    for one in sorted(counts):
        at_least = one
        if sum(many for other, many in counts.items() if other <= one) > 0.03 * len(rows):
            break
    if not 2 <= at_least <= _MOST:
        return 0, False
    columns = list(zip(*(row[: at_least - 1] for row in rows if len(row) >= at_least), strict=True))
    types = [type_of(column) for column in columns]
    if "text" in types or not types:
        return 0, False
    return at_least, True


def _fewest(rows: Sequence[Sequence[str]], count: int) -> int:
    """How few cells rows have whose last are missing, as programs write them; 0 for none such."""
    full = [row for row in rows if len(row) == count]
    short = [row for row in rows if 1 < len(row) < count]
    if 2 * len(full) < len(rows) or len(short) < max(_SHORT, _SHORT_SHARE * len(rows)):
        return 0
    types = [type_of(column) for column in zip(*full, strict=True)]
    # A sum below a table has other cells than its rows.
    fitting = [row for row in short if _fits(row, types)]
    return min(map(len, fitting)) if len(fitting) >= _REGULAR * len(short) else 0


def _fits(row: Sequence[str], types: Sequence[FieldType]) -> bool:
    typed = zip(row, types, strict=False)
    return all(not cell or kind not in _FIGURES or type_of([cell]) == kind for cell, kind in typed)


def _header(
    top: Sequence[Sequence[str]], body: Sequence[Sequence[str]], count: int, *, named: bool
) -> tuple[str, ...] | None:
    """The names of the columns, where the first row of that many cells is a header."""
    types = [type_of(column) for column in zip(*body, strict=True)]
    number, first = _above(top, types)
    if first is None or len(set(first)) < count or sum(not cell for cell in first) > 1:
        return None
    if any(cell and type_of([cell]) in _FIGURES for cell in first):
        return None
    if any(len(cell) > _NAME_CHARS or len(cell.split()) > _NAME_WORDS for cell in first):
        return None
    names = tuple(cell or f"column{at}" for at, cell in enumerate(first, 1))
    following = top[number + 1] if number + 1 < len(top) else ()
    if named or (following and all(map(RULE.fullmatch, following))):
        return names
    others = [row for row in body if list(row) != list(first)]
    if not others:
        return None
    for cell, kind, column in zip(first, types, zip(*others, strict=True), strict=True):
        held = [value for value in column if value]
        if kind in _FIGURES:
            return names
        if cell in held:
            return None
        words = sum(len(value.split()) for value in held) / max(1, len(held))
        if words > _SENTENCE * max(1, len(cell.split())) or (kind == "label" and len(held) > 20):
            return names
    return None


def _above(
    top: Sequence[Sequence[str]], types: Sequence[FieldType]
) -> tuple[int, Sequence[str] | None]:
    """The row of so many cells above the first whose cells are of these types, and its number."""
    last: tuple[int, Sequence[str] | None] = (0, None)
    typed = [at for at, kind in enumerate(types) if kind in _FIGURES]
    for number, row in enumerate(top):
        if len(row) != len(types) or all(map(RULE.fullmatch, row)):
            continue
        fits = [row[at] for at in typed if type_of([row[at]]) == types[at]]
        if last[1] is not None and 2 * len(fits) >= len(typed):
            return last
        last = number, row
        if typed and 2 * len(fits) >= len(typed):
            return 0, None
    return last if not typed else (0, None)


def _made_up(count: int) -> tuple[str, ...]:
    return tuple(f"column{number}" for number in range(1, count + 1))
