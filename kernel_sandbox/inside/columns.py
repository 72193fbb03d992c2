"""Lines of columns: values split at a separator, plain or quoted as CSV quotes them."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .layout import Shape

_DIGIT = re.compile(r"\d")
RULE = re.compile(r":?-{2,}:?|:-+:?|-+:")


def cells_of(line: str, separator: str, most: int = -1) -> list[str]:
    """Cells of a plain line, at most `most` of them; bars at both ends of it are its border."""
    text = line
    if separator == "|":
        bare = line.strip()
        if len(bare) > 1 and bare[0] == bare[-1] == "|":
            text = bare[1:-1]
    return [cell.strip() for cell in text.split(separator, most - 1 if most > 0 else -1)]


def quoted_cells(line: str, separator: str, most: int = -1) -> list[str]:
    """Cells of a line of CSV, which may hold line ends between quotes, at most `most` of them."""
    try:
        cells = next(csv.reader([line.replace("\x00", "")], delimiter=separator), [])
    except csv.Error:  # a field longer than the csv module takes
        return []
    if 0 < most < len(cells):
        cells[most - 1 :] = [separator.join(cells[most - 1 :])]
    return [cell.strip() for cell in cells]


def is_header(shape: Shape, line: str) -> bool:
    """Whether the line names the columns."""
    if shape.form not in ("columns", "csv"):
        return False
    split = quoted_cells if shape.form == "csv" else cells_of
    cells = split(line, shape.separator)
    return len(cells) == len(shape.names) and all(
        cell in (name, "") for cell, name in zip(cells, shape.names, strict=True)
    )


def columns(shape: Shape) -> Callable[[str], dict[str, Any] | None]:
    """Parser of a plain line of columns. A header, and the rule below one, are no records."""
    separator, count = shape.separator, len(shape.names)
    most = count if shape.rest else -1

    def parse(line: str) -> dict[str, Any] | None:
        if separator not in line:
            return None
        return _fields(shape, cells_of(line, separator, most), count)

    return parse


def quoted(shape: Shape) -> Callable[[str], dict[str, Any] | None]:
    """Parser of a line of CSV. A header is no record."""
    separator, count = shape.separator, len(shape.names)

    def parse(line: str) -> dict[str, Any] | None:
        if separator not in line:
            return None
        cells = quoted_cells(line, separator, count if shape.rest else -1)
        if len(cells) < count and line.count('"') % 2:
            return None  # the first line of a value of several
        return _fields(shape, cells, count)

    return parse


def _fields(shape: Shape, cells: list[str], count: int) -> dict[str, Any] | None:
    names = shape.names
    if 0 < shape.fewest <= len(cells) < count:
        cells = [*cells, *[""] * (count - len(cells))]
    if len(cells) != count:
        return None
    if tuple(cells) == names or all(map(RULE.fullmatch, cells)):
        return None
    # A sentence with as many commas is no record of a table of figures.
    if shape.digits and not _DIGIT.search(held := "".join(cells[at] for at in shape.digits)):
        return None if held else dict(zip(names, cells, strict=True))
    return dict(zip(names, cells, strict=True))
