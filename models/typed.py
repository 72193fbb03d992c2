"""Typed output: what a reply must look like, as vLLM enforces it and as Python reads it.

The constraint is worked out by outlines, so that whatever outlines can express (a JSON
schema, a choice) reaches vLLM in the form it takes. The model itself is told of the form too
(`Shape.told`): held to a form that it does not know of, it answers badly.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from outcore.errors import BadReply, ConfigError
from outcore.models.schema_size import MOST_PARTS, loosened, parts
from outcore.models.sketch import sketch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Asked for "JSON of this form: whole number", small models open a brace.
_ARTICLES = {
    "whole number": "a whole number",
    "number": "a number",
    "text": "a text in double quotes",
    "date": "a date in double quotes",
}
# Whoever wants more than this has put a text where a form belongs.
_LONGEST_CHARS = 50_000
_MOST_CHOICES = 1_000
# A bounded text at a grammar's root doubles it with each character; in a field it does not.
_VALUE = "value"
_OBJECT_OR = {"anyOf", "oneOf", "allOf", "enum", "const", "$ref", "prefixItems"}


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of a reply: JSON under a schema, or one of several texts.

    Attributes:
        schema: a JSON schema with an object at its root, as JSON text; its fields are written
            in this order. Empty for a choice.
        choices: the texts to choose from; empty for a schema.
        wrapped: whether the value that was asked for is the field "value" of that object.
    """

    schema: str = ""
    choices: tuple[str, ...] = ()
    wrapped: bool = False

    @classmethod
    def of(cls, schema: Mapping[str, Any] | None, choices: Sequence[str] | None) -> Shape | None:
        """The shape that the `schema=` and `choices=` of a call ask for; None if neither.

        Raises:
            ConfigError: both are given, or one of them is not usable.
        """
        if schema is not None and choices is not None:
            raise ConfigError("a typed call takes schema= or choices=, not both")
        if choices is not None:
            return cls(choices=_labels(choices))
        if schema is None:
            return None
        if not isinstance(schema, dict):
            raise ConfigError(f"schema= must be a JSON schema object; got {schema!r:.200}")
        try:
            _check_length("schema=", len(json.dumps(schema)))
            is_object = "properties" in schema or (
                schema.get("type") == "object" and not _OBJECT_OR & schema.keys()
            )
            held = loosened(schema if is_object else _wrapped(schema))
            if parts(held) > MOST_PARTS:
                raise ConfigError("schema= stands for too large a grammar; ask for fewer fields")
            shape = cls(schema=json.dumps(held), wrapped=not is_object)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"schema= is no JSON schema: {error}") from error
        shape.constraint()
        return shape

    def constraint(self) -> dict[str, Any]:
        """Keyword arguments for vLLM's `StructuredOutputsParams`.

        Raises:
            ConfigError: the schema holds something that can't be enforced.
        """
        return dict(_constraint(self))

    def told(self, question: str) -> str:
        """The question with the form of its answer, for the model to read."""
        asked = f"Question: {question}" if self.choices else question
        return asked + _told(self)

    def read(self, text: str, *, cut: bool, tokens: int = 0) -> Any:
        """The value a reply stands for.

        Args:
            text: the reply.
            cut: whether `max_tokens` ended it.
            tokens: its length.

        Raises:
            BadReply: the reply is no such value, which happens when it was cut off.
        """
        if self.choices:
            if text not in self.choices:
                raise BadReply(f"the reply {text!r:.100} is none of the choices")
            return text
        try:
            value = json.loads(text, parse_constant=_no_number)
            # What JSON's escapes can write and no text can hold, or its exponents and no number.
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError) as error:
            why = "was cut off at max_tokens; allow it more" if cut else f"is no JSON ({error})"
            raise BadReply(
                f"the typed reply {why}: {text!r:.200}", cut=cut, tokens=tokens if cut else 0
            ) from error
        if self.wrapped and isinstance(value, dict) and value.keys() == {_VALUE}:
            return value[_VALUE]
        return value


def as_said(choices: Sequence[str]) -> tuple[str, ...]:
    """The choices as models say them: those of all sizes say Yes and No with a capital letter."""
    return tuple(map(str.capitalize, choices) if is_yes_or_no(choices) else choices)


def is_yes_or_no(choices: Sequence[str]) -> bool:
    """Whether the choices are yes and no, in whichever case."""
    return sorted(choice.casefold() for choice in choices) == ["no", "yes"]


def _labels(choices: Any) -> tuple[str, ...]:
    if (
        not isinstance(choices, list | tuple)
        or not choices
        or not all(isinstance(label, str) and label for label in choices)
    ):
        raise ConfigError(f"choices= must be a list of texts, at least one; got {choices!r:.200}")
    if len(choices) > _MOST_CHOICES:
        raise ConfigError(
            f"choices= has {len(choices):,} labels, and {_MOST_CHOICES:,} are allowed; put them in "
            "groups and ask twice, for the group and then for the label"
        )
    if len(set(choices)) != len(choices):
        raise ConfigError(f"choices= holds the same text twice: {choices!r:.200}")
    _check_length("choices=", sum(map(len, choices)))
    return tuple(choices)


def _wrapped(schema: dict[str, Any]) -> dict[str, Any]:
    # References are looked up at the root.
    defs: dict[str, Any] = {key: schema[key] for key in ("$defs", "definitions") if key in schema}
    return {
        "type": "object",
        "properties": {_VALUE: {key: one for key, one in schema.items() if key not in defs}},
        "required": [_VALUE],
        "additionalProperties": False,
        **defs,
    }


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _check_length(name: str, chars: int) -> None:
    if chars > _LONGEST_CHARS:
        raise ConfigError(f"{name} has {chars:,} characters, and {_LONGEST_CHARS:,} are allowed")


@lru_cache(maxsize=256)
def _told(shape: Shape) -> str:
    if is_yes_or_no(shape.choices):
        return "\nAnswer with one word, Yes or No."
    if shape.choices:
        return f"\nAnswer with one of: {', '.join(shape.choices)}."
    form = sketch(json.loads(shape.schema))
    if form.startswith(("{", "[")):
        return f"\nAnswer in JSON of this form: {form}"
    return f"\nAnswer with {_ARTICLES.get(form, form)}."


@lru_cache(maxsize=256)
def _constraint(shape: Shape) -> tuple[tuple[str, Any], ...]:
    # outlines is slow to import, and most runs ask for no typed output.
    from typing import Literal

    from outlines import json_schema
    from outlines.models.vllm_offline import VLLMOfflineTypeAdapter
    from outlines_core import json_schema as regexes

    adapter = VLLMOfflineTypeAdapter()
    if shape.choices:
        wanted: Any = Literal[shape.choices]
    else:
        try:
            # Refused here, the caller hears of it; refused in the engine, the engine might die.
            regexes.build_regex_from_schema(shape.schema)
            wanted = json_schema(shape.schema)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(f"schema= can't be enforced: {error}") from error
        except Exception as error:  # of jsonschema, which outlines has look at it
            told = getattr(error, "message", error)
            raise ConfigError(f"schema= is no JSON schema: {told}") from error
    return tuple(adapter.format_output_type(wanted).items())
