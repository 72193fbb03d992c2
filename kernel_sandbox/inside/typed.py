"""One typed sub-call per item: `llm_map`, `llm_filter`, `llm_classify` and `llm_extract`."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .calls import Call, Form
from .queries import Queries, as_text
from .results import Results
from .text import Text

_YES = "yes"
_NO = "no"
_TASK = "Give each text the label that fits it best."
_WHICH = "Which of the labels fits this text best?"
# A longer question is not put again after each item.
_SHORT_CHARS = 200
_ANSWER = "What is the answer for this text?"


class Typed:
    """The calls, made through `Queries`. Their docstrings are what `help()` shows in a cell."""

    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    def llm_map(
        self,
        items: Any,
        task: Any,
        schema: Any = None,
        choices: Any = None,
        max_tokens: int | None = None,
        return_exceptions: bool = False,
    ) -> list[Any]:
        """Ask the sub-LM the same of every item, all at once, and return the answers in order.

        llm_map(slices(), "Which people are named?", schema=list[str])     -> list of lists
        llm_map(rows, "Who complains, and of what?", {"who": str, "what": str})  -> list of dicts
        llm_map(reviews, "Is the buyer content?", choices=["yes", "no"])

        Items are texts, records or anything else that prints well; of a dict, its values. The
        task may also be a function that makes an item's whole question. Without schema or
        choices the answers are strings. An answer that does not fit is asked for once more.

        Raises:
            BatchError: some items failed; `.results` has the answers and the exceptions. With
                return_exceptions=True they are returned, an exception in its item's place.
        """
        if _swapped(items, task):
            items, task = task, items
        every = list(items.values() if _named(items) else _many(items))
        calls = _calls(every, task, Form.of(schema, choices), max_tokens)
        return self._queries.batch(calls, return_exceptions=return_exceptions)

    def llm_filter(self, items: Any, condition: Any, max_tokens: int | None = None) -> Any:
        """The items for which the sub-LM says yes, in order; one sub-call each, all at once.

        llm_filter(slices(), "Does it mention a date?")
        llm_filter(rows, "the sender is angry")

        The condition is a yes-or-no question about one item, or a statement. Of a dict, its
        values are judged and a dict is returned.

        Raises:
            BatchError: some items could not be judged; `.results` has "yes", "no" and the
                exceptions.
        """
        if _swapped(items, condition):
            items, condition = condition, items
        named = _named(items)
        every = list(items.items()) if named else [(None, one) for one in _many(items)]
        asked = as_text(condition).strip()
        if not asked.endswith("?"):
            asked = f"Is it true of the text that {asked.rstrip('.')}?"
        form = Form.of(None, [_YES, _NO])
        calls = _guided([one for _, one in every], asked, _again(asked), form, max_tokens)
        verdicts = self._queries.batch(calls)
        kept = [pair for pair, verdict in zip(every, verdicts, strict=True) if verdict == _YES]
        return dict(kept) if named else Results(one for _, one in kept)

    def llm_classify(
        self,
        items: Any,
        labels: Any,
        task: Any = None,
        with_scores: bool = False,
        return_exceptions: bool = False,
    ) -> Any:
        """Give each item one of the labels; one sub-call each, all at once.

        llm_classify(reviews, ["good", "bad"])                  -> ["good", "bad", ...]
        llm_classify(text, {"spam": "unwanted advertising", "ham": "anything else"})  -> "ham"

        One text or record (a dict is one) gives one label, a list gives a list. Labels are a
        list, or a dict of label to what it means. `task` is the instruction that all items share:
        what the labels are about, such as "Which feeling prevails in the text?".

        With with_scores=True each label is a str that also has .score (its probability, 0 to 1)
        and .scores (of all labels, a dict).

        Raises:
            BatchError: some items of a list failed; `.results` has the labels and exceptions.
        """
        if isinstance(labels, str):
            labels = [one.strip() for one in labels.replace("\n", ",").split(",") if one.strip()]
        form = Form.of(None, labels, scores=with_scores)
        if len(form.choices or ()) < 2:
            raise ValueError(f'labels are two or more, such as ["good", "bad"], not {labels!r}')
        guide = _TASK if task is None else as_text(task).strip()
        question = _WHICH if task is None or not _yes_or_no(form) else _again(guide)
        one = _single(items)
        calls = _guided([items] if one else list(items), guide, question, form, None)
        return self._answers(calls, one, return_exceptions)

    def llm_extract(
        self,
        text: Any,
        schema: Any,
        task: Any = None,
        max_tokens: int | None = None,
        return_exceptions: bool = False,
    ) -> Any:
        """Read typed values out of a text, or out of each of a list of texts.

        llm_extract(text, {"name": str, "age": int})            -> {"name": "Ann", "age": 41}
        llm_extract(texts, list[str], "all cities named")       -> a list of lists

        The schema is fields with their types, or with what they mean ({"name": "full name of
        the tenant"}), a type, a JSON schema, or a pydantic class. `task` says what to look for.

        Raises:
            BadReply: no fitting answer came, also when asked once more.
            BatchError: some texts of a list failed; `.results` has the values and exceptions.
        """
        if isinstance(schema, str) and isinstance(text, (type, dict)):
            text, schema = schema, text
        form = Form.of(schema, None)
        asked = "Extract this from the text above." if task is None else as_text(task)
        one = _single(text)
        calls = _calls([text] if one else list(text), asked, form, max_tokens)
        return self._answers(calls, one, return_exceptions)

    def _answers(self, calls: Sequence[Call], one: bool, return_exceptions: bool) -> Any:
        results = self._queries.batch(calls, return_exceptions=return_exceptions or one)
        if not one:
            return results
        if isinstance(results[0], Exception) and not return_exceptions:
            raise results[0]
        return results[0]


def _calls(items: Sequence[Any], task: Any, form: Form, max_tokens: int | None) -> list[Call]:
    most = None if max_tokens is None else int(max_tokens)
    if callable(task):
        return [Call(as_text(task(one)), None, form, most) for one in items]
    question = as_text(task)
    return [Call(question, _text(number, one), form, most) for number, one in enumerate(items)]


def _guided(
    items: Sequence[Any], guide: str, question: str, form: Form, max_tokens: int | None
) -> list[Call]:
    most = None if max_tokens is None else int(max_tokens)
    return [
        Call(question, _text(number, one), form, most, guide) for number, one in enumerate(items)
    ]


def _again(guide: str) -> str:
    return guide if len(guide) <= _SHORT_CHARS else _ANSWER


def _yes_or_no(form: Form) -> bool:
    labels = sorted(label.casefold() for label in form.choices or ())
    return labels == [_NO, _YES] and form.meanings is None


def _text(number: int, item: Any) -> str:
    """The text of an item: a record keeps its fields, where `as_text` takes its text alone."""
    if item is None:
        raise TypeError(f"item {number} is None; leave out such items")
    if hasattr(item, "model_dump_json"):
        return str(item.model_dump_json())
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        item = dataclasses.asdict(item)
    if isinstance(item, Mapping) and len(item) > 1:
        return json.dumps(dict(item), ensure_ascii=False, default=str)
    return as_text(item)


def _named(items: Any) -> bool:
    return isinstance(items, Mapping)


def _single(items: Any) -> bool:
    return isinstance(items, (str, bytes, Mapping, Text)) or not isinstance(items, Iterable)


def _many(items: Any) -> Iterable[Any]:
    return [items] if _single(items) else items


def _swapped(items: Any, task: Any) -> bool:
    return (isinstance(items, str) or callable(items)) and not (_single(task) or callable(task))
