"""Child runs: what `rlm_query` in a cell starts.

A child is a question like the first one: its own kernel and turns, or answered directly where
its context is short, with the same models, batchers and memo. What it spends is spent by the
runs above it too.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from outcore.engine.context.corpus import stage
from outcore.engine.subcalls import text_of
from outcore.errors import ConfigError, IncompleteAnswer, OutcoreError
from outcore.models.engine import Asked, check_chars

if TYPE_CHECKING:
    from outcore.engine.budget import Spending
    from outcore.engine.context.corpus import Corpus
    from outcore.engine.question import Question
    from outcore.engine.result import Completion

# The question where the context is all there is.
INSTRUCTION_INSIDE = (
    "The context holds a question or an instruction; find it, usually at the very start or end, "
    "and carry it out."
)
# Children of one run that are at work at once; those whose context is short need no kernel.
_AT_ONCE = 64
_SHOWN_PROMPT = 200
_SHOWN_ANSWER = 500


@dataclass(frozen=True, slots=True)
class Task:
    """What a cell hands over.

    Attributes:
        prompt: what is to be done.
        context: what with; None where the prompt holds all.
    """

    prompt: str
    context: str | list[Any] | dict[str, Any] | None

    @classmethod
    def read(cls, params: dict[str, Any]) -> Self:
        """Check the parameters of a call.

        Raises:
            ConfigError: they can't be used.
        """
        prompt = text_of(params, "prompt")
        if not prompt.strip():
            raise ConfigError("the prompt is empty: say what the child is to do")
        context = params.get("context")
        if isinstance(context, str):
            context = text_of(params, "context")
        elif context is not None and not isinstance(context, (list, dict)):
            raise ConfigError(
                f"context must be a text, or a list or dict of texts, not {type(context).__name__}"
            )
        return cls(prompt, context)

    def flat(self) -> str | None:
        """The context as one text; parts of a dict under their names."""
        if self.context is None or isinstance(self.context, str):
            return self.context
        if isinstance(self.context, list):
            return "\n".join(map(_written, self.context))
        return "\n".join(f"--- {name} ---\n{_written(one)}" for name, one in self.context.items())


class Children:
    """The child runs of one run.

    Args:
        parent: the question that the run answers.
    """

    def __init__(self, parent: Question) -> None:
        self._parent = parent
        self._numbers = itertools.count(1)
        self._running: set[asyncio.Task[str]] = set()
        self._places = asyncio.Semaphore(_AT_ONCE)

    async def answer(self, task: Task) -> str:
        """Have a child do it. Cancelling this ends the child with all that belongs to it.

        Raises:
            IncompleteAnswer: its budget ended before it was sure.
            BudgetExceeded: the run has nothing left to share with it.
            OutcoreError: it failed.
        """
        self._parent.spending.charge_call()
        # A task of its own: a second cancelling must not break off the first one's clearing away.
        child = asyncio.create_task(self._run(next(self._numbers), task))
        self._running.add(child)
        child.add_done_callback(self._ended)
        try:
            return await asyncio.shield(child)
        except asyncio.CancelledError:
            _stop(child)
            raise

    async def close(self) -> None:
        """End those that still run, and wait until nothing is left of them."""
        running = tuple(self._running)
        for child in running:
            _stop(child)
        if running:
            await asyncio.wait(running)

    def _ended(self, child: asyncio.Task[str]) -> None:
        self._running.discard(child)
        # One that fails while it is being cancelled has nobody left to tell.
        if not child.cancelled():
            child.exception()

    async def _run(self, number: int, task: Task) -> str:
        async with self._places:
            return await self._run_now(number, task)

    async def _run_now(self, number: int, task: Task) -> str:
        parent = self._parent
        spending = parent.spending.open_child()
        event: dict[str, Any] = {"status": "failed", "answer": ""}
        try:
            completion = await self._complete(number, task, spending)
            event["status"] = "ok" if completion.complete else "incomplete"
            event["answer"] = completion.answer[:_SHOWN_ANSWER]
        except asyncio.CancelledError:
            event["status"] = "cancelled"
            raise
        except Exception as error:
            event["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            parent.spending.close_child(spending)
            parent.trajectory.add(
                "child",
                number=number,
                prompt=task.prompt[:_SHOWN_PROMPT],
                **event,
                turns=spending.turns,
                seconds=round(spending.seconds, 3),
                usage={"root": spending.root.as_dict(), "sub": spending.sub.as_dict()},
            )
        if not completion.complete:
            raise IncompleteAnswer(
                f"the child ended before it was sure: {completion.reason}. Its best answer so far "
                f"is in `.answer` of this exception: {completion.answer[:_SHOWN_ANSWER]!r}",
                answer=completion.answer,
            )
        return completion.answer

    async def _complete(self, number: int, task: Task, spending: Spending) -> Completion:
        alone = task.context is None
        if not alone:
            # Its root would take long to find out, and all other runs would wait meanwhile.
            check_chars(self._parent.served.root, Asked(task.prompt), 0)
        folder = self._parent.pool.scratch()
        try:
            corpus = await asyncio.to_thread(stage, task.prompt if alone else task.context, folder)
            return await self._ask(number, task, corpus, spending)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _ask(self, number: int, task: Task, corpus: Corpus, spending: Spending) -> Completion:
        trajectory = self._parent.trajectory.child(number)
        try:
            question = replace(
                self._parent,
                text=INSTRUCTION_INSIDE if task.context is None else task.prompt,
                corpus=corpus,
                spending=spending,
                trajectory=trajectory,
                phase=_unheard,
                level=self._parent.level + 1,
            )
            return await question.answer()
        except asyncio.CancelledError:
            trajectory.add("end", error="interrupted")
            raise
        except OutcoreError as error:
            trajectory.add("end", error=f"{type(error).__name__}: {error}")
            raise
        finally:
            trajectory.close()


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise ConfigError("the context is nested too deeply") from None


def _stop(child: asyncio.Task[str]) -> None:
    if not child.cancelling():
        child.cancel()


def _unheard(phase: str) -> None:
    """What a child does is no phase of the first run."""
