"""What a call out of the sandbox can raise, under the names the host gives its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class SubcallError(Exception):
    """A call to a model or to the host could not be made; the message says why."""


class ModelError(SubcallError):
    """The sub-LM failed."""


class PromptTooLong(ModelError):
    """The prompt does not fit the sub-LM. `tokens` is its length, `room` what fits."""

    tokens: int
    room: int


class BadReply(ModelError):
    """The sub-LM's typed answer can't be used, also after it was asked once more."""

    cut: bool = False
    tokens: int = 0


class BudgetExceeded(SubcallError):
    """The run has spent its calls, tokens or seconds: answer with what is known."""


class IncompleteAnswer(SubcallError):
    """A child run was at the end of its budget before it was sure. `answer` is its best so far."""

    answer: str


class BatchError(SubcallError):
    """Some calls of a batch failed; the others finished.

    Attributes:
        results: one entry per prompt, in order: the answer, or the exception of that call.
    """

    def __init__(self, results: Sequence[Any]) -> None:
        failed = [(i, r) for i, r in enumerate(results) if isinstance(r, BaseException)]
        index, first = failed[0]
        super().__init__(
            f"{len(failed)} of {len(results)} calls failed; the first is number {index}: "
            f"{type(first).__name__}: {str(first).rstrip('.')}. What the calls came to is in "
            "`.results` of this exception; return_exceptions=True returns it instead of raising."
        )
        self.results = list(results)


_KINDS: dict[str, type[SubcallError]] = {
    kind.__name__: kind
    for kind in (
        SubcallError,
        ModelError,
        PromptTooLong,
        BadReply,
        BudgetExceeded,
        IncompleteAnswer,
    )
}


def revive(report: Mapping[str, Any]) -> SubcallError:
    """Exception for the `error` part of a frame; a name unknown here becomes a new class."""
    name = str(report.get("type", "SubcallError"))
    kind = _KINDS.get(name)
    if kind is None:
        kind = _KINDS[name] = type(name, (SubcallError,), {"__doc__": "An error of the host."})
    error = kind(str(report.get("message", "")))
    for key, value in dict(report.get("details") or {}).items():
        setattr(error, key, value)
    return error
