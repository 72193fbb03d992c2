"""Sub-calls: from what a kernel asks for to what the sub-LM answers.

Everything that arrives here comes from code that is not trusted. Each parameter is checked,
and no more than the run's budget can be had.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outcore.engine.speculation import Speculation
from outcore.errors import ConfigError, OutcoreError
from outcore.models.engine import Asked, Priority, Request
from outcore.models.typed import Shape

if TYPE_CHECKING:
    from outcore.engine.batcher import Batcher
    from outcore.engine.budget import Spending

_SHOWN_QUESTION = 200
_SHOWN_REPLY = 500


@dataclass(frozen=True, slots=True)
class _SubCall:
    """A call as it was asked for."""

    asked: Asked
    shape: Shape | None
    max_tokens: int

    @property
    def request(self) -> Request:
        """What the batcher gets."""
        return Request(self.asked, self.max_tokens, shape=self.shape, priority=Priority.SUB_CALL)


class SubCalls:
    """One run's way to the sub-LM.

    Args:
        batcher: the way to the engine.
        spending: the run's account.
        max_tokens: longest answer of a call that does not say.

    Attributes:
        log: what became of each call since it was last taken.
    """

    def __init__(self, batcher: Batcher, spending: Spending, max_tokens: int) -> None:
        self.log: list[dict[str, Any]] = []
        self._batcher = batcher
        self._spending = spending
        self._max_tokens = max_tokens
        self._speculation = Speculation(batcher, spending)

    async def ask(self, params: dict[str, Any]) -> Any:
        """Answer one call.

        Raises:
            OutcoreError: it can't be made, or failed; the message goes to the code that asked.
        """
        call = self._read(params)
        self._spending.charge_call()
        began = time.monotonic()
        try:
            generation = await self._speculation.claim(call.request)
            if generation is None:
                generation = await self._batcher.submit(
                    call.request, self._spending.sub, self._spending.check_call
                )
        except OutcoreError as error:
            self.log.append(_entry(call) | {"error": f"{type(error).__name__}: {error}"})
            raise
        self._spending.sub.add(generation)
        self.log.append(
            _entry(call)
            | {
                "origin": generation.origin,
                "tokens_in": generation.tokens_in,
                "tokens_cached": generation.tokens_cached,
                "tokens_out": generation.tokens_out,
                "seconds": round(time.monotonic() - began, 3),
                "reply": generation.text[:_SHOWN_REPLY],
            }
        )
        if call.shape is not None:
            return call.shape.read(generation.text, cut=generation.finish == "length")
        return generation.text

    def foresee(self, calls: Any) -> int:
        """Start calls that a dry run foresaw; returns how many.

        Args:
            calls: parameters of each, or None where they could not be known.

        Raises:
            ConfigError: it is no such list.
        """
        if not isinstance(calls, list):
            raise ConfigError("calls must be a list")
        requests: list[Request | None] = []
        for params in calls:
            try:
                requests.append(self._read(params).request if isinstance(params, dict) else None)
            except ConfigError:
                # The code hears of it when it makes the call.
                requests.append(None)
        return self._speculation.foresee(requests)

    def end_cell(self) -> list[dict[str, Any]]:
        """Drop the guesses that the cell has not used; returns the log since the last cell."""
        self._speculation.end()
        taken, self.log = self.log, []
        return taken

    def _read(self, params: dict[str, Any]) -> _SubCall:
        question = text_of(params, "prompt")
        text = text_of(params, "text") if params.get("text") is not None else None
        shape = Shape.of(params.get("schema"), params.get("choices"))
        max_tokens = params.get("max_tokens") or self._max_tokens
        if type(max_tokens) is not int or max_tokens < 1:
            raise ConfigError(
                f"max_tokens is {max_tokens!r:.50}; it must be a whole number above 0"
            )
        return _SubCall(Asked(question, text), shape, max_tokens)


def text_of(params: dict[str, Any], name: str) -> str:
    """A parameter that must be text.

    Raises:
        ConfigError: it is missing or something else.
    """
    value = params.get(name)
    if not isinstance(value, str):
        raise ConfigError(f"{name} must be text, not {type(value).__name__}")
    # Python strings, and so a kernel's, may hold halves of characters that no file can.
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _entry(call: _SubCall) -> dict[str, Any]:
    question, text = call.asked.question, call.asked.text
    data = f"{text or ''}\0{question}".encode()
    return {
        "question": question[:_SHOWN_QUESTION],
        "digest": hashlib.sha256(data).hexdigest()[:16],
        "chars": len(question) + len(text or ""),
    }
