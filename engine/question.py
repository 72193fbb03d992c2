"""One question over one staged context: the direct way, or a run with a kernel."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from outcore.engine.advice import advice
from outcore.engine.children import Children
from outcore.engine.citations import cite
from outcore.engine.context.card import card
from outcore.engine.context.layout_cache import known_layout
from outcore.engine.context.search import SearchIndex
from outcore.engine.desk import Desk, Draft
from outcore.engine.direct import Direct
from outcore.engine.endings import end
from outcore.engine.form import Form
from outcore.engine.plans.planner import counted
from outcore.engine.plans.scene import Scene
from outcore.engine.plans.wording import listings
from outcore.engine.profile import Profile
from outcore.engine.result import Completion
from outcore.engine.run import Outcome, Run
from outcore.engine.subcalls import SubCalls
from outcore.kernel_sandbox import Kernel, KernelSpec
from outcore.models.engine import Priority

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from outcore.config import Settings
    from outcore.engine.batching.batcher import Batchers
    from outcore.engine.budget import Spending
    from outcore.engine.context.corpus import Corpus
    from outcore.engine.context.search import Passage
    from outcore.engine.result import Citation
    from outcore.engine.trajectory import Trajectory
    from outcore.kernel_sandbox import Handler, Pool
    from outcore.models.serve import Served

_SAMPLE_CHARS = 4_000
_SAMPLES = 8
# Indexes are built apart from what waits for the next thread, such as typed calls.
_INDEXERS = ThreadPoolExecutor(2, thread_name_prefix="index")
# A slice leaves room for the question, the reply, and text denser than the samples.
_SLICE_SHARE = 0.6
_SLICE_MOST = 8_192
# How long a run that has ended waits for the building of an index to end too.
_INDEX_SECONDS = 0.2
# A run broken off at its deadline waits so long for what clears away after it, a cancelled one
# longer.
_LATE_SECONDS = 0.2
_CLEARED_SECONDS = 5.0
# And how long its answer, past the deadline, waits for its citations.
_CITE_SECONDS = 0.3
_TYPES = {
    "str": "a str",
    "list": "a list",
    "dict": "a dict from name to text",
}


@dataclass(slots=True)
class _SoFar:
    """How far a question has come.

    Attributes:
        run: its turns, once they have begun.
        outcome: what came of them, once they have ended.
        tier: isolation of the kernel, `direct` before there is one.
        warning: why that is weaker than it could be, where nobody had asked for it.
    """

    run: Run | None = None
    outcome: Outcome | None = None
    tier: str = "direct"
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """What is needed to answer one question.

    Attributes:
        text: the question.
        corpus: the staged context.
        served: the running models.
        batchers: the ways to them.
        settings: how to go about it.
        spending: the run's account.
        trajectory: the run's record; closed by whoever opened it.
        phase: is told what is being done, in a word or two.
        pool: kernels for child runs.
        level: how many runs stand above this one.
    """

    text: str
    corpus: Corpus
    served: Served
    batchers: Batchers
    settings: Settings
    spending: Spending
    trajectory: Trajectory
    phase: Callable[[str], None]
    pool: Pool
    level: int = 0

    async def answer(self) -> Completion:
        """Answer it, by the way that suits the context's length.

        Raises:
            OutcoreError: as the parts of a run raise it.
        """
        root, sub = self.served.root, self.served.sub
        self.trajectory.add(
            "run",
            question=self.text,
            root=root.name,
            sub=sub.name,
            context={
                "digest": self.corpus.digest,
                "chars": self.corpus.chars,
                "documents": len(self.corpus.documents),
            },
        )
        so_far = _SoFar()
        outcome = await self._in_time(so_far)
        draft = outcome.draft
        citations = await self._cited(draft, so_far.run.desk.shown if so_far.run else [])
        completion = Completion(
            answer=self._formed(draft.content),
            complete=outcome.reason is None,
            citations=citations,
            usage=self.spending.used(root=root.name, sub=sub.name),
            turns=self.spending.turns,
            seconds=self.spending.seconds,
            run_dir=self.trajectory.folder,
            sandbox=so_far.tier,
            sandbox_warning=so_far.warning,
            reason=outcome.reason,
            record_error=self.trajectory.loss,
        )
        self.trajectory.add("end", **completion.as_dict())
        return completion

    async def _in_time(self, so_far: _SoFar) -> Outcome:
        """What comes of it before its seconds are over, wherever that finds it."""
        work = asyncio.create_task(self._answered(so_far))
        try:
            await asyncio.wait([work], timeout=max(0.0, self.spending.left))
        except asyncio.CancelledError:
            work.cancel()
            await end(work, _CLEARED_SECONDS)
            raise
        if work.done():
            return work.result()
        work.cancel()
        await end(work, _LATE_SECONDS)
        if so_far.outcome is not None:
            return so_far.outcome
        best = so_far.run.best if so_far.run is not None else None
        spent = f"the run has spent {self.spending.budget.seconds:.4g} seconds"
        return Outcome(best or Draft(), spent)

    async def _answered(self, so_far: _SoFar) -> Outcome:
        direct = Direct(self.served.root, self.batchers.root, self.spending, self.trajectory)
        most = self._profile().direct_tokens
        prompt = await direct.prompt(self.text, self.corpus, self.settings.direct, most)
        if prompt is None or await self._counted():
            so_far.outcome = await self._with_kernel(so_far)
        else:
            self.phase("reading")
            # Root turns are few and wait for no room in the engine; children may be many.
            priority = Priority.SUB_CALL if self.level else Priority.ROOT
            so_far.outcome = await direct.answer(prompt, priority)
        return so_far.outcome

    async def _counted(self) -> bool:
        """Whether a short context is better counted by a program than by a weak root's eye."""
        if self.settings.direct != "auto" or not self._plans():
            return False
        layout = await asyncio.to_thread(known_layout, self.corpus)
        scene = Scene(self.text, "", self.corpus, layout)
        return await asyncio.to_thread(counted, scene)

    async def _cited(self, draft: Draft, shown: list[Passage]) -> tuple[Citation, ...]:
        """Where the answer stands; nowhere, if a huge context can't be looked through in time."""
        seconds = max(_CITE_SECONDS, self.spending.left)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.to_thread(
                    cite, self.corpus, self.text, draft.content, draft.quotes, shown
                )
        except TimeoutError:
            return ()

    async def _with_kernel(self, so_far: _SoFar) -> Outcome:
        sub, judge = self.served.sub, self.served.judge
        profile = self._profile()
        children = Children(self) if self.level < self.settings.depth else None
        sub_calls = SubCalls(self.batchers, self.spending, profile.sub_tokens)
        stop = threading.Event()
        index = asyncio.ensure_future(
            asyncio.get_running_loop().run_in_executor(
                _INDEXERS, partial(SearchIndex.open_or_build, self.corpus, stop=stop)
            )
        )
        try:
            chars_per_token = await self._chars_per_token()
            layout = await asyncio.to_thread(known_layout, self.corpus)
            told = card(self.corpus, layout, int(self.corpus.chars / chars_per_token))
            window = min(sub.window, judge.window)
            slice_tokens = min(_SLICE_MOST, int(window * _SLICE_SHARE) - profile.sub_tokens)
            desk = Desk(self.corpus, index, sub, sub_calls, children)
            hints = {
                "slice_tokens": slice_tokens,
                "chars_per_token": chars_per_token,
                "speculate": self.settings.speculate,
                "layout": layout.as_dict(),
            }
            spec = KernelSpec(self.corpus.folder, tier=self.settings.sandbox, hints=hints)
            self.phase("starting the sandbox")
            async with self._kernel(spec, desk.handle) as kernel:
                self.phase("working")
                so_far.tier, so_far.warning = kernel.tier, kernel.warning
                so_far.run = Run(
                    scene=Scene(self.text, told, self.corpus, layout),
                    context_type=_TYPES[self.corpus.kind],
                    root=self.batchers.root,
                    profile=profile,
                    plans=self._plans(),
                    kernel=kernel,
                    desk=desk,
                    spending=self.spending,
                    trajectory=self.trajectory,
                    limits={
                        "slice_tokens": slice_tokens,
                        "slice_chars": int(slice_tokens * chars_per_token),
                        "output_chars": profile.output_chars,
                        "advice": advice(sub, chars_per_token, small=not self.served.sub_judges),
                    },
                )
                try:
                    # Told before the kernel ends, which may take it past the deadline.
                    so_far.outcome = await so_far.run.answer()
                    return so_far.outcome
                finally:
                    # Until then the models would go on with guesses that nobody will use.
                    sub_calls.close()
        finally:
            stop.set()
            if children is not None:
                await children.close()
            # Its failure, if it failed, has been told to whoever searched.
            index.add_done_callback(_heard)
            await asyncio.wait([index], timeout=_INDEX_SECONDS)

    @contextlib.asynccontextmanager
    async def _kernel(self, spec: KernelSpec, handler: Handler) -> AsyncIterator[Kernel]:
        if self.level == 0:
            async with await Kernel.start(spec, handler) as kernel:
                yield kernel
            return
        left = self.spending.working_left
        async with self.pool.lend(spec, handler, level=self.level, seconds=left) as kernel:
            yield kernel

    def _formed(self, answer: str) -> str:
        form = Form.of(self.text)
        choices = [item for one in listings(self.text) for item in one.items]
        return form.applied(answer, choices) if form else answer

    def _profile(self) -> Profile:
        return Profile.load(self.settings.profile or self.served.profile)

    def _plans(self) -> bool:
        mode = self.settings.root_mode
        return (self._profile().mode if mode == "auto" else mode) == "plan"

    async def _chars_per_token(self) -> float:
        """Measured with the sub-LM's tokenizer on pieces spread over the context."""
        pieces = await asyncio.to_thread(self.corpus.samples, _SAMPLES, _SAMPLE_CHARS)
        text = "".join(pieces)
        return max(0.5, len(text) / max(1, await self.served.sub.count_tokens(text)))


def _heard(index: asyncio.Future[SearchIndex]) -> None:
    if not index.cancelled():
        index.exception()
