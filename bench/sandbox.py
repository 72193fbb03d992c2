"""What the sandbox costs: start, empty cell, sub-call, kill.

    python -P bench/sandbox.py [auto|bwrap|landlock|none]

The host answers each call at once, so that only the way there and back is measured.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from outcore.engine.context.corpus import stage
from outcore.kernel_sandbox import Kernel, KernelSpec

sys.path.insert(0, str(Path(__file__).parent))
from results import record

STARTS, CELLS, CALLS = 10, 200, 2000

ONE_BY_ONE = f"""
import time, json
def timed(text):
    took = []
    for _ in range({CALLS}):
        t = time.perf_counter()
        llm_query("q", text)
        took.append(time.perf_counter() - t)
    return took
t = time.perf_counter()
print(json.dumps([timed("x" * 100), timed("x" * 100_000)]))
"""
BATCH = f"""
t = time.perf_counter()
llm_query_batched(["sleep"] * {CALLS})
print(time.perf_counter() - t)
"""


async def answer(op: str, params: dict[str, Any]) -> Any:
    """Answer at once, or after 0.1 s where the prompt asks for it."""
    if params["prompt"] == "sleep":
        await asyncio.sleep(0.1)
    return "a"


def told(what: str, seconds: list[float]) -> list[object]:
    """A row: how often, median and 99th percentile in milliseconds."""
    cuts = statistics.quantiles(seconds, n=100)
    return [what, len(seconds), cuts[49] * 1e3, cuts[98] * 1e3]


async def main() -> None:
    """Measure and record."""
    tier: Any = sys.argv[1] if len(sys.argv) > 1 else "auto"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "context"
        stage("text " * 1000, folder)
        # Dry runs would be measured too: bench/loops.py does that.
        spec = KernelSpec(folder, tier=tier, hints={"speculate": False})
        starts, ends = [], []
        for _ in range(STARTS):
            began = time.perf_counter()
            kernel = await Kernel.start(spec, answer)
            starts.append(time.perf_counter() - began)
            began = time.perf_counter()
            await kernel.close()
            ends.append(time.perf_counter() - began)
        async with await Kernel.start(spec, answer) as kernel:
            cells = [(await kernel.run("pass", seconds=5)).seconds for _ in range(CELLS)]
            small, large = json.loads((await kernel.run(ONE_BY_ONE, seconds=60)).output)
            batch = float((await kernel.run(BATCH, seconds=60)).output)
            used = kernel.tier
    record(
        "sandbox",
        "What the sandbox costs (milliseconds)",
        ["", "n", "p50", "p99"],
        [
            told("start", starts),
            told("close", ends),
            told("empty cell", cells),
            told("llm_query, 100 B", small),
            told("llm_query, 100 KB", large),
        ],
        [
            f"{CALLS:,} calls of 0.1 s in one batch take {batch:.3f} s.",
            f"Tier {used}. The host answers at once: the way there and back is measured.",
        ],
    )


if __name__ == "__main__":
    asyncio.run(main())
