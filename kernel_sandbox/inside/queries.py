"""The names that ask models: `llm_query` and its kin, and `count_tokens`."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from .batches import Pending, given_up_together, outcome, submitted, told
from .bridge import Bridge
from .calls import Call, Form
from .dry_run.rehearsal import Rehearsal
from .errors import BadReply
from .record import Record
from .text import Text

_PIECE = 1 << 20
_ONE = (str, bytes, Mapping, Text)


class Queries:
    """The calls, bound to one bridge. Their docstrings are what `help()` shows in a cell."""

    def __init__(self, bridge: Bridge, rehearsal: Rehearsal) -> None:
        self._bridge = bridge
        self._rehearsal = rehearsal

    def llm_query(
        self,
        prompt: Any,
        text: Any = None,
        *,
        schema: Any = None,
        choices: Iterable[Any] | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
    ) -> Any:
        """Ask the sub-LM one question, about `text` where given, and return its answer.

        llm_query("Who is the captain?", text=piece)            -> str
        llm_query("Sentiment?", text=t, choices=["good", "bad"])  -> one of the choices
        llm_query("Who is it?", text=t, schema={"name": str, "age": int})  -> dict of these

        Put the slice in `text` and the question in `prompt`: questions on the same slice are
        then much faster. `schema` is fields with their types, a type such as list[str] or int,
        a JSON schema, or a pydantic class (the result is then an instance). `model` is ignored.

        Raises:
            PromptTooLong: with `.tokens` and `.room`; cut the text with slices().
            BudgetExceeded: no more calls in this run.
            BadReply: the answer did not fit schema or choices, and neither did a second one.
        """
        call = _call(prompt, text, Form.of(schema, choices), max_tokens)
        try:
            return call.read(self._rehearsal.ask(call.params))
        except BadReply as error:
            call = call.again(error)
        return call.read(self._rehearsal.ask(call.params))

    async def allm_query(
        self,
        prompt: Any,
        text: Any = None,
        *,
        schema: Any = None,
        choices: Iterable[Any] | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
    ) -> Any:
        """llm_query for asyncio: `await asyncio.gather(*[allm_query(q, t) for t in texts])`."""
        call = _call(prompt, text, Form.of(schema, choices), max_tokens)
        try:
            return call.read(await self._bridge.acall("llm_query", call.params))
        except BadReply as error:
            call = call.again(error)
        return call.read(await self._bridge.acall("llm_query", call.params))

    def llm_query_batched(
        self,
        prompts: Any,
        text: Any = None,
        *,
        schema: Any = None,
        choices: Iterable[Any] | None = None,
        max_tokens: int | None = None,
        return_exceptions: bool = False,
        model: str | None = None,
    ) -> list[Any]:
        """Ask many questions at once and return the answers in order.

        llm_query_batched(["Q1", "Q2"], text=piece)        many questions on one slice
        llm_query_batched("Summarise", text=pieces)        one question on many slices
        llm_query_batched(prompts, text=texts)             pairs, equally long

        All calls are made, even where some fail. With return_exceptions=True a failed call's
        exception stands in its place.

        Raises:
            BatchError: some calls failed; `.results` has the answers and the exceptions.
        """
        form = Form.of(schema, choices)
        calls = [_call(prompt, one, form, max_tokens) for prompt, one in pairs(prompts, text)]
        return self.batch(calls, return_exceptions=return_exceptions)

    def batch(self, calls: Sequence[Call], *, return_exceptions: bool = False) -> list[Any]:
        """Make many calls at once; their values in order.

        Raises:
            BatchError: some calls failed and `return_exceptions` is not set.
        """
        pending: list[Pending] = []
        submit = self._submit if len(calls) > 1 else self._rehearsal.submit
        with given_up_together(pending):
            pending.extend(submitted(partial(submit, call.params)) for call in calls)
            results = [outcome(one, call.read) for one, call in zip(pending, calls, strict=True)]
            again = [
                (at, calls[at].again(one))
                for at, one in enumerate(results)
                if isinstance(one, BadReply)
            ]
            second = len(pending)
            pending.extend(submitted(partial(self._submit, call.params)) for _, call in again)
            for (at, call), one in zip(again, pending[second:], strict=True):
                results[at] = outcome(one, call.read)
        return told(results, return_exceptions=return_exceptions)

    def _submit(self, params: dict[str, Any]) -> Future[Any]:
        return self._bridge.submit("llm_query", params)

    def count_tokens(self, text: Any) -> int:
        """Length of `text` in tokens of the sub-LM."""
        pending = [
            self._bridge.submit("count_tokens", {"text": piece}) for piece in _pieces(as_text(text))
        ]
        return sum(int(one.result()) for one in pending)


def as_text(value: Any) -> str:
    """`value` as the text a model reads: strings as they are, chat messages by their content.

    Raises:
        TypeError: `value` is None.
    """
    if isinstance(value, str):
        return value
    if value is None:
        raise TypeError("a prompt is text, and this one is None")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, Record):
        return value.line
    if isinstance(value, Mapping):
        # A chat message, or a passage.
        held = value.get("content", value.get("text"))
        if isinstance(held, str):
            return held
        return json.dumps(dict(value), ensure_ascii=False, default=str)
    # Lists that are read as they are used print no more than how long they are.
    lazy = isinstance(value, Sequence) and type(value).__str__ is object.__str__
    if lazy or isinstance(value, (list, tuple)):
        return "\n".join(as_text(one) for one in value)
    return str(value)


def _call(prompt: Any, text: Any, form: Form, max_tokens: Any) -> Call:
    return Call(
        as_text(prompt),
        None if text is None else as_text(text),
        form,
        None if max_tokens is None else int(max_tokens),
    )


def pairs(prompts: Any, text: Any) -> list[tuple[Any, Any]]:
    """Each prompt with its text; either may be given once for all.

    Raises:
        ValueError: both are many, and not equally many.
    """
    one_prompt = isinstance(prompts, _ONE)
    many_texts = isinstance(text, Iterable) and not isinstance(text, _ONE)
    if many_texts:
        texts: Sequence[Any] = list(text)
        asked = [prompts] * len(texts) if one_prompt else list(prompts)
        if len(asked) != len(texts):
            raise ValueError(
                f"{len(asked)} prompts and {len(texts)} texts; give one of them once, or as many"
            )
        return list(zip(asked, texts, strict=True))
    return [(one, text) for one in ([prompts] if one_prompt else prompts)]


def _pieces(text: str) -> list[str]:
    pieces = []
    while len(text) > _PIECE:
        end = text.rfind("\n", 1, _PIECE) + 1 or _PIECE
        pieces.append(text[:end])
        text = text[end:]
    return [*pieces, text]
