"""The pool of kernels for child runs, with real kernels in the real sandbox."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from leftovers import paths
from sandboxing import Host, descendants, stage

from outcore.errors import SandboxError
from outcore.kernel_sandbox import KernelSpec, Limits, Pool
from outcore.kernel_sandbox.session import sessions_folder
from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from outcore.config import Tier
    from outcore.kernel_sandbox import Kernel
    from outcore.kernel_sandbox.warm import WarmKernel

HINTS = {"slice_tokens": 10, "chars_per_token": 1.0}


class Rig:
    """A pool, and the ways the tests use it."""

    def __init__(self, folder: Path, most: int, tier: Tier) -> None:
        self.pool = Pool(folder / "pool", most)
        self.host = Host()
        self._folder = folder
        self._tier = tier
        self._count = 0

    def spec(self, text: str = "the text\n") -> KernelSpec:
        self._count += 1
        context = stage(self._folder / f"context-{self._count}", text)
        return KernelSpec(context, tier=self._tier, hints=HINTS)

    @asynccontextmanager
    async def lent(
        self, text: str = "the text\n", *, level: int = 1, seconds: float = 30.0
    ) -> AsyncIterator[Kernel]:
        lending = self.pool.lend(self.spec(text), self.host, level=level, seconds=seconds)
        async with lending as kernel:
            yield kernel

    async def output(self, code: str, text: str = "the text\n") -> str:
        async with self.lent(text) as kernel:
            return (await kernel.run(code, seconds=20)).output

    async def warm(self) -> list[WarmKernel]:
        """The kernels that wait, once all are up."""
        return list(await asyncio.gather(*self.pool._warm))


def kernels() -> int:
    """Kernels of this process, by their session folders."""
    return len(paths(sessions_folder(), f"k-{os.getpid()}-*"))


@asynccontextmanager
async def pooled(folder: Path, most: int = 4, tier: Tier = "auto") -> AsyncIterator[Rig]:
    """A rig, and the proof afterwards that nothing is left of it."""
    reaper()
    before = descendants()
    assert kernels() == 0
    rig = Rig(folder, most, tier)
    try:
        yield rig
    finally:
        await rig.pool.close()
    assert descendants() <= before
    assert kernels() == 0
    assert not (folder / "pool").exists()


@pytest.mark.parametrize("tier", ["auto", "none"])
async def test_a_warm_kernel_is_like_a_fresh_one(tmp_path: Path, tier: Tier) -> None:
    code = (
        "print(context, grep('text').__len__(), [str(one) for one in slices()], SHOW_VARS())\n"
        "print(llm_query('hello'), count_tokens('a b c'))"
    )
    async with pooled(tmp_path, tier=tier) as rig:
        fresh = await rig.output(code)
        await rig.warm()
        assert await rig.output(code) == fresh
        assert "['the text\\n']" in fresh
        assert "no variables yet\nre: hello 3" in fresh


async def test_each_borrower_finds_its_own_context(tmp_path: Path) -> None:
    async with pooled(tmp_path) as rig:
        seen = [await rig.output("print(context)", f"text {n}") for n in range(4)]
    assert seen == [f"text {n}\n" for n in range(4)]


async def test_no_kernel_is_lent_twice(tmp_path: Path) -> None:
    async with pooled(tmp_path) as rig:
        seen = [await rig.output("print('left' in globals()); left = 1") for _ in range(4)]
    assert seen == ["False\n"] * 4


async def test_nothing_is_started_before_the_first_loan(tmp_path: Path) -> None:
    before = descendants()
    async with pooled(tmp_path) as rig:
        await asyncio.sleep(0.1)
        assert descendants() <= before
        assert not rig.pool._warm


async def test_a_kernel_that_died_while_it_waited_is_replaced(tmp_path: Path) -> None:
    async with pooled(tmp_path, most=1) as rig:
        await rig.output("1")
        [waiting] = await rig.warm()
        process = waiting._kernel._line.process
        assert process is not None
        await process.child.kill()
        assert await rig.output("print(context)", "still here") == "still here\n"


async def test_a_kernel_that_can_not_be_started_beforehand_is_started_when_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from outcore.kernel_sandbox.warm import WarmKernel

    async def fail(*_: object) -> WarmKernel:
        raise SandboxError("no room")

    monkeypatch.setattr(WarmKernel, "start", fail)
    async with pooled(tmp_path) as rig:
        assert await rig.output("print(1)") == "1\n"
        assert await rig.output("print(2)") == "2\n"
    assert "no room" in caplog.text


async def test_a_killed_cell_gets_a_fresh_kernel_on_the_same_context(tmp_path: Path) -> None:
    async with pooled(tmp_path) as rig:
        await rig.output("1")
        await rig.warm()
        async with rig.lent("mine") as kernel:
            died = await kernel.run("import os; os.kill(os.getpid(), 9)", seconds=20)
            assert died.status == "killed"
            again = await kernel.run("print(context, len(slices()), llm_query('q'))", seconds=20)
            assert again.output == "mine 1 re: q\n"


async def test_other_limits_get_a_kernel_of_their_own(tmp_path: Path) -> None:
    async with pooled(tmp_path) as rig:
        await rig.output("1")
        spec = rig.spec()
        tight = KernelSpec(spec.context, limits=Limits(output=100))
        async with rig.pool.lend(tight, rig.host, level=1, seconds=30) as kernel:
            assert (await kernel.run("print('x' * 5000)", seconds=20)).dropped > 4000


async def test_the_bound_holds_and_those_who_wait_get_their_turn(tmp_path: Path) -> None:
    running = peak = most = 0

    async def borrow(rig: Rig) -> None:
        nonlocal running, peak, most
        async with rig.lent() as kernel:
            running += 1
            peak = max(peak, running)
            await kernel.run("import time; time.sleep(0.2)", seconds=20)
            most = max(most, kernels())
            running -= 1

    async with pooled(tmp_path, most=2) as rig:
        await asyncio.gather(*(borrow(rig) for _ in range(7)))
    assert peak == 2
    # Two that wait for a borrower come on top.
    assert 2 <= most <= 4


async def test_a_wait_that_is_too_long_says_why(tmp_path: Path) -> None:
    async with pooled(tmp_path, most=1) as rig, rig.lent():
        with pytest.raises(SandboxError, match="no kernel became free within 0 s: 1 child"):
            async with rig.lent(seconds=0.1):
                pass


async def test_levels_do_not_take_each_others_places(tmp_path: Path) -> None:
    async with pooled(tmp_path, most=1) as rig, rig.lent(level=1), rig.lent(level=2) as kernel:
        assert (await kernel.run("print(1)", seconds=20)).output == "1\n"


async def test_cancelled_borrowers_leave_nothing_and_free_their_places(tmp_path: Path) -> None:
    async with pooled(tmp_path, most=2) as rig:
        for seconds in (0.0, 0.02, 0.1, 0.2, 0.35, 0.5, 0.7):
            tasks = [asyncio.create_task(rig.output("while True: pass")) for _ in range(4)]
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert await rig.output("print('free')") == "free\n"


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.2, 1.0])
async def test_closing_while_kernels_start_and_wait(tmp_path: Path, seconds: float) -> None:
    async with pooled(tmp_path) as rig:
        await rig.output("1")
        assert rig.pool._warm
        await asyncio.sleep(seconds)


async def test_closing_ends_kernels_that_are_lent(tmp_path: Path) -> None:
    async with pooled(tmp_path) as rig:
        lending = rig.pool.lend(rig.spec(), rig.host, level=1, seconds=30)
        kernel = await lending.__aenter__()
        await rig.pool.close()
        assert not kernel.alive
        with pytest.raises(SandboxError, match="closed"):
            await rig.output("1")
        await lending.__aexit__(None, None, None)
