"""Answers that a dry run goes on with: numbers that are told again wherever they turn up.

A stand-in is fifteen digits, the first ten of them the same for the whole process. As a text
it also reads as an int, a float or JSON, and what is built from it shows that it is.
"""

from __future__ import annotations

import itertools
from random import SystemRandom
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNTED = 100_000
_DEEPEST = 12
_Json = dict[str, Any]


class StandIns:
    """Makes stand-ins and recognises them."""

    def __init__(self) -> None:
        # Not from `random`: its state belongs to the cells.
        mark = SystemRandom().randrange(10**9, 9 * 10**9)
        self._first = mark * _COUNTED
        self._count = itertools.count(1)
        grouped = f"{mark // 10:,}"
        self._marks = (str(mark), grouped, grouped.replace(",", "_"))

    def taint(self, text: str) -> bool:
        """Whether `text` holds a stand-in or what was made of one."""
        return any(mark in text for mark in self._marks)

    def answer(self, params: Mapping[str, Any]) -> Any:
        """A stand-in for the host's answer to an `llm_query`."""
        choices, schema = params.get("choices"), params.get("schema")
        if choices:
            scores = {label: 1 / len(choices) for label in choices}
            first = choices[0]
            return {"value": first, "scores": scores} if params.get("scores") else first
        return self._number_text() if schema is None else self._value(schema, schema, 0)

    def _number(self) -> int:
        return self._first + next(self._count) % _COUNTED

    def _number_text(self) -> str:
        return str(self._number())

    def _value(self, schema: Any, root: _Json, depth: int) -> Any:
        """The smallest value of a JSON schema, of stand-ins where it can be."""
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return None
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        if "$ref" in schema:
            return self._value(_found(schema["$ref"], root), root, depth + 1)
        for key in ("anyOf", "oneOf", "allOf"):
            for one in schema.get(key) or ():
                if one != {"type": "null"}:
                    return self._value(one, root, depth + 1)
        return self._typed(schema, root, depth)

    def _typed(self, schema: _Json, root: _Json, depth: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = kind[0] if kind else None
        if kind == "object" or "properties" in schema:
            fields = schema.get("properties") or {}
            return {name: self._value(one, root, depth + 1) for name, one in fields.items()}
        if kind == "array":
            fixed = schema.get("prefixItems") or ()
            items = schema.get("items", {"type": "string"})
            rest = max(schema.get("minItems", 0), 1) - len(fixed) if items else 0
            return [self._value(one, root, depth + 1) for one in (*fixed, *[items] * rest)]
        if kind in ("integer", "number"):
            number = _within(self._number(), schema)
            return number if kind == "integer" else float(number)
        if kind == "boolean":
            return False
        if kind == "null":
            return None
        return self._number_text()[: schema.get("maxLength")].ljust(schema.get("minLength", 0), "0")


def _within(number: float, schema: _Json) -> float:
    """`number`, or one of the bounds that a schema sets where it is beyond them."""
    most: float = min(schema.get("maximum", number), schema.get("exclusiveMaximum", number + 1) - 1)
    least: float = max(schema.get("minimum", -number), schema.get("exclusiveMinimum", -number) + 1)
    return least if number > most >= least else max(min(number, most), least)


def _found(reference: str, root: _Json) -> Any:
    part: Any = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        part = part.get(name) if isinstance(part, dict) else None
    return part
