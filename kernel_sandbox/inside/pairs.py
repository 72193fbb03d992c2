"""Lines of named values: `Key: value || Key: value`, `key=value key=value` and their kin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from .layout import Shape

# What may stand before the first name: a bullet or a number, and what no eye sees.
LEAD = r"[\s\ufeff]*(?:[-*\u2022]\s+|\d{1,9}[.)]\s+)?"


def between(separator: str) -> str:
    """Regular expression for what stands before a name that is not the first."""
    # Beginning with the separator itself, which no blank after it is, it takes no longer for long
    # runs of blanks.
    blank = r"[^\S\t]" if separator == "\t" else r"\s"
    return r"\s" if separator == " " else rf"{re.escape(separator)}{blank}*"


def pairs(shape: Shape) -> Callable[[str], dict[str, Any] | None]:
    """Parser of a line of pairs.

    A value ends where a separator and the name of another field follow, so it may hold the
    separator. A line is a record when it begins with a field and has half of them or more.
    """
    searching = _searching(shape)
    whole = _in_order(shape) if shape.ordered else None

    def parse(line: str) -> dict[str, Any] | None:
        found = whole(line) if whole is not None else None
        return searching(line) if found is None else found

    return parse


def _in_order(shape: Shape) -> Callable[[str], dict[str, Any] | None]:
    """The parser of lines that have all fields, in a third of the other one's time."""
    joint = re.escape(shape.joint)
    first, *others = shape.names
    begins = re.compile(rf"{LEAD}{re.escape(first)}\s*{joint}").match
    sep = between(shape.separator)
    follow = [re.compile(rf"{sep}{re.escape(name)}\s*{joint}").search for name in others]
    quoting = shape.joint == "="
    names = shape.names

    def parse(line: str) -> dict[str, Any] | None:
        match = begins(line)
        if match is None or (quoting and '"' in line):
            return None
        values = []
        at = match.end()
        for search in follow:
            match = search(line, at)
            if match is None:
                return None
            values.append(line[at : match.start()].strip())
            at = match.end()
        values.append(line[at:].strip())
        return dict(zip(names, values, strict=True))

    return parse


def _searching(shape: Shape) -> Callable[[str], dict[str, Any] | None]:
    places = {name: at for at, name in enumerate(shape.names)}
    least = max(min(2, len(places)), (len(places) + 1) // 2)
    named = "|".join(re.escape(name) for name in sorted(places, key=len, reverse=True))
    sep, joint = between(shape.separator), re.escape(shape.joint)
    begins = re.compile(rf"{LEAD}(?:{named})\s*{joint}").match
    # Of a quoted value nothing is taken for a name.
    whole = rf'(?:\s*"(?:[^"\\]|\\.)*"(?=\s*{sep}|\s*$))?' if shape.joint == "=" else ""
    find = re.compile(rf"(?:^{LEAD}|{sep})({named})\s*{joint}{whole}").finditer
    ordered, lacking = shape.ordered, dict.fromkeys(shape.names, "")

    def parse(line: str) -> dict[str, Any] | None:
        if begins(line) is None:
            return None
        found: list[tuple[str, int, int]] = []
        last = -1
        seen: set[str] = set()
        for match in find(line):
            name = match[1]
            if name in seen or (ordered and places[name] < last):
                continue
            seen.add(name)
            last = places[name]
            found.append((name, match.start(), match.end(1)))
        if len(found) < least:
            return None
        values = dict(lacking)
        ends = [start for _, start, _ in found[1:]]
        for (name, _, after), end in zip(found, [*ends, len(line)], strict=True):
            values[name] = _value(line[after:end], shape.joint)
        return values

    return parse


def _value(text: str, joint: str) -> str:
    value = text.lstrip()[len(joint) :].strip()
    if joint == "=" and len(value) > 1 and value[0] == value[-1] == '"':
        return re.sub(r"\\(.)", r"\1", value[1:-1])
    return value
