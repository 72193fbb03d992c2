"""Where the labels of records come from: a field that holds them, or the judgement of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from outcore.engine.plans.wording import mentions

if TYPE_CHECKING:
    from outcore.engine.plans.scene import Scene
    from outcore.kernel_sandbox.inside.layout import Field

_OTHER = "other"
_NEITHER = "none of these"
_GUIDANCE_CHARS = 600


@dataclass(frozen=True, slots=True)
class Labelling:
    """How each record gets its label.

    Attributes:
        field: the field that is the label, or that has to be read for it.
        labels: what there is to choose from; empty where the field is the label.
        named: the labels that the question names, in its order.
        task: what the labels are about, for whoever judges.
        nullable: whether a record's value may be None, as in JSON.
    """

    field: Field
    labels: tuple[str, ...] = ()
    named: tuple[str, ...] = ()
    task: str = ""
    nullable: bool = False

    @classmethod
    def of(cls, scene: Scene, guessed: tuple[str, ...]) -> Labelling | None:
        """Work out the labels; None where the question is about none.

        Args:
            scene: the question and the context.
            guessed: labels that the root sees in the question, where nothing lists them.
        """
        if scene.about_labels:
            labels, named = scene.labels, scene.named
        else:
            guessed = tuple(one for one in guessed if mentions(scene.worded, one))
            labels = named = tuple(one for one in guessed if scene.field(one) is None)
        holding = _holding(scene, labels)
        if holding is not None:
            known = {value.casefold(): value for value in holding.values}
            told = tuple(known[one.casefold()] for one in named)
            return cls(holding, named=told, nullable=scene.nullable)
        if not labels or scene.text_field is None:
            return None
        other = _OTHER if labels[0].casefold() != _OTHER else _NEITHER
        every = (*labels, other) if len(labels) == 1 else labels
        task = scene.guidance(every)[:_GUIDANCE_CHARS]
        return cls(scene.text_field, every, named, task, scene.nullable)

    @property
    def judged(self) -> bool:
        """Whether a model has to read the field."""
        return bool(self.labels)

    @property
    def known(self) -> tuple[str, ...]:
        """All labels that there can be, as far as that is known."""
        return self.labels or self.field.values

    def code(self) -> list[str]:
        """The lines that make `labels`, one for each of `rows`."""
        name = self.field.name
        if not self.labels:
            # What is null is no label.
            told = f"None if r[{name!r}] is None else " if self.nullable else ""
            return [f"labels = [{told}str(r[{name!r}]) for r in rows]"]
        task = f",\n    task={self.task!r}" if self.task else ""
        text = f"r[{name!r}] or ''" if self.nullable else f"r[{name!r}]"
        return [f"labels = llm_classify([{text} for r in rows], {list(self.labels)!r}{task})"]


def _holding(scene: Scene, labels: tuple[str, ...]) -> Field | None:
    """The field whose values the labels are."""
    for field in scene.fields:
        values = {value.casefold() for value in field.values}
        if labels and values.issuperset(label.casefold() for label in labels):
            return field
    return None
