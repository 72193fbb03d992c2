"""Typed replies of OpenAI-compatible servers, in what each of them enforces."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outcore.models.typed import Shape

# The field that a choice is wrapped in, and most tokens that its wrapping takes.
_ANSWER = "answer"
_WRAPPING_TOKENS = 24


def held_to(shape: Shape, max_tokens: int, *, vllm: bool) -> dict[str, Any]:
    """What a request's body needs so that the reply has a shape.

    Args:
        shape: the shape.
        max_tokens: most tokens of the reply.
        vllm: whether the server is vLLM's.
    """
    constraint = shape.constraint()
    if "json" in constraint:
        return _schema(constraint["json"])
    if vllm:
        return {"structured_outputs": constraint}
    # What other servers enforce is a schema with an object at its root.
    wrapped = {
        "type": "object",
        "properties": {_ANSWER: {"type": "string", "enum": list(shape.choices)}},
        "required": [_ANSWER],
        "additionalProperties": False,
    }
    return _schema(wrapped) | {"max_tokens": max_tokens + _WRAPPING_TOKENS}


def chosen(text: str, choices: tuple[str, ...]) -> str:
    """The choice that a reply stands for, or the reply itself where it stands for none."""
    said = text
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        said = str(json.loads(text)[_ANSWER])
    if said in choices:
        return said
    # A server that enforces nothing may answer as people do.
    plain = said.strip().strip("\"'.`*").casefold()
    fitting = [choice for choice in choices if choice.casefold() == plain]
    return fitting[0] if len(fitting) == 1 else text


def _schema(schema: Any) -> dict[str, Any]:
    named = {"name": "reply", "schema": schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": named}}
