"""How long the default models take to be ready: outcore's way against vLLM's own, in one run.

    python -P bench/start.py [ROUNDS]

Each way starts in a process of its own and ends when both engines have answered one request.
vLLM's own way is `AsyncLLM.from_engine_args` with the same arguments, one engine after the other.
Three rounds, unless more or fewer are asked for; medians are told.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from outcore.models.arguments import engine_args
from outcore.models.catalog import defaults
from outcore.models.engine import Asked, Request
from outcore.models.launch import Launch
from outcore.models.machine import usable
from outcore.models.need import need
from outcore.models.placement import place
from outcore.models.progress import SILENT
from outcore.models.start import start_engines
from outcore.models.weights import ensure

sys.path.insert(0, str(Path(__file__).parent))
from results import record

ROUNDS = 3
WAYS = ("vllm", "outcore")


def launches(logs: Path) -> list[Launch]:
    """Both default models, placed on this machine."""
    machine = usable()
    models = defaults(machine)
    folders = [ensure(model) for model in models]
    placement = place(need(folders[0]), need(folders[1]), machine)
    return [
        Launch(model.name, folder, plan, logs / f"{model.name}.log")
        for model, folder, plan in zip(models, folders, placement.engines, strict=True)
    ]


async def outcore(logs: Path) -> None:
    engines = await start_engines(launches(logs), logs, SILENT)
    for engine in engines:
        await engine.generate(Request(engine.prompts([Asked("Hello?")])[0], 1))
    print("ready", flush=True)
    for engine in engines:
        await engine.close()


async def vllm(logs: Path) -> None:
    from vllm import SamplingParams
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    engines = [
        AsyncLLM.from_engine_args(AsyncEngineArgs(**engine_args(launch), disable_log_stats=True))
        for launch in launches(logs)
    ]
    for engine in engines:
        async for _ in engine.generate("Hello?", SamplingParams(max_tokens=1), "1"):
            pass
    print("ready", flush=True)
    for engine in engines:
        engine.shutdown()


def timed(way: str) -> float:
    """Seconds from a new process to both engines' first token."""
    begun = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-P", __file__, "--way", way],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "ready":
                seconds = time.monotonic() - begun
                process.stdout.read()
                return seconds
    raise SystemExit(f"{way}: the engines did not start")


def main() -> None:
    if "--way" in sys.argv:
        start = {"outcore": outcore, "vllm": vllm}[sys.argv[-1]]
        with tempfile.TemporaryDirectory() as logs:
            asyncio.run(start(Path(logs)))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            taken[way].append(timed(way))
            print(f"{way}: {taken[way][-1]:.1f} s", flush=True)
    median = {way: statistics.median(times) for way, times in taken.items()}
    record(
        "start",
        "Both default models ready, from a new process (seconds)",
        ["", "median", "least", "most"],
        [[way, median[way], min(taken[way]), max(taken[way])] for way in WAYS],
        [
            f"vLLM's own start takes {median['vllm'] / median['outcore']:.2f}x the time.",
            f"{rounds} rounds; each ends when both engines have answered one request.",
        ],
    )


if __name__ == "__main__":
    main()
