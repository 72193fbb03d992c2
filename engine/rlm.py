"""`RLM`: models that stay up, and questions put to them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import time
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Self, Unpack

from outcore.config import Settings, SettingsChanges, check_budget, check_question, home
from outcore.engine.batching.batcher import Batchers
from outcore.engine.batching.memo import Memo
from outcore.engine.budget import Spending
from outcore.engine.children import INSTRUCTION_INSIDE
from outcore.engine.context.corpus import Corpus
from outcore.engine.context.staging import Staging
from outcore.engine.loop import LoopThread
from outcore.engine.profile import Profile
from outcore.engine.question import Question
from outcore.engine.result import Completion
from outcore.engine.status import Status
from outcore.engine.trajectory import Trajectory
from outcore.errors import ConfigError, OutcoreError
from outcore.kernel_sandbox import Pool, tiers
from outcore.kernel_sandbox.session import Session
from outcore.models.progress import SILENT
from outcore.models.serve import Served, serve
from outcore.reaper import owner, reaper

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.config import Budget
    from outcore.engine.context.sources import Context
    from outcore.engine.status import Work
    from outcore.models.progress import Progress

__all__ = ["RLM", "Completion"]


class RLM:
    """A root model and a sub-LM, kept running between questions.

        with RLM() as rlm:
            rlm.completion(Path("corpus/"), "Which contract ends first?").answer

    The models start with the first question, or on entering the context manager. Questions may
    be put from several threads and tasks at once: as many as the setting `questions` says are
    answered side by side, and the others wait for their turn, which is no part of their seconds.
    Everything ends with `close`, and also when this process is killed.

    Args:
        root: catalog name, folder, hub id or `http(s)://` address of the root model.
        sub: the same for the sub-LM.
        settings: all other settings.
        progress: is told what happens while models are fetched and started.
        changes: single fields of `Settings`, such as `budget=Budget(seconds=60)`.

    Raises:
        ConfigError: there is no such setting, or it can't have that value.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        sub: str | Path | None = None,
        *,
        settings: Settings | None = None,
        progress: Progress = SILENT,
        **changes: Unpack[SettingsChanges],
    ) -> None:
        base = settings if settings is not None else Settings()
        if not isinstance(base, Settings):
            raise ConfigError(
                f"settings is {base!r}; it must be Settings(...), and single ones go by their "
                "names, as in RLM(depth=2)"
            )
        named = {"root": root, "sub": sub}
        given: dict[str, Any] = {
            **changes,
            **{name: value for name, value in named.items() if value is not None},
        }
        known = {field.name for field in fields(Settings)}
        if unknown := sorted(given.keys() - known):
            raise ConfigError(
                f"there is no setting {unknown[0]!r}; there are: {', '.join(sorted(known))}. "
                "Limits such as seconds belong into budget=Budget(...)"
            )
        self.settings = replace(base, **given)
        self.status = Status()
        self._progress = progress
        self._loop = LoopThread()
        self._served: Served | None = None
        self._session: Session | None = None
        self._memo: Memo | None = None
        self._logs = home() / "logs" / f"{os.getpid()}-{secrets.token_hex(3)}"
        self._spare = home() / "staged" / f"{owner()}-{secrets.token_hex(4)}"
        self._pool = Pool(self._spare, self.settings.kernels)
        self._starting = asyncio.Lock()
        self._places = asyncio.Semaphore(self.settings.questions)
        self._closed = False

    def __enter__(self) -> Self:
        try:
            self._loop.run(self._models())
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            await self._loop.awaited(self._models())
        except BaseException:
            # Nobody leaves what was not entered.
            await asyncio.to_thread(self.close)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def completion(
        self,
        prompt: Context | Corpus,
        root_prompt: str | None = None,
        *,
        budget: Budget | None = None,
    ) -> Completion:
        """Answer `root_prompt` over the context `prompt`.

        Args:
            prompt: str, list, dict, path of a file or folder, or list of paths; or a `Corpus`,
                staged before, which may serve several questions at once.
            root_prompt: the question. Without one, the context is expected to hold it.
            budget: limits of this question, else those of the settings.

        Raises:
            BadContext: the context is missing, empty or no text.
            ConfigError: the question is no text, or the budget is none.
            OutcoreError: the models or the sandbox failed; see `outcore.errors`.
        """
        return self._loop.run(self._complete(prompt, root_prompt, budget))

    async def acompletion(
        self,
        prompt: Context | Corpus,
        root_prompt: str | None = None,
        *,
        budget: Budget | None = None,
    ) -> Completion:
        """`completion`, to be awaited. Cancelling it ends the question and its kernel."""
        return await self._loop.awaited(self._complete(prompt, root_prompt, budget))

    def check(self) -> None:
        """See what can be seen to fail before models are fetched and started.

        Raises:
            ConfigError: there is no such profile.
            SandboxUnavailable: this machine can't isolate a kernel as asked.
        """
        if self.settings.profile is not None:
            Profile.load(self.settings.profile)
        if self.settings.direct != "always":
            tiers.choose(self.settings.sandbox)

    def close(self) -> None:
        """End the models and all that belongs to them. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._loop.close(self._end)

    async def _end(self) -> None:
        await self._pool.close()
        reaper().release_path(self._spare)
        if self.status.batchers is not None:
            self.status.batchers.close()
        if self._served is not None:
            await self._served.close()
        if self._memo is not None:
            await asyncio.to_thread(self._memo.close)
        if self._session is not None:
            self._session.remove()
        gc.unfreeze()
        with contextlib.suppress(OSError):
            self._logs.rmdir()  # holds the logs of engines that failed, and stays for them
        reaper().release_path(self._logs)

    async def _models(self) -> tuple[Served, Batchers]:
        async with self._starting:
            if self._served is None:
                self.status.starting = True
                try:
                    await self._start()
                finally:
                    self.status.starting = False
            assert self._served is not None
            assert self.status.batchers is not None
            return self._served, self.status.batchers

    async def _start(self) -> None:
        if self._session is None:
            self._session = Session.create()
            reaper().adopt_path(self._logs)
            reaper().adopt_path(self._spare)
        served = await serve(
            self.settings.root,
            self.settings.sub,
            scratch=self._session.folder,
            logs=self._logs,
            progress=self._progress,
            shared_prefix=self.settings.shared_prefix,
        )
        self._served = served
        if self.settings.memo:
            self._memo = Memo(home() / "memo.db")
        self.status.batchers = Batchers.of(served.root, served.sub, self._memo, judge=served.judge)
        # Hundreds of thousands of objects of vLLM's stay as they are: without this, Python
        # goes through them again for every few thousand calls.
        gc.freeze()

    async def _complete(
        self, prompt: Context | Corpus, root_prompt: str | None, budget: Budget | None
    ) -> Completion:
        if self._closed:
            raise OutcoreError("this RLM is closed; make a new one")
        text = root_prompt if root_prompt is not None else INSTRUCTION_INSIDE
        check_question(text)
        if budget is not None:
            check_budget(budget)
        await asyncio.to_thread(self.check)
        with self.status.question() as work:
            # Before anything is staged, and before its clock starts.
            async with self._places:
                return await self._placed(text, prompt, budget, work)

    async def _placed(
        self, text: str, prompt: Context | Corpus, budget: Budget | None, work: Work
    ) -> Completion:
        spending = Spending(budget if budget is not None else self.settings.budget)
        if isinstance(prompt, Corpus):
            work.tell("looking at the context")
            return await self._recorded(text, prompt, spending, work)
        staging = Staging()
        try:
            work.tell("reading the context")
            corpus = await staging.stage(prompt, self.settings.encoding, spending.left)
            return await self._recorded(text, corpus, spending, work)
        finally:
            await staging.close()

    async def _recorded(
        self, text: str, corpus: Corpus | None, spending: Spending, work: Work
    ) -> Completion:
        # Before the models, which take long to start: a record that can't be is told at once.
        trajectory = Trajectory(self.settings.runs_dir / _run_id())
        try:
            if corpus is None:
                completion = self._unread(text, spending, trajectory)
            else:
                completion = await self._asked(text, corpus, spending, trajectory, work)
        except BaseException as error:
            trajectory.add("end", error=_told(error))
            raise
        finally:
            trajectory.close()
        return replace(completion, record_error=trajectory.loss)

    async def _asked(
        self,
        text: str,
        corpus: Corpus,
        spending: Spending,
        trajectory: Trajectory,
        work: Work,
    ) -> Completion:
        with spending.paused():
            served, batchers = await self._models()
        work.spending = spending
        question = Question(
            text,
            corpus,
            served,
            batchers,
            self.settings,
            spending,
            trajectory,
            work.tell,
            self._pool,
        )
        return await question.answer()

    def _unread(self, text: str, spending: Spending, trajectory: Trajectory) -> Completion:
        """What comes of a question whose seconds end before its context is read."""
        served = self._served
        root, sub = (served.root.name, served.sub.name) if served else ("none", "none")
        trajectory.add("run", question=text)
        completion = Completion(
            answer="",
            complete=False,
            citations=(),
            usage=spending.used(root=root, sub=sub),
            turns=0,
            seconds=spending.seconds,
            run_dir=trajectory.folder,
            sandbox="direct",
            reason=f"reading the context took longer than {spending.budget.seconds:.4g} seconds",
        )
        trajectory.add("end", **completion.as_dict())
        return completion


def _run_id() -> str:
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


def _told(error: BaseException) -> str:
    """How a run that was broken off ended."""
    if isinstance(error, asyncio.CancelledError):
        return "interrupted"
    return f"{type(error).__name__}: {error}"
