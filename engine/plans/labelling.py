"""Where the labels of records come from: a field that holds them, or the judgement of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outcore.engine.plans.scene import Scene
    from outcore.kernel_sandbox.inside.layout import Field

_OTHER = "other"
_GUIDANCE_CHARS = 600


@dataclass(frozen=True, slots=True)
class Labelling:
    """How each record gets its label.

    Attributes:
        field: the field that is the label, or that has to be read for it.
        labels: what there is to choose from; empty where the field is the label.
        task: what the labels are about, for whoever judges.
    """

    field: Field
    labels: tuple[str, ...] = ()
    task: str = ""

    @classmethod
    def of(cls, scene: Scene, labels: tuple[str, ...], of: tuple[str, ...]) -> Labelling | None:
        """Work out the labels from those that the root has named.

        Args:
            scene: the question and the context.
            labels: all labels there are, as the root thinks.
            of: the labels that the question is about.

        Returns:
            None where nothing that was named is a label or a field.
        """
        names = tuple(dict.fromkeys(one for one in (*of, *labels) if scene.says(one)))
        fields = [field for name in names if (field := _named(scene, name))]
        if fields:
            return cls(fields[0])
        names = tuple(one for one in names if not _is_value_of_other(scene, one))
        if not names:
            return None
        for field in scene.fields:
            values = {value.casefold() for value in field.values}
            if field.type == "label" and values.issuperset(name.casefold() for name in names):
                return cls(field)
        judged = scene.text_field
        if judged is None:
            return None
        listed = [one for one in scene.listings if one.holds(names) * 2 > len(names)]
        every = max(listed, key=lambda one: one.holds(names)).items if listed else names
        if len(every) == 1:
            every = (*every, _OTHER)
        return cls(judged, every, scene.guidance(every)[:_GUIDANCE_CHARS])

    def names(self, value: str) -> bool:
        """Whether `value` is one of the labels, or the field's name."""
        known = (*self.labels, self.field.name)
        return value.casefold() in (one.casefold() for one in known)

    def named(self, of: tuple[str, ...]) -> tuple[str, ...]:
        """The labels among `of`, as they are written; none where all there are are named."""
        known = self.labels or self.field.values
        spelled = {one.casefold(): one for one in known}
        found = tuple(spelled[one.casefold()] for one in of if one.casefold() in spelled)
        return () if len(found) > 2 or len(found) == len(known) != 2 else found

    def code(self) -> list[str]:
        """The lines that make `labels`, one for each of `rows`."""
        name = self.field.name
        if not self.labels:
            return [f"labels = [str(r[{name!r}]) for r in rows]"]
        task = f",\n    task={self.task!r}" if self.task else ""
        return [f"labels = llm_classify([r[{name!r}] for r in rows], {list(self.labels)!r}{task})"]


def _named(scene: Scene, name: str) -> Field | None:
    """The field that a word names, also in the plural."""
    field = scene.field(name)
    if field is None and name.casefold().endswith("s"):
        field = scene.field(name[:-1])
    return field


def _is_value_of_other(scene: Scene, name: str) -> bool:
    """Whether a number or a date was named, which is no label to judge by."""
    return any(char.isdigit() for char in name) and scene.field_with(name) is not None
