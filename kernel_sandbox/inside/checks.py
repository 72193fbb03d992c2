"""What is wrong with a JSON value under a JSON schema, for all that a grammar can't hold to."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "array": (list,),
    "object": (dict,),
}


def fault(value: Any, schema: Any, defs: Mapping[str, Any], place: str = "it") -> str:
    """The first thing in `value` that breaks the schema, in words; "" where all is well.

    Keywords it does not know are let pass.

    Args:
        value: a value as `json.loads` gives it.
        schema: the JSON schema.
        defs: schemas that `$ref` names, by the last part of the reference.
        place: what the value is called in the words.
    """
    if not isinstance(schema, dict):
        return f"{place} must not be there" if schema is False else ""
    return next(_faults(value, schema, defs, place), "")


def _faults(
    value: Any, schema: dict[str, Any], defs: Mapping[str, Any], place: str
) -> Iterator[str]:
    if "$ref" in schema:
        yield from _some(fault(value, defs.get(schema["$ref"].rpartition("/")[2]), defs, place))
    wanted = schema.get("type", [])
    names = [wanted] if isinstance(wanted, str) else wanted
    if names and not any(_is(value, name) for name in names):
        yield f"{place} must be {' or '.join(names)}, and is {value!r:.80}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place} must be one of {schema['enum']}, and is {value!r:.80}"
    if "const" in schema and value != schema["const"]:
        yield f"{place} must be {schema['const']!r}, and is {value!r:.80}"
    for key, holds, words in _LIMITS:
        if key in schema and _fits(key, value) and not holds(value, schema[key]):
            yield f"{place} must {words.format(schema[key])}, and is {value!r:.80}"
    if isinstance(value, dict):
        yield from _in_object(value, schema, defs, place)
    if isinstance(value, list):
        yield from _in_array(value, schema, defs, place)
    for key in ("anyOf", "oneOf"):
        ways = schema.get(key, [])
        found = [fault(value, way, defs, place) for way in ways]
        if found and all(found):
            yield found[0] if len(found) == 1 else f"{place} fits none of {len(found)} ways"
    for part in schema.get("allOf", []):
        yield from _some(fault(value, part, defs, place))


def _in_object(
    value: dict[str, Any], schema: dict[str, Any], defs: Mapping[str, Any], place: str
) -> Iterator[str]:
    known = schema.get("properties", {})
    for name in schema.get("required", []):
        if name not in value:
            yield f"{place} lacks {name!r}"
    for name, held in value.items():
        rule = known.get(name, schema.get("additionalProperties", True))
        yield from _some(fault(held, rule, defs, f"{place}[{name!r}]"))


def _in_array(
    value: list[Any], schema: dict[str, Any], defs: Mapping[str, Any], place: str
) -> Iterator[str]:
    first = schema.get("prefixItems", [])
    for number, held in enumerate(value):
        rule = first[number] if number < len(first) else schema.get("items", True)
        yield from _some(fault(held, rule, defs, f"{place}[{number}]"))
    if schema.get("uniqueItems") and any(one in value[:at] for at, one in enumerate(value)):
        yield f"{place} holds a thing twice"


def _some(words: str) -> tuple[str, ...]:
    return (words,) if words else ()


def _is(value: Any, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    return isinstance(value, _TYPES.get(name, (object,)))


_LIMITS: tuple[tuple[str, Callable[[Any, Any], bool], str], ...] = (
    ("minimum", lambda value, least: value >= least, "be at least {}"),
    ("maximum", lambda value, most: value <= most, "be at most {}"),
    ("exclusiveMinimum", lambda value, bound: value > bound, "be more than {}"),
    ("exclusiveMaximum", lambda value, bound: value < bound, "be less than {}"),
    ("multipleOf", lambda value, step: value % step == 0, "be a multiple of {}"),
    ("minLength", lambda value, least: len(value) >= least, "have at least {} characters"),
    ("maxLength", lambda value, most: len(value) <= most, "have at most {} characters"),
    ("pattern", lambda value, pattern: bool(re.search(pattern, value)), "match {}"),
    ("minItems", lambda value, least: len(value) >= least, "have at least {} entries"),
    ("maxItems", lambda value, most: len(value) <= most, "have at most {} entries"),
)


def _fits(key: str, value: Any) -> bool:
    if key in ("minLength", "maxLength", "pattern"):
        return isinstance(value, str)
    if key in ("minItems", "maxItems"):
        return isinstance(value, list)
    return isinstance(value, (int, float)) and not isinstance(value, bool)
