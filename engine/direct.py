"""The direct way: a context that fits the root's window comfortably is read, and answered."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outcore.engine.desk import Draft
from outcore.engine.run import Outcome
from outcore.models.engine import Priority, Request

if TYPE_CHECKING:
    from outcore.engine.batching.batcher import Batcher
    from outcore.engine.budget import Spending
    from outcore.engine.context.corpus import Corpus
    from outcore.engine.trajectory import Trajectory
    from outcore.models.engine import Engine, Prompt

_REPLY_TOKENS = 512
_SYSTEM = "You answer a question about a text. Answer from the text alone."
# No tokenizer in use puts more characters into a token, but for long blanks.
_CHARS_PER_TOKEN = 16


@dataclass(frozen=True, slots=True)
class Direct:
    """The root, asked once.

    Attributes:
        root: the model.
        batcher: the way to it.
        spending: the run's account.
        trajectory: the run's record.
    """

    root: Engine
    batcher: Batcher
    spending: Spending
    trajectory: Trajectory

    async def prompt(self, question: str, corpus: Corpus, mode: str, most: int) -> Prompt | None:
        """Context and question as one prompt; None where the run goes by a kernel.

        Args:
            mode: `auto`, `always` or `never`.
            most: tokens that are read at once in the mode `auto`, half the window at most.
        """
        if mode == "never" or (mode == "auto" and corpus.chars > most * _CHARS_PER_TOKEN):
            return None
        text = await asyncio.to_thread(corpus.joined)
        dialogue = self.root.dialogue(_SYSTEM)
        prompt = await asyncio.to_thread(dialogue.ask, f"{text}\n\n{question}")
        room = self.root.window - _REPLY_TOKENS
        if mode == "auto" and self.root.length(prompt) > min(most, room // 2):
            return None
        return prompt

    async def answer(self, prompt: Prompt, priority: Priority) -> Outcome:
        """What the root says.

        Raises:
            PromptTooLong: the context does not fit the window.
            ModelError: the engine failed.
            BudgetExceeded: no token is left.
        """
        self.spending.turns += 1
        self.trajectory.add("turn", number=1, direct=True)
        request = Request(prompt, _REPLY_TOKENS, priority=priority)
        try:
            async with asyncio.timeout(max(0.0, self.spending.left)):
                generation = await self.batcher.submit(
                    request, self.spending.root, self.spending.check_tokens
                )
        except TimeoutError:
            limit = f"{self.spending.budget.seconds:g}"
            return Outcome(Draft(), f"{self.root.name} did not answer within {limit} s")
        self.spending.root.add(generation)
        self.trajectory.add("reply", text=generation.text, tokens_in=generation.tokens_in)
        answer = generation.text.strip()
        reason = "the answer was cut off at its longest" if generation.finish == "length" else None
        return Outcome(Draft(answer, ready=True), reason if answer else "the root said nothing")
