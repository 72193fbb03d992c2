"""What `schema=` may be: everything a Python program would say a type with, as JSON schema.

A `Kind` goes both ways: to the host goes its schema, and what comes back it makes into the
type that was asked for.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import types
import typing
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from .checks import fault

_HELP = (
    'schema is a JSON schema (dict), fields and their types such as {"name": str, "tags": [str]}, '
    "a type such as list[str], int or bool, or a pydantic class"
)
_STRING: dict[str, Any] = {"type": "string"}
_WORDS = {
    "str": "string",
    "string": "string",
    "text": "string",
    "int": "integer",
    "integer": "integer",
    "float": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "array",
    "array": "array",
    "dict": "object",
    "object": "object",
}
_LIST_OF = re.compile(r"(?:list|array)(?:\[(\w+)\]| of (\w+?)s?)")
# Of a dict with other keys than these, the keys are fields.
_KEYWORDS = re.compile(
    r"\$\w+|definitions|type|enum|const|format|pattern|title|description|default|examples"
    "|properties|required|items|prefixItems|additionalProperties|patternProperties|uniqueItems"
    "|anyOf|oneOf|allOf|not|minimum|maximum|exclusiveMinimum|exclusiveMaximum|multipleOf"
    "|minLength|maxLength|minItems|maxItems|minProperties|maxProperties"
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of answer.

    Attributes:
        schema: its JSON schema.
        read: makes a value of it from a JSON value; raises ValueError where that can't be.
    """

    schema: dict[str, Any]
    read: Callable[[Any], Any]


def kind_of(schema: Any) -> Kind:
    """The kind that a `schema=` asks for.

    Raises:
        TypeError: it can't be used; the message says what can.
    """
    if isinstance(schema, str) and _by_name(schema) is None:
        raise TypeError(f"{_HELP}, not {schema!r:.80}")
    defs: dict[str, Any] = {}
    kind = _kind(schema, defs)
    whole = {**kind.schema, "$defs": defs} if defs else kind.schema
    try:
        json.dumps(whole)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{_HELP}; in this JSON schema, {error}") from None

    def read(value: Any) -> Any:
        wrong = fault(value, whole, defs)
        if wrong:
            raise ValueError(wrong)
        return kind.read(value)

    return Kind(whole, read)


def _kind(spec: Any, defs: dict[str, Any]) -> Kind:
    if isinstance(spec, str):
        return _by_name(spec) or Kind({**_STRING, "description": spec}, _same)
    if isinstance(spec, dict):
        return _hoisted(spec, defs, _same) if _is_schema(spec) else _fields(spec, defs, dict)
    if isinstance(spec, (list, tuple)):
        if len(spec) > 1:
            if all(isinstance(one, str) and _by_name(one) is None for one in spec):
                return Kind({"enum": list(spec)}, _same)
            raise TypeError(f"{_HELP}; a list holds one type, [str], and not {spec!r:.80}")
        return _many(_kind(spec[0], defs) if spec else Kind(_STRING, _same), list)
    if isinstance(spec, (bool, int, float)):
        return _PLAIN[type(spec)]
    if typing.get_origin(spec) is not None:
        return _generic(spec, defs)
    if isinstance(spec, Hashable) and spec in _PLAIN:
        return _PLAIN[spec]
    if isinstance(spec, type):
        return _class(spec, defs)
    raise TypeError(f"{_HELP}, not {type(spec).__name__} {spec!r:.80}")


def _class(spec: Any, defs: dict[str, Any]) -> Kind:
    if hasattr(spec, "model_json_schema") and hasattr(spec, "model_validate"):
        return _hoisted(spec.model_json_schema(), defs, spec.model_validate)
    if issubclass(spec, Enum):
        return Kind({"enum": [one.value for one in spec]}, spec)
    if typing.is_typeddict(spec):
        return _fields(_hints(spec), defs, dict)
    if dataclasses.is_dataclass(spec) or hasattr(spec, "_fields"):
        return _fields(_hints(spec), defs, lambda values: spec(**values))
    raise TypeError(f"{_HELP}, not the class {spec.__name__}")


def _hints(spec: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(spec, include_extras=True)
    except NameError as error:
        raise TypeError(f"{spec.__name__} can't be a schema: {error}") from None


def _generic(spec: Any, defs: dict[str, Any]) -> Kind:
    origin, inner = typing.get_origin(spec), typing.get_args(spec)
    if origin is typing.Literal:
        return Kind({"enum": list(inner)}, _same)
    if origin is typing.Annotated:
        kind = _kind(inner[0], defs)
        said = [note for note in inner[1:] if isinstance(note, str)]
        return Kind({**kind.schema, "description": said[0]}, kind.read) if said else kind
    if origin in (typing.Union, types.UnionType):
        return _either([_kind(one, defs) for one in inner], defs)
    if origin is dict and inner[0] is str:
        kind = _kind(inner[1], defs)
        return Kind(
            {"type": "object", "additionalProperties": kind.schema},
            lambda value: {name: kind.read(one) for name, one in value.items()},
        )
    fixed = origin is tuple and inner[1:] != (...,)
    if isinstance(origin, type) and issubclass(origin, (list, tuple, set, frozenset)) and not fixed:
        return _many(_kind(inner[0], defs), origin)
    if origin in (typing.get_origin(one) for one in (typing.Sequence[Any], typing.Iterable[Any])):
        return _many(_kind(inner[0], defs), list)
    raise TypeError(f"{_HELP}, not {spec!r:.80}")


def _many(kind: Kind, make: Callable[[Any], Any]) -> Kind:
    return Kind(
        {"type": "array", "items": kind.schema},
        lambda value: make(kind.read(one) for one in value),
    )


def _either(kinds: list[Kind], defs: dict[str, Any]) -> Kind:
    def read(value: Any) -> Any:
        fitting = (kind for kind in kinds if not fault(value, kind.schema, defs))
        return next(fitting).read(value)

    return Kind({"anyOf": [kind.schema for kind in kinds]}, read)


def _fields(spec: dict[Any, Any], defs: dict[str, Any], make: Callable[[Any], Any]) -> Kind:
    kinds = {str(name): _kind(one, defs) for name, one in spec.items()}
    if not kinds:
        raise TypeError(f"{_HELP}, not an empty dict")
    schema = {
        "type": "object",
        "properties": {name: kind.schema for name, kind in kinds.items()},
        "required": list(kinds),
        "additionalProperties": False,
    }
    return Kind(
        schema, lambda value: make({name: kinds[name].read(one) for name, one in value.items()})
    )


def _hoisted(schema: dict[str, Any], defs: dict[str, Any], read: Callable[[Any], Any]) -> Kind:
    # References are written from the root of a schema, wherever in ours this one will stand.
    own = dict(schema)
    for name, one in own.pop("$defs", {}).items():
        if defs.setdefault(name, one) != one:
            raise TypeError(f"two classes of one schema are named {name}; rename one of them")
    return Kind(own, read)


def _by_name(name: str) -> Kind | None:
    word = name.strip().lower()
    held = _LIST_OF.fullmatch(word)
    if held:
        inner = _by_name(held[1] or held[2])
        return _many(inner, list) if inner else None
    if word not in _WORDS:
        return None
    if _WORDS[word] == "array":
        return _PLAIN[list]
    return Kind({"type": _WORDS[word]}, _same)


def _is_schema(spec: dict[Any, Any]) -> bool:
    if not all(_KEYWORDS.fullmatch(str(key)) for key in spec):
        return False
    kind = spec.get("type")
    names = kind if isinstance(kind, list) else [kind]
    if all(name in (*_WORDS.values(), "null") for name in names):
        return True
    lists = any(isinstance(spec.get(key), list) for key in ("anyOf", "oneOf", "allOf", "enum"))
    return lists or "$ref" in spec or "const" in spec or isinstance(spec.get("properties"), dict)


def _same(value: Any) -> Any:
    return value


_PLAIN: dict[Any, Kind] = {
    str: Kind(_STRING, _same),
    int: Kind({"type": "integer"}, _same),
    float: Kind({"type": "number"}, float),
    bool: Kind({"type": "boolean"}, _same),
    None: Kind({"type": "null"}, _same),
    type(None): Kind({"type": "null"}, _same),
    list: _many(Kind(_STRING, _same), list),
    dict: Kind({"type": "object"}, _same),
    Any: Kind({}, _same),
    datetime.date: Kind({"type": "string", "format": "date"}, datetime.date.fromisoformat),
}
