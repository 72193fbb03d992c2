"""Child runs: scripted models, and everything else real."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from leftovers import paths
from sandboxing import descendants
from scripted import Meeting, ScriptedEngine, giving, said

from outcore.config import Budget, Settings, home
from outcore.engine.batching.batcher import Batchers
from outcore.engine.budget import Spending
from outcore.engine.context.corpus import stage
from outcore.engine.question import Question
from outcore.engine.rlm import RLM
from outcore.engine.trajectory import Trajectory, read
from outcore.errors import BudgetExceeded, ConfigError, ModelError
from outcore.kernel_sandbox import Pool
from outcore.kernel_sandbox.session import sessions_folder
from outcore.models.serve import Served
from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from outcore.engine.result import Completion
    from outcore.models.engine import Generation, Request

TOP = "TOP QUESTION"
CONTEXT = "The lake is deep.\n" * 20


def cell(code: str) -> str:
    return f"```repl\n{code}\n```"


def played(**runs: Any) -> Callable[[Request], str]:
    """A root that plays several runs at once, each told by a word in its question.

    `top` are the replies of the first run, one a turn, and the last repeats.
    """

    def reply(request: Request) -> str:
        messages = request.prompt.messages  # type: ignore[union-attr]  # scripted: a ChatPrompt
        asked = [one.content for one in messages if one.role == "user"]
        question = asked[0].rpartition("Question:")[2] or asked[0]
        name = (
            next(name for name in runs if name != "top" and name in question)
            if (TOP not in question)
            else "top"
        )
        replies = runs[name] if isinstance(runs[name], list) else [runs[name]]
        said_now = replies[min(len(asked), len(replies)) - 1]
        if isinstance(said_now, Exception):
            raise said_now
        return str(said_now)

    return reply


class Tree:
    """A first run and what it needs."""

    def __init__(
        self,
        folder: Path,
        root: Any,
        sub: ScriptedEngine | None = None,
        budget: Budget | None = None,
        context: Any = CONTEXT,
        **settings: Any,
    ) -> None:
        chosen = Settings(direct=settings.pop("direct", "never"), profile="coder", **settings)
        self.root = root if isinstance(root, ScriptedEngine) else ScriptedEngine([root])
        self.sub = sub or ScriptedEngine(["fine"], name="below")
        self.spending = Spending(budget or Budget())
        self.run = folder / "run"
        self.pool = Pool(folder / "pool", chosen.kernels)
        self.batchers = Batchers.of(self.root, self.sub, None)
        self.question = Question(
            text=TOP,
            corpus=stage(context, folder / "context"),
            served=Served(self.root, self.sub, "coder"),
            batchers=self.batchers,
            settings=chosen,
            spending=self.spending,
            trajectory=Trajectory(self.run),
            phase=lambda _: None,
            pool=self.pool,
        )

    async def answer(self) -> Completion:
        return await self.question.answer()

    def outputs(self) -> list[str]:
        return [event["output"] for event in read(self.run) if event["event"] == "cell"]

    def children(self) -> list[dict[str, Any]]:
        """The events of the first run's children."""
        return [event for event in read(self.run) if event["event"] == "child"]


@asynccontextmanager
async def tree(folder: Path, root: Any, **rest: Any) -> AsyncIterator[Tree]:
    """A tree of runs, and the proof afterwards that nothing is left of it."""
    reaper()
    before = descendants()
    grown = Tree(folder, root, **rest)
    try:
        yield grown
    finally:
        grown.question.trajectory.close()
        grown.batchers.close()
        await grown.pool.close()
    assert descendants() <= before
    assert kernels() == 0
    assert not (folder / "pool").exists()


def kernels() -> int:
    return len(paths(sessions_folder(), f"k-{os.getpid()}-*"))


async def test_a_child_answers_from_its_own_context(tmp_path: Path) -> None:
    root = played(
        top=cell("mine = 1\ndone(rlm_query('name ONE', 'The name is Bo'))"),
        ONE=cell("done(context.split()[-1] + str('mine' in globals()))"),
    )
    async with tree(tmp_path, root) as run:
        completion = await run.answer()
        assert completion.answer == "BoFalse"
        assert completion.complete
        assert completion.turns == 1
        [child] = run.children()
        assert (child["number"], child["status"], child["answer"]) == (1, "ok", "BoFalse")
        assert (child["prompt"], child["turns"]) == ("name ONE", 1)


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("'a text'", "'a text'"),
        ("['one', 'two']", "['one', 'two']"),
        ("{'a.txt': 'one', 'b.txt': 'two'}", "{'a.txt': 'one', 'b.txt': 'two'}"),
        ("[{'id': 1, 'tags': ('x', None)}]", "[{'id': 1, 'tags': ['x', None]}]"),
        ("slices()[:1]", repr([CONTEXT])),
        ("search('lake', k=1)", repr([CONTEXT[:-1]])),
    ],
)
async def test_what_a_child_can_be_given(tmp_path: Path, given: str, seen: str) -> None:
    root = played(top=cell(f"done(rlm_query('ONE', {given}))"), ONE=cell("done(repr(context))"))
    async with tree(tmp_path, root) as run:
        assert (await run.answer()).answer.replace("\\n']", "']") == seen.replace("\\n']", "']")


async def test_without_a_context_the_prompt_is_all_there_is(tmp_path: Path) -> None:
    root = played(
        top=cell("done(rlm_query('Say the word heron'))"),
        instruction=cell("done(context[-5:])"),
    )
    async with tree(tmp_path, root) as run:
        assert (await run.answer()).answer == "heron"


async def test_a_short_context_is_answered_directly(tmp_path: Path) -> None:
    root = played(top=cell("done(rlm_query('ONE?', 'Bo is the name'))"), ONE="Bo")
    long = "word " * 20_000
    async with tree(tmp_path, root, context=long, direct="auto") as run:
        assert (await run.answer()).answer == "Bo"
        events = list(read(run.run / "children" / "1"))
        assert events[-1]["sandbox"] == "direct"
        assert "Bo is the name\n\nONE?" in said(run.root.asked[1])


async def test_children_of_a_batch_run_at_once_on_kernels_of_their_own(tmp_path: Path) -> None:
    root = played(
        top=cell(
            "done(' '.join(rlm_query_batched('ONE', ['a', 'b', 'c'])))",
        ),
        ONE=cell("seen = globals().get('seen', '') + context\ndone(llm_query(seen))"),
    )
    sub = Meeting([lambda request: said(request)[-1]], together=3)
    async with tree(tmp_path, root, sub=sub) as run:
        assert (await run.answer()).answer == "a b c"
        assert sorted(child["number"] for child in run.children()) == [1, 2, 3]


async def test_a_batch_pairs_prompts_and_contexts(tmp_path: Path) -> None:
    root = played(
        top=cell(
            "a = rlm_query_batched(['ONE', 'TWO'], ['x', 'y'])\n"
            "b = rlm_query_batched(['ONE', 'TWO'], {'k': 'v'})\n"
            "done(str(a + b))"
        ),
        ONE=cell("done(f'1 {context}')"),
        TWO=cell("done(f'2 {context}')"),
    )
    async with tree(tmp_path, root) as run:
        answer = (await run.answer()).answer
    assert answer == str(["1 x", "2 y", "1 {'k': 'v'}", "2 {'k': 'v'}"])


async def test_no_more_children_have_kernels_than_may(tmp_path: Path) -> None:
    root = played(
        top=cell("done(str(len(rlm_query_batched('ONE', list('abcde')))))"),
        ONE=cell("done(llm_query(context))"),
    )
    sub = Meeting(["fine"], together=2, seconds=0.3)
    async with tree(tmp_path, root, sub=sub, kernels=2) as run:
        assert (await run.answer()).answer == "5"
        assert sub.peak == 2


async def test_one_kernel_a_level_is_enough_for_any_depth(tmp_path: Path) -> None:
    root = played(
        top=cell("done(' '.join(rlm_query_batched('ONE', ['a', 'b', 'c'])))"),
        ONE=cell("done(rlm_query('TWO', context + '1'))"),
        TWO=cell("done(context + '2')"),
    )
    async with tree(tmp_path, root, depth=2, kernels=1) as run:
        assert (await run.answer()).answer == "a12 b12 c12"
        below = run.run / "children" / "2" / "children" / "1"
        assert list(read(below))[-1]["complete"]


@pytest.mark.parametrize("depth", [0, 1])
async def test_at_the_last_level_the_sub_lm_answers(tmp_path: Path, depth: int) -> None:
    ask = "done(rlm_query('Who is it?', {'a': 'x', 'b': ['y', 1]}))"
    root = played(top=cell("done(rlm_query('ONE', 'z'))" if depth else ask), ONE=cell(ask))
    async with tree(tmp_path, root, depth=depth) as run:
        assert (await run.answer()).answer == "fine"
        [request] = run.sub.asked
        assert said(request).endswith('--- a ---\nx\n--- b ---\n["y", 1]\n\nWho is it?')
        assert len(run.children()) == depth


async def test_a_failed_child_raises_in_the_cell_and_variables_stand(tmp_path: Path) -> None:
    root = played(
        top=[cell("kept = 7\nrlm_query('ONE', 'z')"), cell("done(str(kept))")],
        ONE=ModelError("the engine fell over"),
    )
    async with tree(tmp_path, root) as run:
        assert (await run.answer()).answer == "7"
        assert "ModelError: the engine fell over" in run.outputs()[0]
        [child] = run.children()
        assert (child["status"], child["error"]) == ("failed", "ModelError: the engine fell over")
        assert "fell over" in list(read(run.run / "children" / "1"))[-1]["error"]


async def test_a_failed_child_fails_alone(tmp_path: Path) -> None:
    root = played(
        top=cell(
            "got = rlm_query_batched(['ONE', 'TWO'], ['x', 'y'], return_exceptions=True)\n"
            "try:\n    rlm_query_batched(['TWO', 'ONE'], ['x', 'y'])\n"
            "except BatchError as error:\n    print(error.results[0])\n"
            "done(f'{type(got[0]).__name__} {got[1]}')"
        ),
        ONE=ModelError("the engine fell over"),
        TWO=cell("done(context)"),
    )
    async with tree(tmp_path, root) as run:
        assert (await run.answer()).answer == "ModelError y"
        assert run.outputs() == ["x\n[]\n"]


async def test_an_incomplete_child_raises_with_its_best_answer(tmp_path: Path) -> None:
    root = played(
        top=cell(
            "try:\n    rlm_query('ONE', 'z')\n"
            "except IncompleteAnswer as error:\n    print(error)\n    done(error.answer)"
        ),
        ONE=[cell("print(1)"), cell("print(2)"), "perhaps Bo"],
    )
    async with tree(tmp_path, root, budget=Budget(turns=2)) as run:
        assert (await run.answer()).answer == "perhaps Bo"
        assert "before it was sure: the run has spent 2 turns" in run.outputs()[0]
        assert run.children()[0]["status"] == "incomplete"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("rlm_query('  ', 'x')", "the prompt is empty"),
        ("rlm_query('ONE', '')", "the context is empty"),
        ("rlm_query('ONE', 7)", "context must be a text, or a list or dict of texts, not int"),
        ("rlm_query(None, 'x')", "this one is None"),
        ("rlm_query('ONE', 'x' * (17 << 20))", "one call carries at most"),
        ("rlm_query('ONE ' * (3 << 20), context)", "send a smaller slice"),
    ],
)
async def test_what_a_child_can_not_be_given(tmp_path: Path, code: str, error: str) -> None:
    root = played(top=[cell(code), cell(giving("told"))])
    async with tree(tmp_path, root) as run:
        assert (await run.answer()).answer == "told"
        assert error in run.outputs()[0]


async def test_use_rolls_up_and_each_child_keeps_its_own(tmp_path: Path) -> None:
    root = played(
        top=cell("llm_query('0')\ndone(rlm_query('ONE', 'a'))"),
        ONE=cell("llm_query('1')\ndone(rlm_query('TWO', 'b'))"),
        TWO=cell("llm_query('2')\n" + giving("deep")),
    )
    async with tree(tmp_path, root, depth=2) as run:
        completion = await run.answer()
        usage = completion.usage
        assert (usage["root"].calls, usage["sub"].calls) == (3, 3)
        for engine, use in ((run.root, usage["root"]), (run.sub, usage["sub"])):
            assert use.tokens_in == sum(engine.length(one.prompt) for one in engine.asked)
        [child] = run.children()
        assert child["usage"]["sub"]["calls"] == 2
        [grandchild] = [
            event for event in read(run.run / "children" / "1") if event["event"] == "child"
        ]
        assert grandchild["usage"]["sub"]["calls"] == 1
        # Two child runs and three sub-calls were asked for.
        assert run.spending.asked == 5


# A slow sub-LM leaves time for guesses, and those of all children together are bounded too.
@pytest.mark.parametrize("seconds", [0.0, 0.05], ids=["fast", "slow"])
async def test_children_make_no_more_calls_than_the_first_run_may(
    tmp_path: Path, seconds: float
) -> None:
    sub = ScriptedEngine(["fine"], name="below", seconds=seconds)
    root = played(
        top=cell(
            "got = rlm_query_batched('ONE', [str(n) for n in range(8)], return_exceptions=True)\n"
            "done(str(sum(isinstance(one, str) for one in got)))"
        ),
        ONE=cell(
            "made = 0\ntry:\n    while True:\n        llm_query(f'{context} {made}'); made += 1\n"
            "except BudgetExceeded as error:\n    print(error)\ndone(str(made))"
        ),
    )
    async with tree(tmp_path, root, sub=sub, budget=Budget(calls=30), kernels=3) as run:
        assert (await run.answer()).answer == "8"
        assert len(run.sub.asked) == 30 - 8
        assert run.spending.asked == 30


async def test_direct_children_compute_no_more_tokens_than_the_first_run_may(
    tmp_path: Path,
) -> None:
    root = ScriptedEngine(
        [
            played(
                top=[
                    cell(
                        "got = rlm_query_batched('ONE', ['w ' * 900 + str(n) for n in range(100)])"
                    ),
                    cell("done('never')"),
                ],
                ONE="yes",
                cells="out of it",
            )
        ],
        in_flight=4,
    )
    long = "word " * 20_000
    async with tree(
        tmp_path, root, context=long, direct="auto", budget=Budget(tokens=10_000)
    ) as run:
        completion = await run.answer()
        assert "10,000 tokens" in (completion.reason or "")
        assert "BudgetExceeded" in run.outputs()[0]
        # Each computes 450. What was on its way when the budget ended is let finish.
        assert len(run.root.asked) < 22 + 20


async def test_a_cancelled_question_takes_its_children_along(tmp_path: Path) -> None:
    root = played(
        top=cell("rlm_query_batched('ONE', ['a', 'b'])"),
        ONE=cell("done(rlm_query('TWO', context))"),
        TWO=cell("llm_query(context)"),
    )
    sub = Meeting(["never"], together=99)
    async with tree(tmp_path, root, sub=sub, depth=2) as run:
        task = asyncio.create_task(run.answer())
        while sub.here < 2:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # But for those that wait for the next child, all kernels are gone by now.
        assert kernels() <= len(run.pool._warm)
        assert not run.pool._lent
        assert [child["status"] for child in run.children()] == ["cancelled"] * 2
        await asyncio.sleep(0.1)
        assert sub.here == 0


class Signal(Meeting):
    """Answers `now?` as soon as another request is there, and that never."""

    async def generate(self, request: Request) -> Generation:
        if not said(request).endswith("now?"):
            return await super().generate(request)
        while not self.here:
            await asyncio.sleep(0.02)
        return await ScriptedEngine.generate(self, request)


@pytest.mark.parametrize("end", ["signal.SIGINT", "signal.SIGKILL"], ids=["interrupted", "killed"])
async def test_a_cell_that_ends_takes_its_child_along(tmp_path: Path, end: str) -> None:
    root = played(
        top=[
            cell(
                "import os, signal, threading\n"
                "def end():\n"
                f"    llm_query('now?')\n    os.kill(os.getpid(), {end})\n"
                "threading.Thread(target=end).start()\nrlm_query('ONE', 'a')"
            ),
            cell("import time; time.sleep(0.5)\n" + giving("after")),
        ],
        ONE=cell("llm_query(context)"),
    )
    sub = Signal(["never"], together=99)
    async with tree(tmp_path, root, sub=sub) as run:
        assert (await run.answer()).answer == "after"
        assert sub.peak == 1
        assert sub.here == 0
        assert not run.pool._lent
        assert [child["status"] for child in run.children()] == ["cancelled"]
        assert not run.spending.children


async def test_a_child_answers_before_its_parents_cell_runs_out(tmp_path: Path) -> None:
    root = played(
        top=cell(
            "try:\n    rlm_query('ONE', 'a')\nexcept IncompleteAnswer as e:\n    done(e.answer)"
        ),
        ONE=[cell("while True: pass"), "the best there is"],
    )
    async with tree(tmp_path, root, budget=Budget(cell_seconds=9.0, turns=1)) as run:
        assert (await run.answer()).answer == "the best there is"


@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.8])
def test_closing_the_models_ends_child_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    root = ScriptedEngine(
        [
            played(
                top=cell("rlm_query_batched('ONE', ['a', 'b', 'c'])"),
                ONE=cell("llm_query(context)"),
            )
        ]
    )
    sub = Meeting(["never"], together=99)

    async def serve(*_: Any, **__: Any) -> Served:
        return Served(root, sub, "coder")

    monkeypatch.setattr("outcore.engine.rlm.serve", serve)
    reaper()
    before = descendants()
    rlm = RLM(direct="never", runs=tmp_path / "runs", memo=False)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(rlm.completion, CONTEXT, TOP)
        deadline = time.monotonic() + 100
        while not sub.here and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(seconds)
        rlm.close()
        with pytest.raises(CancelledError):
            asked.result()
    assert sub.peak >= 1
    assert descendants() <= before
    assert kernels() == 0
    assert not list((home() / "staged").iterdir())


def test_a_hundred_children_share_what_the_parent_has() -> None:
    parent = Spending(Budget(calls=50, tokens=1_000))
    children = [parent.open_child() for _ in range(100)]
    assert all(child.budget.calls == 25 for child in children)
    assert all(child.budget.tokens == 500 for child in children)
    made = 0
    for child in children:
        for _ in range(3):
            try:
                child.charge_call()
                made += 1
            except BudgetExceeded:
                continue
    assert made == parent.asked == 50
    with pytest.raises(BudgetExceeded, match="the run above this one may make 50 sub-calls"):
        children[-1].charge_call()
    with pytest.raises(BudgetExceeded, match="this run may make 50"):
        parent.charge_call()


def test_guesses_are_kept_from_the_runs_beside_alone() -> None:
    top = Spending(Budget(calls=8))
    one, other = top.open_child(), top.open_child()
    one.guessed = 3
    assert (top.held, top.calls_left, top.guesses_left, other.guesses_left) == (3, 8, 5, 4)
    for _ in range(4):
        other.charge_call()
    top.guessed = 1
    assert (top.guesses_left, one.guesses_left) == (0, 0)
    for _ in range(3):
        one.charge_call()
        one.guessed -= 1
    top.charge_call()
    with pytest.raises(BudgetExceeded, match="this run may make 8"):
        top.charge_call()


def test_tokens_of_a_child_count_above_it_at_once_and_only_once() -> None:
    top = Spending(Budget(tokens=1_000))
    child = top.open_child()
    grandchild = child.open_child()
    grandchild.sub.tokens_in = 240
    assert (top.computed, child.computed) == (240, 240)
    assert top.open_child().budget.tokens == 380
    child.close_child(grandchild)
    top.close_child(child)
    assert top.computed == top.sub.tokens_in == 240


def test_a_child_stops_when_a_run_above_it_has_spent_its_budget() -> None:
    top = Spending(Budget(tokens=1_000))
    child = top.open_child()
    assert child.spent() is None
    top.sub.tokens_in = 1_000
    assert child.spent() == "1,000 tokens"
    with pytest.raises(BudgetExceeded, match="the run above this one may compute 1,000 tokens"):
        child.check_call()


def test_seconds_of_a_child_end_before_the_cell_that_waits_for_it() -> None:
    top = Spending(Budget(seconds=1_000))
    assert 960 < top.open_child().budget.seconds <= 970
    top.cell_ends = time.monotonic() + 100
    assert 80 < top.open_child().budget.seconds <= 90


def test_settings_of_child_runs_are_checked() -> None:
    with pytest.raises(ConfigError, match="depth is -1; it must be a whole number from 0 on"):
        Settings(depth=-1)
    with pytest.raises(ConfigError, match="kernels is 0; it must be a whole number from 1 on"):
        Settings(kernels=0)
