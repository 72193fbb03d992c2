"""The root model in one run: what it has been told, and the replies that are taken from it."""

from __future__ import annotations

import ast
import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from outcore.engine.history import History, UserMessage
from outcore.engine.plans.planner import Planner
from outcore.engine.reply import Final, Reply, parse_reply
from outcore.engine.source_code import blank, idle, said_in, tree
from outcore.errors import PromptTooLong
from outcore.models.engine import Priority, Request

if TYPE_CHECKING:
    from outcore.engine.batching.batcher import Batcher
    from outcore.engine.budget import Spending
    from outcore.engine.plans.scene import Scene
    from outcore.engine.profile import Profile
    from outcore.engine.trajectory import Trajectory
    from outcore.models.engine import Generation, Prompt

# Room for the last turn's answer, kept free in the root's window.
_LAST_TOKENS = 400
# How freely a root is sampled that has repeated itself.
_WARMER = 0.7
_EMPTY = "Your reply was empty."
NO_CODE = "Your reply held no code block. Write one block of Python, or call done(answer) in one."
_NOTHING = "That cell has only comments. To answer, call done(answer); else print what is missing."
_REPEATED = "You have run that cell already, and it would print the same. Do another."


@dataclass(slots=True)
class Root:
    """Asks the root model, turn by turn, and has it mend a reply that is no use.

    Attributes:
        way: the way to the model.
        profile: how it is led.
        system: its system message.
        spending: the run's account.
        trajectory: the run's record.
    """

    way: Batcher
    profile: Profile
    system: str
    spending: Spending
    trajectory: Trajectory
    _history: History = field(init=False)
    _cells: set[str] = field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        self._history = History(
            self.way.engine,
            self.system,
            reply_tokens=self.profile.reply_tokens,
            last_tokens=_LAST_TOKENS,
            output_chars=self.profile.output_chars,
        )

    async def reply(self, message: UserMessage, note: str) -> Reply:
        """The reply to a message; one that is no use gets one second try beside the dialogue.

        Raises:
            PromptTooLong: the message does not fit the window.
            TimeoutError: the run's time is up.
            ModelError: the engine died or refused.
        """
        first = self.spending.turns == 1
        opening = self.profile.opening if first else self.profile.opening_after
        before = self._history.fork()
        prompt = self._history.ask(message, opening)
        self._tell_turn(message, note, first=first)
        try:
            generation = await self._generate(prompt, self.profile.reply_tokens)
        except (PromptTooLong, TimeoutError):
            # The last turn asks again, with less.
            self._history = before
            raise
        self._history.reply(generation)
        reply = self._told(opening, generation)
        if (fault := self._fault(reply)) is not None:
            reply = await self._mended(reply, fault, before, message)
        if reply.code is not None:
            self._cells.add(_bare(reply.code))
        return reply

    def allow(self, code: str) -> None:
        """Let a cell come again: to insist on an answer is to give it once more."""
        self._cells.discard(_bare(code))

    def forget(self, code: str) -> None:
        """Let all cells come again but one: it has ended the kernel that the others ran in."""
        self._cells = {_bare(code)}

    async def planned(self, message: UserMessage, scene: Scene) -> Reply:
        """In place of the first reply: the program of the plan that the root fills in.

        Raises:
            PromptTooLong: the plan's prompt does not fit the window.
            TimeoutError: the run's time is up.
            ModelError: the engine died or refused.
        """
        plan = await Planner(self.way.engine, self._submit).plan(scene)
        opening = self.profile.opening or "```python\n"
        self._history.ask(message, self.profile.opening)
        self._tell_turn(message, "", first=True)
        self._history.written(f"{opening.removeprefix(self.profile.opening)}{plan.program}\n```")
        self.trajectory.add("plan", **plan.as_dict())
        self._cells.add(_bare(plan.program))
        return Reply(plan.program, "")

    async def last_word(self, message: UserMessage) -> str:
        """What it answers when no more code can run.

        Raises:
            PromptTooLong: the message does not fit the window.
            TimeoutError: the run's time is up.
        """
        number = self.spending.turns + 1
        self.trajectory.add("turn", number=number, message=message.text(), last=True)
        prompt = self._history.ask(message, last=True)
        generation = await self._generate(prompt, _LAST_TOKENS, last=True)
        self.trajectory.add("reply", text=generation.text, **_usage(generation))
        reply = parse_reply(generation.text)
        said = reply.thought
        if reply.final is not None:
            if not reply.final.variable:
                return reply.final.text.strip()
            # Nothing can look the variable up any more, and its name is no answer.
            said = "\n".join(line for line in said.splitlines() if "FINAL_VAR(" not in line)
        return said.strip() or said_in(reply.code or "")

    def _fault(self, reply: Reply) -> str | None:
        """What makes a reply no use, in words for the root."""
        if reply.syntax_error is not None:
            return f"That cell can't run: {reply.syntax_error}"
        if reply.code is not None:
            if blank(reply.code):
                return _NOTHING
            return _REPEATED if _bare(reply.code) in self._cells else None
        if reply.final is not None and reply.final.text.strip():
            return None
        return NO_CODE if reply.thought.strip() else _EMPTY

    async def _mended(
        self, reply: Reply, fault: str, before: History, message: UserMessage
    ) -> Reply:
        # Asked beside the dialogue: whatever comes of it, the fault does not stay in it.
        aside = self._history.fork()
        opening = self.profile.opening
        try:
            prompt = aside.ask(UserMessage(self.profile.repair, {"error": fault}), opening)
            again = await self._generate(
                prompt, self.profile.reply_tokens, sampled=fault == _REPEATED
            )
        except (PromptTooLong, TimeoutError):
            return reply
        mended = self._told(opening, again, repair=fault)
        if self._fault(mended) is not None:
            return reply
        before.ask(message, opening)
        before.reply(again, asked=aside)
        self._history = before
        return mended

    def _told(self, opening: str, generation: Generation, **more: str) -> Reply:
        text = opening + generation.text
        self.trajectory.add("reply", text=text, **more, **_usage(generation))
        reply = parse_reply(generation.text, opening=opening)
        said = idle(reply.code) if reply.code is not None else ""
        return Reply(None, reply.thought, final=Final(said, variable=False)) if said else reply

    def _tell_turn(self, message: UserMessage, note: str, *, first: bool) -> None:
        # A later message is the profile's, around the last cell's output and the note.
        told: dict[str, object] = {"message": message.text()} if first else {"note": note}
        if self._history.cut is not None:
            told["shown"] = self._history.cut
        if self._history.folded:
            told["folded"] = self._history.folded
        self.trajectory.add("turn", number=self.spending.turns, **told)

    async def _generate(
        self, prompt: Prompt, max_tokens: int, *, last: bool = False, sampled: bool = False
    ) -> Generation:
        request = Request(
            prompt,
            max_tokens,
            stop=() if last else self.profile.stop,
            priority=Priority.ROOT,
        )
        if sampled:
            # Greedy, it would say the same again. With a seed it stays repeatable.
            request = replace(request, temperature=_WARMER, seed=self.spending.turns)
        return await self._submit(request, last=last)

    async def _submit(self, request: Request, *, last: bool = False) -> Generation:
        left = self.spending.left if last else self.spending.working_left
        async with asyncio.timeout(max(0.0, left)):
            generation = await self.way.submit(request, self.spending.root)
        self.spending.root.add(generation)
        return generation


def _bare(code: str) -> str:
    """A cell without its comments' and blanks' differences, to tell one that comes again."""
    parsed = tree(code)
    try:
        return code.strip() if parsed is None else ast.dump(parsed)
    except RecursionError:  # Python compiles deeper code than it writes out
        return code.strip()


def _usage(generation: Generation) -> dict[str, int]:
    return {
        "tokens_in": generation.tokens_in,
        "tokens_cached": generation.tokens_cached,
        "tokens_out": generation.tokens_out,
    }
