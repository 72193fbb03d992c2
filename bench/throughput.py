"""Tokens a second of unique prompts: outcore's whole path against `vllm.LLM.generate`.

    python -P bench/throughput.py [PROMPTS [ROUNDS]]

Each way starts the default sub-LM in a process of its own, with the same arguments, and
answers the same token ids. outcore's time is that of one `llm_query_batched` in a cell, vLLM's
that of one `generate`. The ways take turns at being first.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from outcore.config import Budget
from outcore.models.arguments import engine_args
from outcore.models.chat import ChatTokens
from outcore.models.engine import Asked
from outcore.models.progress import SILENT
from outcore.models.prompts import SUB_SYSTEM
from outcore.models.serve import Served
from outcore.models.start import start_engines

sys.path.insert(0, str(Path(__file__).parent))
from results import record
from standin import ScriptedRoot, own_home, real_text, rlm_with
from subengine import sub_launch

WAYS = ("outcore", "vllm")
PROMPTS, ROUNDS, WARM, REPLY, CHARS = 256, 3, 8, 16, 100
TARGET = 0.95
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}

CELL = f"""
import json, time
asked = list(context)
llm_query_batched(asked[:{WARM}], max_tokens={REPLY})
begun = time.perf_counter()
answers = llm_query_batched(asked[{WARM}:], max_tokens={REPLY})
answer["content"] = json.dumps([time.perf_counter() - begun, answers])
answer["ready"] = True
"""


def questions(prompts: int) -> list[str]:
    """Unique questions of some 64 tokens, and before them those that warm the engine up."""
    total = WARM + prompts
    text = real_text(total * CHARS)
    pieces = [text[at * CHARS : (at + 1) * CHARS] for at in range(total)]
    return [f"{at}: what does this do?\n{piece}" for at, piece in enumerate(pieces)]


def by_outcore(asked: list[str], scratch: Path) -> Any:
    launch = sub_launch(scratch)

    async def start() -> Served:
        (engine,) = await start_engines([launch], scratch, SILENT)
        return Served(root=ScriptedRoot([CELL]), sub=engine, profile="coder")

    budget = Budget(calls=1_000_000, tokens=1 << 40, seconds=36_000, cell_seconds=36_000)
    with rlm_with(start) as rlm:
        completion = rlm.completion(asked, "?", budget=budget)
    try:
        return json.loads(completion.answer)
    except ValueError:
        raise SystemExit(f"the cell failed: {completion}") from None


def by_vllm(asked: list[str], scratch: Path) -> Any:
    launch = sub_launch(scratch)
    if launch.plan.cores:
        # Left to itself, vLLM would compute on one core less than outcore's engine.
        os.environ["VLLM_CPU_OMP_THREADS_BIND"] = ",".join(map(str, launch.plan.cores))
    from vllm import LLM, SamplingParams

    chat = ChatTokens(launch.folder)
    made = chat.prompts(SUB_SYSTEM, [Asked(one) for one in asked], launch.plan.block_size)
    prompts = [{"prompt_token_ids": one.ids()} for one in made]
    sampling = SamplingParams(temperature=0.0, max_tokens=REPLY)
    llm = LLM(**engine_args(launch))
    llm.generate(prompts[:WARM], sampling, use_tqdm=False)
    begun = time.perf_counter()
    outputs = llm.generate(prompts[WARM:], sampling, use_tqdm=False)
    seconds = time.perf_counter() - begun
    # Without it the process does not end.
    llm.llm_engine.engine_core.shutdown()
    return [seconds, [output.outputs[0].text for output in outputs]]


def in_own_process(way: str, prompts: int) -> tuple[float, list[str]]:
    with tempfile.NamedTemporaryFile("r", suffix=".json") as out:
        command = [sys.executable, "-P", __file__, "--way", way, str(prompts), out.name]
        environment = os.environ | QUIET
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise SystemExit(f"{way} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        seconds, answers = json.load(out)
    return float(seconds), list(answers)


def one_way(way: str, prompts: int, out: Path) -> None:
    run = {"outcore": by_outcore, "vllm": by_vllm}[way]
    with own_home(), tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        out.write_text(json.dumps(run(questions(prompts), Path(scratch))), encoding="utf-8")


def main() -> None:
    if "--way" in sys.argv:
        one_way(sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
        return
    prompts = int(sys.argv[1]) if len(sys.argv) > 1 else PROMPTS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    answers: dict[str, list[str]] = {}
    for number in range(rounds):
        for way in WAYS if number % 2 == 0 else reversed(WAYS):
            seconds, answers[way] = in_own_process(way, prompts)
            taken[way].append(seconds)
            print(f"round {number + 1}, {way}: {seconds:.2f} s", flush=True)
    medians = {way: statistics.median(times) for way, times in taken.items()}
    ratio = medians["vllm"] / medians["outcore"]
    equal = sum(map(str.__eq__, answers["outcore"], answers["vllm"]))
    with own_home() as folder:
        launch = sub_launch(folder)
        chat = ChatTokens(launch.folder)
        made = chat.prompts(SUB_SYSTEM, [Asked(one) for one in questions(prompts)[WARM:]], 1)
    tokens_in = sum(map(len, made))
    tokens_out = sum(len(chat.encode(text)) for text in answers["vllm"])
    record(
        "throughput",
        f"{prompts:,} unique prompts on {launch.name}",
        ["", "seconds", "prompts a second", "tokens in a second", "tokens out a second"],
        [
            [way, medians[way], *(n / medians[way] for n in (prompts, tokens_in, tokens_out))]
            for way in WAYS
        ],
        [
            f"outcore has {ratio:.3f}x the throughput of `vllm.LLM.generate` (to reach: {TARGET}).",
            f"{equal:,} of {prompts:,} replies are the same, letter by letter.",
            f"{tokens_in / prompts:.0f} tokens in and at most {REPLY} out each, median of "
            f"{rounds} rounds.",
        ],
    )


if __name__ == "__main__":
    main()
