"""How large the grammar of a JSON schema would be, told before anything tries to make it.

A schema of a few lines can stand for a grammar of gigabytes: lists in lists double at each
level, and references multiply.
"""

from __future__ import annotations

from typing import Any

MOST_PARTS = 20_000
# A value of any type is written out to some depth.
_ANYTHING = 300
_TURNS_OF_A_CIRCLE = 4


def parts(schema: dict[str, Any]) -> int:
    """About how many parts the grammar would have; the count ends above `MOST_PARTS`."""
    defs = schema.get("$defs") or schema.get("definitions")
    count = _Count(defs if isinstance(defs, dict) else {})
    count.add(schema, 1, ())
    return count.parts


class _Count:
    def __init__(self, defs: dict[str, Any]) -> None:
        self.parts = 0
        self._defs = defs

    def add(self, schema: Any, times: int, within: tuple[str, ...]) -> None:
        """Count a schema that the grammar holds `times` times."""
        self.parts += times
        if not isinstance(schema, dict) or self.parts > MOST_PARTS:
            return
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            if within.count(name) < _TURNS_OF_A_CIRCLE:
                self.add(self._defs.get(name), times, (*within, name))
            return
        fields = schema.get("properties")
        if isinstance(fields, dict):
            # Any of them may be the first one there.
            each = times if schema.get("required") else times * max(1, len(fields))
            for one in fields.values():
                self.add(one, each, within)
        for key in ("items", "additionalProperties"):
            if isinstance(schema.get(key), dict):
                self.add(schema[key], 2 * times, within)
        for key in ("prefixItems", "anyOf", "oneOf", "allOf", "enum"):
            for one in schema[key] if isinstance(schema.get(key), list) else ():
                self.add(one, times, within)
        if not _SAYS & schema.keys():
            self.parts += _ANYTHING * times


_SAYS = {"type", "properties", "items", "prefixItems", "anyOf", "oneOf", "allOf", "enum", "const"}
