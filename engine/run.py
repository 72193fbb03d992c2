"""One question, from the first turn to the answer.

docs/architecture.md tells the same story in numbered steps.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outcore.engine.clip import clip
from outcore.engine.desk import Desk, Draft
from outcore.engine.form import Form
from outcore.engine.guard import Guard, hollow
from outcore.engine.history import UserMessage
from outcore.engine.profile import fill
from outcore.engine.root import NO_CODE, Root
from outcore.engine.source_code import blank
from outcore.errors import ModelError, PromptTooLong, SandboxError

if TYPE_CHECKING:
    from outcore.engine.batching.batcher import Batcher
    from outcore.engine.budget import Spending
    from outcore.engine.plans.scene import Scene
    from outcore.engine.profile import Profile
    from outcore.engine.reply import Reply
    from outcore.engine.trajectory import Trajectory
    from outcore.kernel_sandbox import CellResult, Kernel

# Of the last output, what the last turn is shown once more.
_LAST_CHARS = 2_000
# A root that has run one cell this often after the first time is not going to do another.
_MOST_REPEATS = 3
# A run in which so many kernels have died is not going to end well.
_MOST_DEATHS = 3
# Of the time kept back for the last turn, what a cell may take that has to be interrupted.
_GRACE_SHARE = 0.25
_LEAST_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: the answer, and why it is incomplete if it is."""

    draft: Draft
    reason: str | None


@dataclass(frozen=True, slots=True)
class _Shown:
    """What the root is shown next: a cell's output, and a note on it."""

    output: str = ""
    note: str = ""


@dataclass(slots=True)
class Run:
    """The turns of one question over a context in a kernel.

    Attributes:
        scene: the question, and what is known of the context.
        context_type: Python type of `context` in the kernel.
        root: the way to the root model.
        profile: how it is led.
        plans: whether the first turn fills in a plan.
        kernel: where its cells run.
        desk: what its code can ask for.
        spending: the run's account.
        trajectory: the run's record.
        limits: what the profile's system message tells of limits.
    """

    scene: Scene
    context_type: str
    root: Batcher
    profile: Profile
    plans: bool
    kernel: Kernel
    desk: Desk
    spending: Spending
    trajectory: Trajectory
    limits: dict[str, object]
    _guard: Guard = field(init=False)
    _root: Root = field(init=False)
    _told: set[tuple[str, str]] = field(default_factory=set, init=False)
    _repeats: int = field(default=0, init=False)
    _deaths: int = field(default=0, init=False)
    _death: str = field(default="", init=False)

    def __post_init__(self) -> None:
        profile, question = self.profile, self.scene.question
        system = fill(profile.system, context_type=self.context_type, **self.limits)
        offers = bool(self.scene.labels or Form.of(question))
        self._guard = Guard(question, system, offers=offers)
        self._root = Root(self.root, profile, system, self.spending, self.trajectory)

    @property
    def best(self) -> Draft | None:
        """The best answer so far, if there is any."""
        return self._guard.best if hollow(self.desk.draft) else self.desk.draft

    async def answer(self) -> Outcome:
        """Take turns until the root answers or the budget ends.

        Raises:
            ModelError: the root's engine died or refused, and no answer stood yet.
        """
        first = {"card": self.scene.card, "question": self.scene.question}
        message = UserMessage(self.profile.first, first)
        shown = _Shown()
        while (spent := self.spending.spent()) is None:
            self.spending.turns += 1
            try:
                reply = await self._reply(message, shown.note)
            except PromptTooLong as error:
                spent = f"the root's window ({error.tokens:,} tokens)"
                break
            except TimeoutError:
                spent = f"{self.spending.budget.seconds:.4g} seconds"
                break
            except ModelError as error:
                # What was paid for is not thrown away with the engine.
                if self.best is None:
                    raise
                return Outcome(self.best, f"the root failed: {error}")
            final = reply.final if reply.final and reply.final.text.strip() else None
            if reply.code is None and final is not None and not final.variable:
                draft = Draft(final.text, ready=True)
                said = self._guard.doubt(draft, f"done({final.text!r})")
                if said is None:
                    return Outcome(draft, self._guard.flaw(draft))
                shown = _Shown("(no code was run)", said)
                message = self._after(shown)
                continue
            code = reply.code
            if code is None and final is not None:
                code = f"FINAL_VAR({final.text!r})"
            if code is None:
                shown = _Shown("(no code was run)", NO_CODE)
            else:
                try:
                    shown, finished = await self._cell(code, reply.extra_blocks)
                except SandboxError as error:
                    return await self._last_turn(shown, f"no kernel can be had any more: {error}")
                if finished:
                    return Outcome(self.desk.draft, self._guard.flaw(self.desk.draft))
            message = self._after(shown)
            if self._repeats >= _MOST_REPEATS:
                return await self._last_turn(shown, "the root ran the same cell again and again")
            if self._deaths >= _MOST_DEATHS:
                reason = f"the kernel had to be replaced {self._deaths} times, at last since "
                return await self._last_turn(shown, reason + self._death)
        return await self._last_turn(shown, f"the run has spent {spent}")

    def _after(self, shown: _Shown) -> UserMessage:
        return UserMessage(self.profile.after, self._values(shown), shown.output)

    def _values(self, shown: _Shown) -> dict[str, object]:
        form = Form.of(self.scene.question)
        told = f", in the form {form.text!r}" if form else ""
        return {"note": shown.note, "question": self.scene.question, "form": told}

    async def _reply(self, message: UserMessage, note: str) -> Reply:
        if self.plans and self.spending.turns == 1:
            return await self._root.planned(message, self.scene)
        return await self._root.reply(message, note)

    async def _cell(self, code: str, extra_blocks: int) -> tuple[_Shown, bool]:
        """Run one cell. Returns what the root is shown of it, and whether it answered."""
        left, kept = self.spending.working_left, self.spending.kept
        seconds = max(_LEAST_SECONDS, min(self.spending.budget.cell_seconds, left))
        self.spending.cell_ends = time.monotonic() + seconds
        result = await self.kernel.run(
            code,
            seconds=seconds,
            grace=max(0.0, left - seconds) + _GRACE_SHARE * kept,
            last=seconds >= left,
        )
        self.spending.cell_ends = math.inf
        if result.status == "killed":
            self._deaths += 1
            self._death = str(result.error).partition(". ")[0]
            # What they made is gone.
            self._root.forget(code)
            self._told.clear()
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
        self._guard.saw(result.output)
        finished, said = self._judged(code, result)
        notes = [said] if said else []
        if result.status in ("interrupted", "killed") and result.error:
            notes.append(f"{result.error}.")
        if extra_blocks:
            notes.append("Only the first code block was run; write one block a reply.")
        told = (code, result.output)
        repeated = told in self._told
        # A cell of comments does as little as one that comes again.
        self._repeats = self._repeats + 1 if repeated or blank(code) else 0
        if repeated:
            notes.append("This is the same cell as before, so it told nothing new: do another.")
        self._told.add(told)
        output = result.output.strip() or "(nothing was printed)"
        return _Shown(output, " ".join(notes)), finished

    def _judged(self, code: str, result: CellResult) -> tuple[bool, str | None]:
        """Whether the answer that stands after a cell is taken, and what the root is told of it."""
        draft = self.desk.draft
        if not draft.ready:
            note = self._guard.standing(draft)
            return self._guard.settled, note
        self.trajectory.add("answer", content=draft.content, quotes=list(draft.quotes))
        if result.status != "ok" or not draft.content.strip():
            note = "The answer was not taken: the cell failed, or the answer is empty."
        elif (note := self._guard.doubt(draft, code)) is None:
            return True, None
        else:
            self._root.allow(code)
        # Whatever the next cell does, it must say so again.
        draft.ready = False
        return False, note

    async def _last_turn(self, shown: _Shown, reason: str) -> Outcome:
        """Let the root answer with what it has seen, in words."""
        if self.best is not None:
            return Outcome(self.best, reason)
        values = self._values(shown)
        output = clip(shown.output, _LAST_CHARS)
        try:
            said = await self._root.last_word(UserMessage(self.profile.last, values, output))
        except (TimeoutError, PromptTooLong) as error:
            why = str(error) or "its time was over"
            return Outcome(Draft(), f"{reason}, and there was no room left to answer ({why})")
        return Outcome(Draft(said), reason)
