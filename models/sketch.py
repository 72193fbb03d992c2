"""A JSON schema in a line that a small model understands."""

from __future__ import annotations

import json
from typing import Any

_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "array": "list",
    "object": "object",
}
# A schema can refer to its own parts, in circles and many times over.
_MOST_PARTS = 200
_DEEPEST = 8


def sketch(schema: dict[str, Any]) -> str:
    """What a schema asks for, such as `{"name": text (in full), "tags": [text, ...]}`.

    What it says no word of is left to the grammar that holds the reply to the schema.
    """
    defs = schema.get("$defs")
    return _Sketch(defs if isinstance(defs, dict) else {}).of(schema, 0)


class _Sketch:
    def __init__(self, defs: dict[str, Any]) -> None:
        self._defs = defs
        self._parts = 0

    def of(self, schema: Any, depth: int) -> str:
        self._parts += 1
        if not isinstance(schema, dict) or depth > _DEEPEST or self._parts > _MOST_PARTS:
            return "..."
        shown = self._shown(schema, depth + 1)
        said = schema.get("description")
        return f"{shown} ({' '.join(said.split())})" if isinstance(said, str) and depth else shown

    def _shown(self, schema: dict[str, Any], depth: int) -> str:
        if "$ref" in schema:
            return self.of(self._defs.get(str(schema["$ref"]).rpartition("/")[2]), depth)
        if "const" in schema:
            return json.dumps(schema["const"], ensure_ascii=False)
        for key in ("enum", "anyOf", "oneOf", "allOf"):
            ways = schema.get(key)
            if isinstance(ways, list) and ways:
                if key == "enum":
                    return " or ".join(json.dumps(way, ensure_ascii=False) for way in ways)
                return (" and " if key == "allOf" else " or ").join(
                    self.of(way, depth) for way in ways
                )
        fields = schema.get("properties")
        if isinstance(fields, dict) and fields:
            parts = (f'"{name}": {self.of(one, depth)}' for name, one in fields.items())
            return f"{{{', '.join(parts)}}}"
        kind = schema.get("type")
        if kind == "array":
            return f"[{self.of(schema.get('items', {}), depth)}, ...]"
        if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
            return f'{{"name": {self.of(schema["additionalProperties"], depth)}, ...}}'
        kinds = kind if isinstance(kind, list) else [kind]
        words = schema.get("format") or " or ".join(_NAMES.get(str(one), "any") for one in kinds)
        return str(words)
