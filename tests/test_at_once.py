"""Several questions put to one `RLM`: how many at once, what the others wait for, what it tells."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from scripted import ScriptedEngine, said

from outcore.config import Budget, Settings, home
from outcore.engine.budget import Spending
from outcore.engine.context import layout_cache
from outcore.engine.context.corpus import stage
from outcore.engine.context.layout import layout_of
from outcore.engine.context.shared_contexts import SharedContexts
from outcore.engine.rlm import RLM
from outcore.engine.status import Status
from outcore.errors import BadContext, ConfigError, OutcoreError
from outcore.models.serve import Served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcore.models.engine import Generation, Request

pytestmark = pytest.mark.timeout(60)

PATIENCE = 20.0


class Held(ScriptedEngine):
    """Holds what it is asked until it is let go, each by its question."""

    def __init__(self) -> None:
        super().__init__([lambda request: f"re: {said(request).split()[-1]}"], name="root")
        self.here: list[str] = []
        self.most = 0
        self.free: set[str] = set()

    async def generate(self, request: Request) -> Generation:
        name = said(request).split()[-1]
        self.here.append(name)
        self.most = max(self.most, len(self.here))
        try:
            while name not in self.free and "all" not in self.free:
                await asyncio.sleep(0.01)
            return await super().generate(request)
        finally:
            self.here.remove(name)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for it; a bound that does not hold is a failure, and no test that hangs."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    engine = Held()

    async def serve(*_: Any, **__: Any) -> Served:
        return Served(engine, ScriptedEngine(["fine"], name="sub"), "coder")

    monkeypatch.setattr("outcore.engine.rlm.serve", serve)
    return engine


def opened(tmp_path: Path, questions: int) -> RLM:
    return RLM(direct="always", memo=False, runs=tmp_path / "runs", questions=questions)


def staged() -> int:
    return len(list((home() / "staged").glob("*")))


def put(rlm: RLM, name: str, **limits: Any) -> asyncio.Task[Any]:
    budget = Budget(**limits) if limits else None
    return asyncio.create_task(rlm.acompletion(f"text {name}", f"What is {name}", budget=budget))


async def test_no_more_are_answered_at_once_than_the_settings_say(
    tmp_path: Path, held: Held
) -> None:
    async with opened(tmp_path, 2) as rlm:
        asked = [put(rlm, f"q{number}") for number in range(6)]
        await until(lambda: len(held.here) == 2 and "4 waiting" in rlm.status.phase)
        # Those that wait have no folder, no record and no account.
        assert staged() == 2
        assert len(list((tmp_path / "runs").iterdir())) == 2
        held.free.add("all")
        answers = [one.answer for one in await asyncio.gather(*asked)]
    assert answers == [f"re: q{number}" for number in range(6)]
    assert held.most == 2


async def test_waiting_for_others_is_no_part_of_the_seconds(
    tmp_path: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = 0.0
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + gone)
    monkeypatch.setattr("outcore.engine.budget.time", clock)
    monkeypatch.setattr(
        "outcore.engine.rlm.Spending", lambda budget: Spending(budget, started=clock.monotonic())
    )
    async with opened(tmp_path, 1) as rlm:
        first = put(rlm, "first", seconds=1e6)
        await until(lambda: held.here)
        second = put(rlm, "second", seconds=1_000.0)
        await until(lambda: "1 waiting" in rlm.status.phase)
        gone = 100_000.0
        held.free.add("all")
        assert (await first).seconds >= 100_000
        later = await second
    assert later.complete
    assert later.seconds < 1_000


async def test_one_that_is_cancelled_while_it_waits_takes_no_place(
    tmp_path: Path, held: Held
) -> None:
    async with opened(tmp_path, 1) as rlm:
        first = put(rlm, "first")
        await until(lambda: held.here)
        waiting = [put(rlm, name) for name in ("second", "third")]
        await until(lambda: "2 waiting" in rlm.status.phase)
        waiting[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting[0]
        await until(lambda: "1 waiting" in rlm.status.phase)
        held.free.add("all")
        assert (await first).answer == "re: first"
        assert (await waiting[1]).answer == "re: third"
        assert rlm.status.phase == "idle"
    assert staged() == 0
    assert len(list((tmp_path / "runs").iterdir())) == 2


async def test_closing_ends_those_that_wait(tmp_path: Path, held: Held) -> None:
    rlm = opened(tmp_path, 1)
    asked = [put(rlm, name) for name in ("first", "second", "third")]
    await until(lambda: held.here and "2 waiting" in rlm.status.phase)
    await asyncio.to_thread(rlm.close)
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(outcome, (asyncio.CancelledError, OutcoreError))
    assert staged() == 0


async def test_the_status_is_that_of_all_of_them(tmp_path: Path, held: Held) -> None:
    async with opened(tmp_path, 3) as rlm:
        assert rlm.status.phase == "idle"
        assert rlm.status.totals() is None
        first, second = put(rlm, "first"), put(rlm, "second")
        await until(lambda: rlm.status.phase == "2 reading")
        held.free.add("first")
        done = await first
        # Whoever ends first ends for itself alone.
        await until(lambda: rlm.status.phase == "reading")
        totals = rlm.status.totals()
        assert totals is not None
        assert totals.questions == 2
        assert totals.root.tokens_out == done.usage["root"].tokens_out
        held.free.add("second")
        await second
        assert rlm.status.phase == "idle"
        third = put(rlm, "third")
        await until(lambda: "third" in held.here)
        totals = rlm.status.totals()
        assert totals is not None
        assert (totals.questions, totals.root.tokens_out) == (1, 0)
        held.free.add("third")
        await third


def test_a_question_that_fails_leaves_the_status() -> None:
    status = Status()

    def fail() -> None:
        with status.question() as work:
            work.tell("reading the context")
            assert status.phase == "reading the context"
            raise BadContext("no text")

    with pytest.raises(BadContext):
        fail()
    assert status.phase == "idle"
    status.starting = True
    assert status.phase == "starting the models"


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3"])
def test_a_bound_that_is_none(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"questions is .* whole number from 1 on"):
        Settings(questions=value)


async def test_a_context_on_the_shelf_is_read_once_and_gone_with_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[Any] = []

    def counting(source: Any, *more: Any, **others: Any) -> Any:
        reads.append(source)
        return stage(source, *more, **others)

    monkeypatch.setattr("outcore.engine.context.staging.stage", counting)
    path = tmp_path / "text.txt"
    path.write_text("a text", encoding="utf-8")
    shelf = SharedContexts(None)
    for _ in range(3):
        shelf.expect((path,))
    async with shelf.lend((path,)) as one, shelf.lend((path,)) as other:
        assert one.folder == other.folder
        assert one.slice(0) == "a text"
    # One is still to come.
    async with shelf.lend((path,)) as third:
        assert third.folder == one.folder
        assert staged() == 1
    assert staged() == 0
    assert reads == [path]
    await shelf.close()


async def test_a_context_that_can_not_be_read_fails_for_each_and_leaves_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "empty.txt"
    path.touch()
    shelf = SharedContexts(None)
    for _ in range(2):
        shelf.expect((path,))
    for _ in range(2):
        with pytest.raises(BadContext, match="empty"):
            async with shelf.lend((path,)):
                pass
    assert staged() == 0


async def test_a_borrower_that_is_cancelled_leaves_the_context_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("a text", encoding="utf-8")
    shelf = SharedContexts(None)
    shelf.expect((path,))
    there = asyncio.Event()

    async def borrow() -> None:
        async with shelf.lend((path,)):
            there.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(borrow())
    await there.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert staged() == 1
    await shelf.close()
    assert staged() == 0


async def test_questions_on_one_staged_context_look_at_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Path] = []
    real = layout_of

    def counting(corpus: Any) -> Any:
        looked.append(corpus.folder)
        if len(looked) == 1:
            raise OSError("the disk said no")
        return real(corpus)

    monkeypatch.setattr(layout_cache, "layout_of", counting)
    corpora = [stage("a: 1\na: 2\n", tmp_path / name) for name in ("one", "two")]
    with pytest.raises(OSError, match="the disk said no"):
        layout_cache.known_layout(corpora[0])
    # A failure is not kept.
    found = await asyncio.gather(
        *(asyncio.to_thread(layout_cache.known_layout, corpora[0]) for _ in range(5))
    )
    assert all(one is found[0] for one in found)
    assert len(looked) == 2
    # The same text staged elsewhere may have another title.
    layout_cache.known_layout(corpora[1])
    assert len(looked) == 3
