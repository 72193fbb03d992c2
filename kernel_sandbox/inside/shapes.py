"""From a line to a record's fields, for any shape of lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .columns import columns, quoted
from .pairs import pairs
from .patterns import PATTERNS

if TYPE_CHECKING:
    from .layout import Shape

Parse = Callable[[str], "dict[str, Any] | None"]


def parser(shape: Shape | None) -> Parse:
    """What reads one line, without its end, as the fields of a record, or None where it is none.

    A record has all fields of the shape; one that its line lacks is "", in JSON None. A record
    of JSON may have more.
    """
    if shape is None:
        return lambda line: None
    match shape.form:
        case "pairs":
            return pairs(shape)
        case "columns":
            return columns(shape)
        case "csv":
            return quoted(shape)
        case "pattern":
            return _pattern(shape)
        case "json" | "documents":
            return _objects(shape)


def _pattern(shape: Shape) -> Parse:
    match = PATTERNS[shape.pattern].match
    names = shape.names

    def parse(line: str) -> dict[str, Any] | None:
        found = match(line)
        if found is None:
            return None
        return {name: (found[name] or "").strip() for name in names}

    return parse


def _objects(shape: Shape) -> Parse:
    lacking = dict.fromkeys(shape.names)

    def parse(line: str) -> dict[str, Any] | None:
        value = object_of(line)
        return None if value is None else {**lacking, **value}

    return parse


def object_of(line: str) -> dict[str, Any] | None:
    """The JSON object a line holds, also as an item of an array written an item a line."""
    text = line.strip()
    if text[:2] == "[{":
        text = text[1:]
    if text[-2:] in ("},", "}]"):
        text = text[:-1]
    if text[:1] != "{" or text[-1:] != "}":
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
