"""The finish guard: which answers are taken, and which are sent back once for evidence."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outcore.engine.literals import typed

if TYPE_CHECKING:
    from outcore.engine.desk import Draft

# After so many refusals the root knows better than the guard.
_MOST_REFUSED = 2
# Cells that may pass while an answer stands unchanged: then the root is told, then it is taken.
_NUDGED, _TAKEN = 2, 4
_WORD = re.compile(r"\w+(?:[.,:/-]\w+)*")
# Answers that no output needs to hold.
_VERDICTS = frozenset(["yes", "no", "true", "false", "none", "unknown", "neither", "both"])
# What a root writes where an answer belongs, when it copies the form of a call.
_PLACEHOLDERS = frozenset(
    ("...", "answer", "the answer", "your answer", "final answer", "answer here", "value")
)
_SHORT = 3
# So many words of an answer are looked for, since each takes a look through all outputs.
_LOOKED_FOR = 200
# So many words of a question, and this share of them, are the question; fewer may be its answer.
_ECHOED, _ECHOED_SHARE = 5, 0.7


@dataclass(slots=True)
class Guard:
    """Looks at each answer of one run before it is taken.

    Each doubt is raised once, and an answer is refused once: what the root insists on is taken,
    but not as a whole answer where it is none at all.

    Attributes:
        question: what is asked.
        instructions: what the root has been told, examples included.
        offers: whether the question itself has the answers to choose from, or their form.
        best: the last answer that was refused or not yet declared ready, placeholders apart.
    """

    question: str
    instructions: str
    offers: bool = False
    best: Draft | None = None
    _seen: list[str] = field(default_factory=list)
    _doubts: set[str] = field(default_factory=set)
    _refused: set[str] = field(default_factory=set)
    _none: set[str] = field(default_factory=set)
    _unshown: dict[str, list[str]] = field(default_factory=dict)
    _standing: str = ""
    _unchanged: int = 0

    def saw(self, output: str) -> None:
        """Note what a cell has printed."""
        self._seen.append(output.casefold())

    def doubt(self, draft: Draft, code: str) -> str | None:
        """Why an answer is sent back, in words for the root; None where it is taken.

        Args:
            draft: the answer.
            code: the cell that gave it.
        """
        if not hollow(draft):
            self.best = draft
        if len(self._doubts) >= _MOST_REFUSED or draft.content in self._refused:
            return None
        for name, why in (
            ("placeholder", self._placeholder(draft)),
            ("echo", self._echo(draft, code)),
            ("quotes", self._quotes(draft)),
            ("evidence", self._evidence(draft, code)),
        ):
            if why is not None and name not in self._doubts:
                self._doubts.add(name)
                self._refused.add(draft.content)
                if name == "placeholder" or (name == "echo" and self._whole(draft)):
                    self._none.add(draft.content)
                return f"The answer {_short(draft.content)} was not taken: {why}"
        return None

    def flaw(self, draft: Draft) -> str | None:
        """Why an answer that was taken is not a whole one; None where it is."""
        if draft.content in self._none:
            return "the root insists on an answer that says nothing"
        unshown = self._unshown.get(draft.content, [])
        if unshown and not any(map(self._printed, unshown)):
            return "the root insists on an answer of which no output shows a word"
        return None

    def standing(self, draft: Draft) -> str | None:
        """What to tell a root that keeps on working though its answer stands; None: nothing.

        Asked after each cell that has not declared its answer ready.
        """
        content = draft.content.strip()
        self._unchanged = self._unchanged + 1 if content and content == self._standing else 0
        self._standing = content
        if content and not hollow(draft):
            self.best = draft
        if self._unchanged == _NUDGED:
            return (
                f"Your answer {_short(content)} has not changed for {_NUDGED} cells: end with "
                "done(answer), or change it."
            )
        return None

    @property
    def settled(self) -> bool:
        """Whether an answer has stood unchanged for so long that it is taken as it is."""
        return self._unchanged >= _TAKEN and _plain(self._standing) not in _PLACEHOLDERS

    def _placeholder(self, draft: Draft) -> str | None:
        if hollow(draft):
            return "it stands for an answer and is none. Give the answer itself."
        said = _plain(draft.content)
        told = self.instructions.casefold()
        if (f"done({said!r})" in told or f'done("{said}")' in told) and not self._printed(said):
            return "it is an example of the instructions. Give the answer to the question."
        return None

    def _echo(self, draft: Draft, code: str) -> str | None:
        if self.offers:
            return None
        said = set(_words(draft.content))
        if said and said <= set(_words(self.question)) and typed(code):
            return "it only repeats the question. Give what was asked for."
        return None

    def _whole(self, draft: Draft) -> bool:
        """Whether it is the question, and not one of the things it names."""
        said, asked = set(_words(draft.content)), set(_words(self.question))
        return len(said) >= max(_ECHOED, _ECHOED_SHARE * len(asked))

    def _quotes(self, draft: Draft) -> str | None:
        if draft.missing and not draft.quotes:
            return "none of its quotes stands in the context. Copy them from an output."
        return None

    def _evidence(self, draft: Draft, code: str) -> str | None:
        if not typed(code):
            # Code has worked it out.
            return None
        content = draft.content.strip()
        asked = set(_words(self.question))
        told = [word for word in _words(content) if word not in asked and word not in _VERDICTS]
        if not told or draft.quotes:
            return None
        told = told[:_LOOKED_FOR]
        printed = sum(map(self._printed, told))
        if not printed:
            self._unshown[draft.content] = told
        if 2 * printed >= len(told):
            return None
        return (
            "no output shows it. Print the passage it stands in, or search with other words; if "
            "it is right, give it again."
        )

    def _printed(self, word: str) -> bool:
        if len(word) > _SHORT:
            return any(word in output for output in self._seen)
        whole = re.compile(rf"(?<!\w){re.escape(word)}(?!\w)")
        return any(whole.search(output) for output in self._seen)


def hollow(draft: Draft) -> bool:
    """Whether there is no answer, or one that only stands for an answer."""
    return not draft.content.strip() or _plain(draft.content) in _PLACEHOLDERS


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]


def _plain(text: str) -> str:
    return text.strip().strip("\"'<>[](){}").casefold()


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}...")
