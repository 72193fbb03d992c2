"""The names that ask models and the index: `llm_query` and its kin, `search`, `count_tokens`."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from .batches import Pending, given_up_together, outcome, submitted, told
from .bridge import Bridge
from .calls import Call, Form
from .errors import BadReply
from .rehearsal import Rehearsal

_PIECE = 1 << 20


class Hit(dict[str, Any]):
    """One passage found by `search`: `hit.document`, `hit.offset`, `hit.score`, `hit.text`.

    The same fields are there as keys, `hit["text"]`. `offset` counts characters from the
    start of the document.
    """

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"a hit has {', '.join(self)}, not {name!r}") from None

    def __repr__(self) -> str:
        return f"{self['document']} @ {self['offset']} (score {self['score']:.1f})\n{self['text']}"

    __str__ = __repr__


class Hits(list[Hit]):
    """The passages of one `search`, best first; prints them all."""

    def __repr__(self) -> str:
        if not self:
            return "no passage found"
        return "\n\n".join(f"[{number}] {hit!r}" for number, hit in enumerate(self))

    __str__ = __repr__


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

    def search(self, query: Any, k: int = 5) -> Hits:
        """Find the `k` passages of the context that fit the words of `query` best (BM25).

        Each hit has .document, .offset (characters), .score and .text; print(search("...")).
        """
        found = self._bridge.call("search", {"query": as_text(query), "k": max(1, int(k))})
        return Hits(Hit(one) for one in found)

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
    if isinstance(value, Mapping):
        # A chat message, or a passage.
        held = value.get("content", value.get("text"))
        return held if isinstance(held, str) else json.dumps(value, default=str)
    if isinstance(value, (list, tuple)):
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
    one_prompt = isinstance(prompts, (str, bytes, Mapping))
    many_texts = isinstance(text, Iterable) and not isinstance(text, (str, bytes, Mapping))
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
