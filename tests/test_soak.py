"""Thirty thousand calls of eight runs, with cells cancelled, calls failing and kernels killed."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from sandboxing import descendants, stage
from scripted import ScriptedEngine, said

from outcore.config import Budget
from outcore.engine.batching.batcher import Batcher, Batchers
from outcore.engine.batching.memo import Memo
from outcore.engine.budget import Spending
from outcore.engine.subcalls import SubCalls
from outcore.errors import ModelError, ModelUnavailable
from outcore.kernel_sandbox import Kernel, KernelSpec
from outcore.reaper import reaper

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.models.engine import Generation, Request

pytestmark = pytest.mark.timeout(600)

RUNS, CALLS = 8, 30_000

BATCH = """
asked = [f"{tag} {{n % {distinct}}}" for n in range({calls})]
got = llm_query_batched(asked, text=["slice " * 50 + str(n % 5) for n in range({calls})],
                        return_exceptions=True)
right = sum(one == "re: " + q for one, q in zip(got, asked))
failed = sum(isinstance(one, SubcallError) for one in got)
print("SEEN", len(got), right, failed)
"""
LOOP = """
right = failed = 0
for n in range({calls}):
    try:
        right += llm_query(f"{tag} {{n}}", text="slice " * 50) == f"re: {tag} {{n}}"
    except SubcallError:
        failed += 1
print("SEEN", {calls}, right, failed)
"""
THREADS = """
from concurrent.futures import ThreadPoolExecutor
def ask(n):
    try:
        return llm_query(f"{tag} {{n}}") == f"re: {tag} {{n}}"
    except SubcallError:
        return None
with ThreadPoolExecutor(16) as pool:
    got = list(pool.map(ask, range({calls})))
print("SEEN", {calls}, got.count(True), got.count(None))
"""


@dataclass
class Moody(ScriptedEngine):
    """Takes its time, and fails now and then."""

    chance: random.Random = field(default_factory=lambda: random.Random(7))

    async def generate(self, request: Request) -> Generation:
        self.seconds = self.chance.random() * 0.02
        draw = self.chance.random()
        if draw < 0.01:
            raise ModelError("a bad moment")
        if draw < 0.02:
            raise ModelUnavailable("too much at once")
        try:
            return await super().generate(request)
        finally:
            self.asked.clear()


@dataclass
class Book:
    """What became of each call that reached the host."""

    begun: int = 0
    ended: Counter[str] = field(default_factory=Counter)

    def over(self, sub_calls: SubCalls) -> Any:
        async def handle(op: str, params: dict[str, Any]) -> Any:
            if op == "speculate":
                return {"started": await sub_calls.foresee(params.get("calls"))}
            if op == "answer":
                return {"missing": []}
            self.begun += 1
            try:
                answer = await sub_calls.ask(params)
            except asyncio.CancelledError:
                self.ended["cancelled"] += 1
                raise
            except ModelError:
                self.ended["failed"] += 1
                raise
            self.ended["answered"] += 1
            return answer

        return handle


def echo(request: Request) -> str:
    return "re: " + said(request).rpartition("\n")[2]


async def one_run(number: int, folder: Path, batcher: Batcher, book: Book) -> Counter[str]:
    """Cells until this run's share of the calls is made."""
    chance = random.Random(number)
    usage = Spending(Budget(calls=1_000_000))
    sub_calls = SubCalls(Batchers(batcher, batcher, batcher), usage, max_tokens=16)
    seen: Counter[str] = Counter()
    async with await Kernel.start(KernelSpec(context=folder), book.over(sub_calls)) as kernel:
        made = cell = 0
        while made < CALLS // RUNS:
            cell += 1
            code = chance.choice((BATCH, BATCH, BATCH, LOOP, THREADS))
            calls = chance.randint(200, 600) if code is BATCH else chance.randint(20, 80)
            made += calls
            code = code.format(tag=f"{number} {cell}", calls=calls, distinct=calls * 3 // 4)
            fate = chance.random()
            task = asyncio.create_task(kernel.run(code, seconds=0.05 if fate < 0.1 else 60))
            if 0.1 <= fate < 0.15:
                await asyncio.sleep(chance.random() * 0.2)
                assert kernel.pid is not None
                os.kill(kernel.pid, signal.SIGKILL)
            result = await task
            seen[result.status] += 1
            sub_calls.end_cell()
            if found := re.search(r"SEEN (\d+) (\d+) (\d+)", result.output):
                total, right, failed = map(int, found.groups())
                assert total == calls
                assert right + failed == calls
            else:
                assert result.status in ("interrupted", "killed"), result.output
    return seen


async def test_every_call_is_answered_or_fails_exactly_once(tmp_path: Path) -> None:
    reaper()
    before = descendants()
    memo = Memo(tmp_path / "memo.db")
    engine = Moody([echo], digest="weights", in_flight=128, capacity=20_000)
    batcher, book = Batcher(engine, memo), Book()
    folder = stage(tmp_path / "context")
    rss: list[int] = []

    async def watch() -> None:
        while True:
            await asyncio.sleep(0.2)
            rss.append(psutil.Process().memory_info().rss)

    watching = asyncio.create_task(watch())
    runs = await asyncio.gather(*(one_run(n, folder, batcher, book) for n in range(RUNS)))
    watching.cancel()
    seen = sum(runs, Counter[str]())
    assert seen["ok"] > 50
    assert seen["killed"] > 0
    assert seen["interrupted"] > 0
    assert book.begun >= CALLS * 0.8
    assert sum(book.ended.values()) == book.begun
    assert min(book.ended[end] for end in ("answered", "failed", "cancelled")) > 0
    for _ in range(1000):
        if not batcher.traffic.running + batcher.traffic.waiting:
            break
        await asyncio.sleep(0.05)
    assert (batcher.traffic.running, batcher.traffic.waiting) == (0, 0)
    assert not batcher._flights
    assert all(not replica.running and not replica.backlog for replica in batcher._replicas)
    half = len(rss) // 2
    assert max(rss[half:]) - max(rss[:half]) < 64 << 20
    batcher.close()
    memo.close()
    assert descendants() <= before
