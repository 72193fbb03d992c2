"""What the quality tasks are put to: outcore in its modes, and the root alone.

These, map_reduce.py and rlms_system.py answer with the engines of one running `RLM`, through its
batchers, so that weights, serving and memo are the same. Replies are greedy.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from outcore.engine.budget import Usage
from outcore.engine.clip import clip
from outcore.engine.context.corpus import stage
from outcore.models.engine import Priority, Request

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from tasks.item import Item

    from outcore.config import Budget
    from outcore.engine.batching.batcher import Batcher
    from outcore.engine.rlm import RLM

T = TypeVar("T")

REPLY_TOKENS = 1_024
_SAMPLE_CHARS = 20_000
ALONE = "You answer a question about a text. Answer from the text alone."


@dataclass(frozen=True, slots=True)
class Reply:
    """What a system made of an item.

    Attributes:
        answer: the whole of it.
        complete: whether it was given before a limit ended the work.
        reason: why it is incomplete.
        root: use of the root model.
        sub: use of the sub-LM.
        turns: replies of the root.
        run_dir: folder of the trajectory; empty without one.
        way: how it was answered, where there are several ways.
    """

    answer: str
    complete: bool = True
    reason: str | None = None
    root: Usage = field(default_factory=Usage)
    sub: Usage = field(default_factory=Usage)
    turns: int = 1
    run_dir: str = ""
    way: str = ""


class System(Protocol):
    """Answers items; several threads may ask at once, of one system at a time."""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        ...

    def begin(self) -> None:
        """Get ready; the items that follow are for this system."""
        ...

    def answer(self, item: Item) -> Reply:
        """Answer one item.

        Raises:
            Exception: whatever went wrong; it counts as a wrong answer.
        """
        ...

    def end(self) -> None:
        """Give back what `begin` took."""
        ...


@dataclass(slots=True)
class Models:
    """The engines of a running `RLM`, for systems that are not outcore.

    Attributes:
        rlm: entered already, so that its models are up.
        budget: its seconds bound each item.
    """

    rlm: RLM
    budget: Budget

    @property
    def root(self) -> Batcher:
        """The way to the root."""
        assert self.rlm.status.batchers is not None
        return self.rlm.status.batchers.root

    @property
    def sub(self) -> Batcher:
        """The way to the sub-LM."""
        assert self.rlm.status.batchers is not None
        return self.rlm.status.batchers.sub

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop that the engines live on."""
        return self.rlm._loop.run(work)

    def tokens(self, text: str) -> int:
        """Length of a text by the root's tokenizer."""
        return self.run(self.root.engine.count_tokens(text))


@dataclass(slots=True)
class Outcore:
    """outcore itself, the root led by `mode`."""

    models: Models
    mode: str

    @property
    def name(self) -> str:
        """The mode's."""
        return self.mode

    def begin(self) -> None:
        """Questions take their settings when they start."""
        rlm = self.models.rlm
        changed: dict[str, Any] = {"root_mode": self.mode}
        rlm.settings = replace(rlm.settings, **changed)

    def answer(self, item: Item) -> Reply:
        """Answer as a user's question."""
        done = self.models.rlm.completion(item.context, item.question, budget=self.models.budget)
        return Reply(
            answer=done.answer,
            complete=done.complete,
            reason=done.reason,
            root=done.usage["root"],
            sub=done.usage["sub"],
            turns=done.turns,
            run_dir=done.run_dir.name,
            way=done.sandbox,
        )

    def end(self) -> None:
        """Nothing was taken."""


@dataclass(slots=True)
class RootAlone:
    """One reply of the root to as much of the text as its window holds, cut in the middle."""

    models: Models
    name: str = "root"

    def begin(self) -> None:
        """Nothing to do."""

    def answer(self, item: Item) -> Reply:
        """Read what fits, and answer."""
        return self.models.run(self._answer(item))

    def end(self) -> None:
        """Nothing was taken."""

    async def _answer(self, item: Item) -> Reply:
        root, usage = self.models.root, Usage()
        text = await asyncio.to_thread(whole, item.context)
        room = root.engine.window - REPLY_TOKENS
        chars = int(room * await chars_per_token(root, text))
        while True:
            asked = f"{clip(text, chars)}\n\n{item.question}"
            prompt = await asyncio.to_thread(root.engine.dialogue(ALONE).ask, asked)
            if root.engine.length(prompt) <= room or chars < 100:
                break
            chars = int(chars * min(0.98, room / root.engine.length(prompt)))
        request = Request(prompt, REPLY_TOKENS, priority=Priority.ROOT)
        reason = f"the text was cut to {chars:,} characters" if chars < len(text) else None
        try:
            async with asyncio.timeout(self.models.budget.seconds):
                generation = await root.submit(request, usage)
        except TimeoutError:
            return Reply("", False, f"{self.models.budget.seconds:g} seconds", root=usage)
        usage.add(generation)
        return Reply(generation.text.strip(), True, reason, root=usage)


def whole(context: str | Path) -> str:
    """A context as one text, its documents under their names."""
    if isinstance(context, str):
        return context
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        return stage(context, Path(folder) / "context").joined()


async def chars_per_token(batcher: Batcher, text: str) -> float:
    """Measured on the head, the middle and the tail of a text."""
    middle = max(0, len(text) // 2 - _SAMPLE_CHARS // 2)
    parts: Sequence[str] = (
        (text,)
        if len(text) <= 3 * _SAMPLE_CHARS
        else (text[:_SAMPLE_CHARS], text[middle:][:_SAMPLE_CHARS], text[-_SAMPLE_CHARS:])
    )
    sample = "".join(parts)
    return max(0.5, len(sample) / max(1, await batcher.engine.count_tokens(sample)))
