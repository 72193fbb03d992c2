"""How large the grammar of a JSON schema would be, told before anything tries to make it.

A schema of a few lines can stand for a grammar of gigabytes: lists in lists double at each
level, references multiply, and a bound of length is as many copies of what it bounds.
"""

from __future__ import annotations

import re
from typing import Any

from outcore.errors import ConfigError

MOST_PARTS = 20_000
# A value of any type is written out to some depth.
_ANYTHING = 300
_TURNS_OF_A_CIRCLE = 4
_DEEPEST = 200
# A character of any kind is about ten states, and vLLM gives a grammar five seconds.
_MOST_COPIES = 24
_LARGEST_BOUND = 10_000
_LONGEST_PATTERN = 200
_MOST_REPEATED = 300
# Above this, repetitions within or after others can double the states again and again.
_MOST_NESTED = 10


def parts(schema: dict[str, Any]) -> int:
    """About how many parts the grammar would have; the count ends above `MOST_PARTS`.

    Raises:
        ConfigError: a pattern or a bound in it might take an engine for ever.
    """
    defs = schema.get("$defs") or schema.get("definitions")
    count = _Count(defs if isinstance(defs, dict) else {})
    count.add(schema, 1, ())
    return count.parts


def loosened(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without its bounds of length, where they would make a slow grammar.

    Whoever asked checks the value against the bounds; its length has its limit in any case.
    """
    loose: dict[str, Any] = _unbound(schema)
    return loose if parts(schema) - parts(loose) > _MOST_COPIES else schema


class _Count:
    def __init__(self, defs: dict[str, Any]) -> None:
        self.parts = 0
        self._defs = defs

    def add(self, schema: Any, times: int, within: tuple[str, ...], depth: int = 0) -> None:
        """Count a schema that the grammar holds `times` times."""
        self.parts += times if depth < _DEEPEST else MOST_PARTS + 1
        if not isinstance(schema, dict) or self.parts > MOST_PARTS:
            return
        if "$ref" in schema:
            name = str(schema["$ref"]).rpartition("/")[2]
            if within.count(name) < _TURNS_OF_A_CIRCLE:
                self.add(self._defs.get(name), times, (*within, name), depth + 1)
            return
        self.parts += times * _characters(schema)
        fields = schema.get("properties")
        if isinstance(fields, dict):
            # Any of them may be the first one there.
            each = times if schema.get("required") else times * max(1, len(fields))
            for one in fields.values():
                self.add(one, each, within, depth + 1)
        for key, copies in (
            ("items", max(2, _bound(schema, _ENTRIES))),
            ("additionalProperties", 2),
        ):
            if isinstance(schema.get(key), dict):
                self.add(schema[key], copies * times, within, depth + 1)
        for key in ("prefixItems", "anyOf", "oneOf", "allOf", "enum"):
            for one in schema[key] if isinstance(schema.get(key), list) else ():
                self.add(one, times, within, depth + 1)
        if not _SAYS & schema.keys():
            self.parts += _ANYTHING * times


_SAYS = {"type", "properties", "items", "prefixItems", "anyOf", "oneOf", "allOf", "enum", "const"}
_ENTRIES = {"minItems", "maxItems"}
_LENGTHS = {"minLength", "maxLength"}
_DIGITS = {
    f"{end}Digits{part}"
    for end in ("min", "max")
    for part in ("", "Integer", "Fraction", "Exponent")
}
_BOUNDS = _ENTRIES | _LENGTHS | _DIGITS
# Under these keys, other keys are names.
_NAMED = {"properties", "patternProperties", "$defs", "definitions"}
_VALUES = {"enum", "const", "default", "examples", "required"}


def _bound(schema: dict[str, Any], keys: set[str]) -> int:
    bounds = [bound for key in keys if type(bound := schema.get(key)) is int and bound > 0]
    most = max(bounds, default=0)
    if most > _LARGEST_BOUND:
        raise ConfigError(
            f"a bound of length in schema= is {most:,}, and {_LARGEST_BOUND:,} is allowed; leave "
            "it out"
        )
    return most


def _characters(schema: dict[str, Any]) -> int:
    """How many characters the bounds and the pattern of a schema spell out."""
    pattern = schema.get("pattern")
    written = _repeated(pattern) if isinstance(pattern, str) else 0
    return written + _bound(schema, _LENGTHS) + _bound(schema, _DIGITS)


def _repeated(pattern: str) -> int:
    """The sum of a pattern's repetitions."""
    if len(pattern) > _LONGEST_PATTERN:
        raise ConfigError(
            f"a pattern in schema= has {len(pattern):,} characters, and {_LONGEST_PATTERN} are "
            "allowed; check the value in code instead"
        )
    # Whether each open group repeats something, and whether anything has repeated without end.
    groups, endless, whole = [False], False, 0
    for part in _PARTS.finditer(_LITERAL.sub("x", pattern)):
        repeats = part["repeats"]
        most = max((int(number) for number in re.findall(r"\d+", repeats or "")), default=0)
        inner = False
        if part["at"] == "(":
            groups.append(False)
        elif part["at"] == ")" and len(groups) > 1:
            inner = groups.pop()
        large = most > _MOST_NESTED
        whole += most
        if whole > _MOST_REPEATED or (inner and repeats) or (endless and large):
            raise ConfigError(
                f"the pattern {pattern!r:.80} in schema= repeats too much: a repetition has at "
                f"most {_MOST_REPEATED:,} turns, and {_MOST_NESTED} within another or after one "
                "without end; check the value in code instead"
            )
        endless = endless or (repeats is not None and (repeats in "*+" or repeats.endswith(",}")))
        groups[-1] = groups[-1] or inner or large
    return whole


_LITERAL = re.compile(r"\\.|\[\^?(?:\\.|[^\]\\])*\]", re.DOTALL)
_PARTS = re.compile(r"(?P<at>[^*+?{])?(?P<repeats>[*+]|\{\d*,?\d*\})?", re.DOTALL)


def _unbound(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_unbound(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    loose: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED and isinstance(value, dict):
            loose[key] = {name: _unbound(one) for name, one in value.items()}
        elif key in _VALUES:
            loose[key] = value
        elif key not in _BOUNDS or (key.startswith("min") and value in (0, 1)):
            loose[key] = _unbound(value)
    return loose
