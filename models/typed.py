"""Typed output: what a reply must look like, as vLLM enforces it and as Python reads it.

The constraint is worked out by outlines, so that whatever outlines can express (a JSON
schema, a choice) reaches vLLM in the form it takes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from outcore.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Shape:
    """The form of a reply: JSON under a schema, or one of several texts.

    Attributes:
        schema: a JSON schema, as canonical JSON text; empty for a choice.
        choices: the texts to choose from; empty for a schema.
    """

    schema: str = ""
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, schema: Mapping[str, Any] | None, choices: Sequence[str] | None) -> Shape | None:
        """The shape that the `schema=` and `choices=` of a call ask for; None if neither.

        Raises:
            ConfigError: both are given, or one of them is not usable.
        """
        if schema is not None and choices is not None:
            raise ConfigError("a typed call takes schema= or choices=, not both")
        if choices is not None:
            labels = tuple(choices)
            if not labels or not all(isinstance(label, str) and label for label in labels):
                raise ConfigError(f"choices= must be texts, at least one; got {choices!r:.200}")
            if len(set(labels)) != len(labels):
                raise ConfigError(f"choices= holds the same text twice: {choices!r:.200}")
            return cls(choices=labels)
        if schema is None:
            return None
        if not isinstance(schema, dict):
            raise ConfigError(f"schema= must be a JSON schema object; got {schema!r:.200}")
        shape = cls(schema=json.dumps(schema, sort_keys=True))
        shape.constraint()
        return shape

    def constraint(self) -> dict[str, Any]:
        """Keyword arguments for vLLM's `StructuredOutputsParams`.

        Raises:
            ConfigError: the schema holds something that can't be enforced.
        """
        return dict(_constraint(self))

    def read(self, text: str, *, cut: bool) -> Any:
        """The value a reply stands for.

        Args:
            text: the reply.
            cut: whether `max_tokens` ended it.

        Raises:
            ModelError: the reply is no such value, which happens when it was cut off.
        """
        if self.choices:
            if text not in self.choices:
                raise ModelError(f"the reply {text!r:.100} is none of the choices")
            return text
        try:
            return json.loads(text)
        except ValueError as error:
            why = "was cut off at max_tokens; allow it more" if cut else f"is no JSON ({error})"
            raise ModelError(f"the typed reply {why}: {text!r:.200}") from error


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
        except (ValueError, TypeError, RuntimeError) as error:
            raise ConfigError(f"schema= can't be enforced: {error}") from error
        wanted = json_schema(shape.schema)
    return tuple(adapter.format_output_type(wanted).items())
