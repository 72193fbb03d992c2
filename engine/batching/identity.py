"""When two requests are the same: the key of memo and single flight."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from outcore.models.engine import Asked, TokenPrompt

if TYPE_CHECKING:
    from outcore.models.engine import Request

# Part of every key: raise it when what stands between a question and its token ids changes.
_LAYOUT = b"outcore 2"


def identity(model: str, request: Request) -> bytes | None:
    """Digest of everything that decides a reply; None for a reply left to chance.

    Args:
        model: stands for the weights; see `Engine.digest`.
        request: priority and replica don't count.
    """
    if request.temperature > 0 and request.seed is None:
        return None
    digest = hashlib.sha256(_LAYOUT)
    for part in _parts(model, request):
        # Lengths keep parts from running into one another.
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.digest()


def _parts(model: str, request: Request) -> list[bytes]:
    prompt = request.prompt
    if isinstance(prompt, Asked):
        parts = [
            b"common" if prompt.common else b"asked",
            _encoded(prompt.question),
            b"" if prompt.text is None else b"." + _encoded(prompt.text),
            repr(prompt.opening).encode(),
        ]
    elif isinstance(prompt, TokenPrompt):
        parts = [b"tokens", prompt.shared + prompt.own]
    else:
        parts = [b"chat", *(_encoded(f"{m.role}:{m.content}") for m in prompt.messages)]
    shape = request.shape
    settings = (
        request.max_tokens,
        request.temperature,
        request.seed if request.temperature > 0 else None,
        request.stop,
        request.only,
        None if shape is None else (shape.schema, shape.choices),
    )
    return [*parts, model.encode(), repr(settings).encode("utf-8", "surrogatepass")]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
