"""Every error outcore raises on purpose, drawn as a tree.

    OutcoreError
    ├── ConfigError          a setting, flag or name that can't be used
    ├── BadContext           the text to be read is missing, empty or not text
    ├── WeightsError         weights are missing, incomplete or have the wrong hash
    ├── ModelError           an engine failed: died, out of memory, prompt too long
    │   ├── PromptTooLong    carries the numbers
    │   ├── BadReply         a typed reply is no value of its type
    │   ├── EngineDied       its process is gone
    │   └── ModelUnavailable it did not answer this time; another try may help
    ├── SandboxUnavailable   this machine can't isolate a kernel as asked
    ├── SandboxError         a kernel failed: died, out of memory, out of time
    ├── BudgetExceeded       a run has spent its calls, tokens or seconds
    └── IncompleteAnswer     a child run ended before it was sure; carries its best answer

A message says what failed, where, and what to do about it. What a cell's own code raises
is output for the root model, not an error of this tree.
"""

from __future__ import annotations

__all__ = [
    "BadContext",
    "BadReply",
    "BudgetExceeded",
    "ConfigError",
    "EngineDied",
    "IncompleteAnswer",
    "ModelError",
    "ModelUnavailable",
    "OutcoreError",
    "PromptTooLong",
    "SandboxError",
    "SandboxUnavailable",
    "WeightsError",
]


class OutcoreError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(OutcoreError):
    """A setting, flag or name can't be used."""


class BadContext(OutcoreError):
    """The text to be read is missing, empty, not text, or changed while it was read."""


class WeightsError(OutcoreError):
    """Model weights are missing, incomplete or differ from their published hash."""


class ModelError(OutcoreError):
    """An engine failed: it died, ran out of memory, or can't serve the request."""


class EngineDied(ModelError):
    """An engine's process is gone: killed, out of memory, crashed, or ended because it hung."""


class ModelUnavailable(ModelError):
    """An engine did not answer this time: overloaded, restarting, a connection lost.

    Attributes:
        away: whether it is the engine that is away or has too much to do, which may pass, and not
            this one request that failed.
        after: seconds after which it wants to be asked again, where it said so.
    """

    def __init__(self, message: str, *, away: bool = False, after: float | None = None) -> None:
        super().__init__(message)
        self.away = away
        self.after = after


class PromptTooLong(ModelError):
    """A prompt and its answer don't fit the model's window.

    Attributes:
        tokens: length of the prompt, in tokens.
        room: most tokens a prompt may have here, after the answer's share.
    """

    def __init__(self, message: str, *, tokens: int, room: int) -> None:
        super().__init__(message)
        self.tokens = tokens
        self.room = room


class BadReply(ModelError):
    """A typed reply is no value of the type asked for; asked again, a model may do better.

    Attributes:
        cut: whether the reply was cut off at its longest.
        tokens: its length in tokens where it was cut off, else 0.
    """

    def __init__(self, message: str, *, cut: bool = False, tokens: int = 0) -> None:
        super().__init__(message)
        self.cut = cut
        self.tokens = tokens


class SandboxUnavailable(OutcoreError):
    """This machine can't isolate a kernel as asked; the message holds the fix."""


class SandboxError(OutcoreError):
    """A kernel failed: it died, used too much memory or time, or broke the bridge's rules."""


class BudgetExceeded(OutcoreError):
    """A run has spent its share of calls, tokens or seconds."""


class IncompleteAnswer(OutcoreError):
    """A child run ended before its root was sure of the answer.

    Attributes:
        answer: the best it had; may be empty.
    """

    def __init__(self, message: str, *, answer: str) -> None:
        super().__init__(message)
        self.answer = answer
