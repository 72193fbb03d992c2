"""The names that start child runs: `rlm_query` and `rlm_query_batched`."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from .batches import Pending, given_up_together, outcome, submitted, told
from .bridge import Bridge
from .queries import as_text, pairs
from .text import Text


class Recursion:
    """The calls, bound to one bridge. Their docstrings are what `help()` shows in a cell."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def rlm_query(self, prompt: Any, context: Any = None, model: str | None = None) -> str:
        """Hand a task over to a child that works as you do, and return its answer.

        rlm_query("Which clauses end the contract early?", context["lease.txt"])

        The child has a REPL of its own in which `context` is what it was given: a text, or a
        list or dict of them. It takes turns, searches, and asks the sub-LM, so give it what is
        too long or too hard for one llm_query. Without a context, the prompt is all it sees. A
        short context it reads directly. Children can't have children without end: at the last
        level this is llm_query(prompt, text=context). `model` is ignored.

        Raises:
            IncompleteAnswer: it ran out of budget; `.answer` is its best so far.
            BudgetExceeded: nothing is left of this run's budget to give.
            SubcallError: it failed; the message says why.
        """
        return str(self._bridge.call("rlm_query", _params(prompt, context)))

    def rlm_query_batched(
        self,
        prompts: Any,
        contexts: Any = None,
        *,
        return_exceptions: bool = False,
        model: str | None = None,
    ) -> list[Any]:
        """Start many children at once and return their answers in order.

        rlm_query_batched("Who signs?", [a, b, c])         one task on many contexts
        rlm_query_batched(["Who?", "When?"], text)         many tasks on one text or dict
        rlm_query_batched(prompts, contexts)               pairs, equally long

        All children run to their end, even where some fail. With return_exceptions=True a
        failed child's exception stands in its place.

        Raises:
            BatchError: some children failed; `.results` has the answers and the exceptions.
        """
        shared = isinstance(contexts, Text)
        given = pairs(prompts, str(contexts) if shared else contexts)
        pending: list[Pending] = []
        with given_up_together(pending):
            pending.extend(
                submitted(partial(self._bridge.submit, "rlm_query", _params(prompt, context)))
                for prompt, context in given
            )
            results = [outcome(one, str) for one in pending]
        return told(results, return_exceptions=return_exceptions)


def _params(prompt: Any, context: Any) -> dict[str, Any]:
    return {"prompt": as_text(prompt), "context": None if context is None else _plain(context)}


def _plain(value: Any) -> Any:
    """`value` as a text, list or dict that a frame can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, Text):
        return str(value)
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float)) else as_text(value)
