"""One call to the sub-LM: what goes over the bridge, and how its answer is read.

A typed answer that can't be used is asked for once more, with what was wrong with it.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from .errors import BadReply
from .schemas import Kind, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable

# Longest reply of a second try where the first was cut off and its length is not known.
_MORE_TOKENS = 1024


class Label(str):
    """A label, and so a str, that knows how sure the sub-LM was of it.

    Attributes:
        score: its probability among the labels, from 0 to 1.
        scores: the probability of every label, as a dict.
    """

    score: float
    scores: dict[str, float]

    def __new__(cls, label: str, scores: dict[str, float]) -> Label:
        """Mark `label` with the scores of all labels."""
        made = super().__new__(cls, label)
        made.scores = scores
        made.score = scores[label]
        return made

    def __repr__(self) -> str:
        return f"<{str.__repr__(self)} {self.score:.2f}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return Label, (str(self), self.scores)


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an answer: free text, a kind, or one of several choices.

    Attributes:
        kind: the kind, or None.
        choices: what each label stands for, or None.
        scores: whether the label comes with the scores of all labels.
        meanings: what each label means, in words, or None.
    """

    kind: Kind | None = None
    choices: dict[str, Any] | None = None
    scores: bool = False
    meanings: tuple[str, ...] | None = None

    @classmethod
    def of(cls, schema: Any, choices: Any, *, scores: bool = False) -> Form:
        """The form that the `schema=` and `choices=` of a call ask for.

        Choices may be a mapping from labels to what they mean.

        Raises:
            TypeError: one of them can't be used.
        """
        if isinstance(choices, (str, bytes)):
            raise TypeError('choices is a list of labels, such as ["yes", "no"], not a string')
        return cls(
            None if schema is None else kind_of(schema),
            None if choices is None else _labels(choices),
            scores,
            tuple(map(str, choices.values())) if isinstance(choices, Mapping) else None,
        )

    def read(self, answer: Any) -> Any:
        """The value an answer of the host stands for.

        Raises:
            ValueError: it is no such value.
        """
        if self.scores:
            return Label(answer["value"], answer["scores"])
        if self.choices is not None:
            return self.choices.get(answer, answer)
        return answer if self.kind is None else self.kind.read(answer)


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        prompt: the question.
        text: what it is about, or None.
        form: the form of its answer.
        max_tokens: longest answer, or None for the host's own limit.
        guide: what is asked of every item of a choice; the prompt is then a short question that
            follows the text. None for a call that stands alone.
    """

    prompt: str
    text: str | None
    form: Form
    max_tokens: int | None = None
    guide: str | None = None

    @property
    def params(self) -> dict[str, Any]:
        """What goes over the bridge."""
        form = self.form
        params: dict[str, Any] = {
            "prompt": self.prompt,
            "text": self.text,
            "schema": None if form.kind is None else form.kind.schema,
            "choices": None if form.choices is None else list(form.choices),
            "max_tokens": self.max_tokens,
        }
        if form.scores:
            params["scores"] = True
        if self.guide is not None:
            params["guide"] = self.guide
            if form.meanings is not None:
                params["meanings"] = list(form.meanings)
        return params

    def read(self, answer: Any) -> Any:
        """The value of the host's answer.

        Raises:
            BadReply: it is no value of the form asked for.
        """
        try:
            return self.form.read(answer)
        except ValueError as error:
            raise BadReply(
                f"the answer {answer!r:.200} is not what was asked for: {_words(error)}"
            ) from None

    def again(self, error: BadReply) -> Call:
        """The call to make after an answer that could not be used."""
        if not error.cut:
            said = f"An earlier answer could not be used: {error} Answer correctly."
            return replace(self, prompt=f"{self.prompt}\n\n{said}")
        longest = max(error.tokens, self.max_tokens or 0)
        return replace(
            self,
            prompt=f"{self.prompt}\n\nAn earlier answer was too long. Be brief.",
            max_tokens=2 * longest if longest else _MORE_TOKENS,
        )


def _labels(choices: Iterable[Any]) -> dict[str, Any]:
    named = typing.get_args(choices) or choices
    return {str(one.value if isinstance(one, Enum) else one): one for one in named}


def _words(error: ValueError) -> str:
    # What pydantic says of its own accord takes many lines, with addresses of web pages.
    details = getattr(error, "errors", None)
    if not callable(details):
        return f"{error}."
    found = ("".join(f"[{part!r}]" for part in one["loc"]) + f" {one['msg']}" for one in details())
    return "; ".join(f"it{one}" for one in found) + "."
