"""Those who put the questions of a batch, some at once, and write down what comes of each."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outcore.engine.context.shared_contexts import SharedContexts
from outcore.engine.loop import LoopThread
from outcore.errors import EngineDied, ModelUnavailable, OutcoreError
from outcore.questions import by_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.answers import Answers
    from outcore.engine.rlm import RLM
    from outcore.questions import Task

_LOG = logging.getLogger(__name__)
# After so many rounds in which no question found its model, the others would not either.
_LOST_ROUNDS = 2
_FAULTS_TOLD = 5


@dataclass(slots=True)
class Count:
    """How far a batch is.

    Attributes:
        answered: questions answered, the incomplete ones too.
        incomplete: of these, those whose answer is incomplete.
        failed: questions that failed.
        under_way: questions being answered.
        faults: the first failures, for a person.
    """

    answered: int = 0
    incomplete: int = 0
    failed: int = 0
    under_way: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Questions that have their line."""
        return self.answered + self.failed


class Workers:
    """Puts questions to one `RLM`, so that the calls of all of them meet in its batchers.

    Args:
        rlm: answers them; as many at once as its settings say. It is closed with `run`.
        answers: receives a line for each as soon as it is over.
    """

    def __init__(self, rlm: RLM, answers: Answers) -> None:
        self.count = Count()
        self._rlm = rlm
        self._answers = answers
        self._contexts = SharedContexts(rlm.settings.encoding)
        self._lost = 0
        self._stopping = False

    def run(self, tasks: Sequence[Task]) -> None:
        """Answer all of them; returns when each has its line.

        What is raised in the waiting thread, as by a signal, ends those under way: they get none.

        Raises:
            OutcoreError: the answers can't be written, or the models are gone for good.
        """
        for task in tasks:
            self._contexts.expect(task.context)
        # A loop of its own: writing to the disk keeps no call of the models waiting.
        loop = LoopThread()
        try:
            loop.run(self._all(tasks))
        finally:
            self._stopping = True
            # The kernels first, which use the contexts.
            self._rlm.close()
            loop.close(self._contexts.close)

    async def _all(self, tasks: Sequence[Task]) -> None:
        waiting = by_context(tasks)
        workers = min(self._rlm.settings.questions, len(tasks))

        async def work() -> None:
            for task in waiting:
                row = await self._row(task)
                self._answers.add(row)
                self._count(row)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(workers):
                    group.create_task(work())
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _row(self, task: Task) -> dict[str, Any]:
        """The line of one question."""
        self.count.under_way += 1
        try:
            async with self._contexts.lend(task.context) as corpus:
                completion = await self._rlm.acompletion(corpus, task.question, budget=task.budget)
        except Exception as error:
            if self._stopping:
                # It did not fail: its models were taken away.
                raise asyncio.CancelledError from error
            return task.head | {"error": self._failed(task, error)}
        finally:
            self.count.under_way -= 1
        self._lost = 0
        return task.head | completion.as_dict()

    def _count(self, row: dict[str, Any]) -> None:
        if error := row.get("error"):
            self.count.failed += 1
            if len(self.count.faults) < _FAULTS_TOLD:
                self.count.faults.append(f"{row['id']}: {error['kind']}: {error['message']}")
            return
        self.count.answered += 1
        self.count.incomplete += not row["complete"]

    def _failed(self, task: Task, error: Exception) -> dict[str, str]:
        if not isinstance(error, OutcoreError):
            _LOG.error("question %r failed by a fault of outcore", task.id, exc_info=error)
        if isinstance(error, (EngineDied, ModelUnavailable)):
            self._lost += 1
            if self._lost >= _LOST_ROUNDS * self._rlm.settings.questions:
                raise OutcoreError(
                    f"{self._lost} questions on end found no model, and the others would not: "
                    f"{error}. What is answered stays; run the same command again"
                ) from error
        return {"kind": type(error).__name__, "message": str(error)}
