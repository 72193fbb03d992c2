"""One question, from the first turn to the answer.

docs/architecture.md tells the same story in numbered steps.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outcore.engine.clip import clip
from outcore.engine.desk import Desk, Draft
from outcore.engine.profile import fill
from outcore.engine.reply import Reply, parse_reply
from outcore.errors import PromptTooLong
from outcore.models.engine import Priority, Request

if TYPE_CHECKING:
    from outcore.engine.batcher import Batcher
    from outcore.engine.budget import Spending
    from outcore.engine.profile import Profile
    from outcore.engine.trajectory import Trajectory
    from outcore.kernel_sandbox import Kernel
    from outcore.models.engine import Dialogue, Generation, Prompt

# Room for the last turn's answer, kept free in the root's window.
_LAST_TOKENS = 400
_NO_CODE = "Your reply held no code block. Write one block of Python, or call done(answer) in one."


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the answer, and why it is incomplete if it is."""

    draft: Draft
    reason: str | None


@dataclass(slots=True)
class Run:
    """The turns of one question over a context in a kernel.

    Attributes:
        question: what is asked.
        card: description of the context.
        context_type: Python type of `context` in the kernel.
        root: the way to the root model.
        profile: how it is led.
        kernel: where its cells run.
        desk: what its code can ask for.
        spending: the run's account.
        trajectory: the run's record.
    """

    question: str
    card: str
    context_type: str
    root: Batcher
    profile: Profile
    kernel: Kernel
    desk: Desk
    spending: Spending
    trajectory: Trajectory
    limits: dict[str, object]
    _dialogue: Dialogue = field(init=False)
    _last_cell: str = field(default="", init=False)
    _doubted: bool = field(default=False, init=False)

    async def answer(self) -> Outcome:
        """Take turns until the root answers or the budget ends.

        Raises:
            ModelError: the root's engine died or refused.
            SandboxError: no kernel can be had any more.
        """
        profile = self.profile
        self._dialogue = self.root.engine.dialogue(
            fill(profile.system, context_type=self.context_type, **self.limits)
        )
        message = fill(profile.first, card=self.card, question=self.question)
        output = note = ""
        self.trajectory.add("turn", number=1, message=message)
        while (spent := self.spending.spent()) is None:
            self.spending.turns += 1
            if self.spending.turns > 1:
                # The message is the profile's, around the last cell's output and this note.
                self.trajectory.add("turn", number=self.spending.turns, note=note)
            try:
                reply = await self._turn(message)
            except PromptTooLong as error:
                spent = f"the root's window ({error.tokens:,} tokens)"
                break
            except TimeoutError:
                spent = f"{self.spending.budget.seconds:g} seconds"
                break
            final = reply.final
            if final is not None and not final.text.strip():
                final = None
            if reply.code is None and final is not None and not final.variable:
                return Outcome(Draft(final.text, ready=True), None)
            code = reply.code
            if code is None and final is not None:
                code = f"FINAL_VAR({final.text!r})"
            if code is None:
                output, note = "(no code was run)", _NO_CODE
            else:
                output, note, finished = await self._cell(code, reply.extra_blocks)
                if finished:
                    return Outcome(self.desk.draft, None)
            message = fill(profile.after, output=output, note=note, question=self.question)
        return await self._last_turn(output, note, f"the run has spent {spent}")

    async def _turn(self, message: str) -> Reply:
        """One reply of the root; one that can't be parsed gets one cheap second try."""
        first = self.spending.turns == 1
        opening = self.profile.opening if first else self.profile.opening_after
        before = self._dialogue.fork()
        try:
            prompt = self._dialogue.ask(message, opening)
            generation = await self._generate(prompt, self.profile.reply_tokens)
        except (PromptTooLong, TimeoutError):
            # The last turn asks again, with less.
            self._dialogue = before
            raise
        self._dialogue.reply(generation)
        reply = parse_reply(opening + generation.text)
        self.trajectory.add("reply", text=opening + generation.text, **_usage(generation))
        if reply.syntax_error is None:
            return reply
        # Asked beside the dialogue: whatever comes of it, the broken cell does not stay in it.
        aside = self._dialogue.fork()
        opening = self.profile.opening
        prompt = aside.ask(fill(self.profile.repair, error=reply.syntax_error), opening)
        try:
            again = await self._generate(prompt, self.profile.reply_tokens)
        except (PromptTooLong, TimeoutError):
            return reply
        repaired = parse_reply(opening + again.text)
        self.trajectory.add("reply", text=opening + again.text, repair=True, **_usage(again))
        if repaired.code is None or repaired.syntax_error is not None:
            return reply
        before.ask(message, opening)
        before.reply(again)
        self._dialogue = before
        return repaired

    async def _cell(self, code: str, extra_blocks: int) -> tuple[str, str, bool]:
        """Run one cell. Returns its output, a note for the root, and whether it answered."""
        seconds = max(1.0, min(self.spending.budget.cell_seconds, self.spending.working_left))
        self.spending.cell_ends = time.monotonic() + seconds
        result = await self.kernel.run(code, seconds=seconds)
        self.spending.cell_ends = math.inf
        self.trajectory.add(
            "cell",
            code=code,
            status=result.status,
            error=result.error,
            output=result.output,
            seconds=round(result.seconds, 3),
        )
        if calls := self.desk.end_cell():
            self.trajectory.add("calls", calls=calls)
        draft = self.desk.draft
        answered = draft.ready
        if answered:
            self.trajectory.add("answer", content=draft.content, quotes=list(draft.quotes))
        finished = answered and result.status == "ok" and bool(draft.content.strip())
        doubted = finished and not self._doubted and echoes(draft.content, self.question)
        if doubted:
            self._doubted = True
            finished = False
        if not finished:
            # Whatever the next cell does, it must say so again.
            draft.ready = False
        notes = []
        if result.status in ("interrupted", "killed") and result.error:
            notes.append(f"{result.error}.")
        if extra_blocks:
            notes.append("Only the first code block was run; write one block a reply.")
        if doubted:
            notes.append(
                f"The answer {draft.content!r} was not taken: it only repeats the question. Give "
                "what was asked for."
            )
        elif answered and not finished:
            notes.append("The answer was not taken: the cell failed, or the answer is empty.")
        if code == self._last_cell:
            notes.append("This is the same cell as before, so it told nothing new: do another.")
        self._last_cell = code
        output = clip(result.output, self.profile.output_chars).strip()
        return output or "(nothing was printed)", " ".join(notes), finished

    async def _last_turn(self, output: str, note: str, reason: str) -> Outcome:
        """Let the root answer with what it has seen, in words."""
        if self.desk.draft.content.strip():
            return Outcome(self.desk.draft, reason)
        message = fill(
            self.profile.last, output=clip(output, 2_000), note=note, question=self.question
        )
        self.trajectory.add("turn", number=self.spending.turns + 1, message=message, last=True)
        try:
            generation = await self._generate(self._dialogue.ask(message), _LAST_TOKENS, last=True)
        except (TimeoutError, PromptTooLong) as error:
            return Outcome(Draft(), f"{reason}, and there was no room left to answer ({error})")
        self.trajectory.add("reply", text=generation.text, **_usage(generation))
        reply = parse_reply(generation.text)
        text = reply.final.text if reply.final is not None else reply.thought or generation.text
        return Outcome(Draft(text.strip()), reason)

    async def _generate(self, prompt: Prompt, max_tokens: int, *, last: bool = False) -> Generation:
        root = self.root.engine
        length = root.length(prompt)
        kept = 0 if last else _LAST_TOKENS
        if length + max_tokens + kept > root.window:
            raise PromptTooLong(
                f"the dialogue has {length:,} tokens, and the window of {root.name} is "
                f"{root.window:,}",
                tokens=length,
                room=root.window - max_tokens - kept,
            )
        request = Request(
            prompt,
            max_tokens,
            stop=() if last else self.profile.stop,
            priority=Priority.ROOT,
        )
        left = self.spending.left if last else self.spending.working_left
        async with asyncio.timeout(max(0.0, left)):
            generation = await self.root.submit(request, self.spending.root)
        self.spending.root.add(generation)
        return generation


def echoes(answer: str, question: str) -> bool:
    """Whether an answer says nothing but words of the question.

    Rightly so where the question names the choices, which is why such an answer is refused
    only once.
    """
    said, asked = (set(re.findall(r"\w+", text.casefold())) for text in (answer, question))
    return said <= asked


def _usage(generation: Generation) -> dict[str, int]:
    return {
        "tokens_in": generation.tokens_in,
        "tokens_cached": generation.tokens_cached,
        "tokens_out": generation.tokens_out,
    }
