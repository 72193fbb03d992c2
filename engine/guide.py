"""Choices about many items, laid out so that all of them share one prefill: [guide][item].

A model leans to the labels that stand first or last. So the labels stand in one of two
orders, forward or reversed, and the hash of an item's text decides which: over many items no
label gains by its place, and an item is always read with the same order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from outcore.errors import ConfigError
from outcore.models.engine import Asked
from outcore.models.typed import as_said, is_yes_or_no

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Guide:
    """What all items of a choice have in common.

    Attributes:
        task: what to judge by.
        labels: what there is to choose from.
        meanings: what each label means; empty where the labels say it themselves.
    """

    task: str
    labels: tuple[str, ...]
    meanings: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: str, labels: tuple[str, ...], meanings: Any) -> Guide:
        """The guide that a call comes with.

        Raises:
            ConfigError: the meanings are not as many texts as there are labels.
        """
        if meanings is None:
            return cls(task, labels)
        if (
            not isinstance(meanings, list)
            or len(meanings) != len(labels)
            or not all(isinstance(one, str) for one in meanings)
        ):
            raise ConfigError(f"meanings must be {len(labels)} texts, one for each label")
        # As all texts of a kernel, they may hold halves of characters.
        whole = (one.encode("utf-8", "replace").decode() for one in meanings)
        return cls(task, labels, tuple(whole))

    def asked(self, item: str, question: str) -> Asked:
        """The choice for one item.

        Args:
            item: its text.
            question: short, and asked after it.
        """
        told = _told(self, reverse=not self._judges_truth and _turned(item))
        return Asked(f"Text: {item.rstrip()}\n{question}", told, common=True)

    @property
    def _judges_truth(self) -> bool:
        """Whether the answers are Yes and No, which no list of labels needs to explain."""
        return is_yes_or_no(self.labels) and not self.meanings


def _turned(item: str) -> bool:
    digest = hashlib.blake2b(item.encode("utf-8", "surrogatepass"), digest_size=1)
    return bool(digest.digest()[0] & 1)


# One object for all items that it is told to.
@lru_cache(maxsize=64)
def _told(guide: Guide, *, reverse: bool) -> str:
    task = guide.task.strip()
    if guide._judges_truth:
        return f"{task}\nEach text is judged by itself. Answer with one word, Yes or No."
    return (
        f"{task}\nLabels:{_listed(guide, reverse=reverse)}Each text gets one label. "
        "Answer with the label alone, nothing else."
    )


def _listed(guide: Guide, *, reverse: bool) -> str:
    labels = as_said(guide.labels)
    # A label with a comma would read as two.
    if not guide.meanings and not any("," in label for label in labels):
        return f" {', '.join(_ordered(labels, reverse=reverse))}. "
    meanings = guide.meanings or ("",) * len(labels)
    lines = [
        f"\n- {label}: {meaning}" if meaning else f"\n- {label}"
        for label, meaning in zip(labels, meanings, strict=True)
    ]
    return "".join(_ordered(lines, reverse=reverse)) + "\n"


def _ordered(parts: Sequence[str], *, reverse: bool) -> Sequence[str]:
    return parts[::-1] if reverse else parts
