"""Tokens a second of a whole engine, with slices read once for all their questions and without.

    python -P bench/attention_engine.py     needs a CUDA GPU and vLLM's build for it

The default sub-LM on slices of 8k tokens with many questions each, with few and with one; each
way in a process of its own, the same token ids and settings but for `attention_backend`.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from results import record
from subengine import sub_launch

SLICE, REPLY = 8_000, 128
SHAPES = ((8, 32), (16, 4), (32, 1))
_WAYS = {"FlashAttention": False, "shared prefix": True}


def prompts(slices: int, questions: int) -> list[list[int]]:
    """Token ids without meaning; their like costs the same."""
    chance = random.Random(slices)
    made = []
    for _ in range(slices):
        text = [chance.randrange(1_000, 50_000) for _ in range(SLICE)]
        made += [text + [chance.randrange(1_000, 50_000) for _ in range(40)]
                 for _ in range(questions)]  # fmt: skip
    return made


def child(shared: bool) -> None:
    """Time all shapes on one engine; a line of JSON for each."""
    from vllm import LLM, SamplingParams

    from outcore.models.arguments import engine_args

    with tempfile.TemporaryDirectory() as logs:
        launch = replace(sub_launch(Path(logs)), shared_prefix=shared)
        llm = LLM(**engine_args(launch))
        for slices, questions in SHAPES:
            asked = [{"prompt_token_ids": ids} for ids in prompts(slices, questions)]
            sampling = SamplingParams(temperature=0, max_tokens=REPLY, ignore_eos=True)
            first = SamplingParams(temperature=0, max_tokens=1)
            llm.generate(asked, first, use_tqdm=False)
            begun = time.perf_counter()
            llm.generate(asked, first, use_tqdm=False)
            prefill = time.perf_counter() - begun
            begun = time.perf_counter()
            llm.generate(asked, sampling, use_tqdm=False)
            seconds = time.perf_counter() - begun
            print(json.dumps([launch.name, slices, questions, prefill, seconds]), flush=True)


def main() -> None:
    """Run both ways and write the table."""
    found: dict[tuple[int, int], dict[str, float]] = {}
    name = ""
    for way, shared in _WAYS.items():
        run = subprocess.run(
            [sys.executable, "-P", __file__, "--child", str(int(shared))],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        for line in run.stdout.splitlines():
            if line.startswith("["):
                name, slices, questions, prefill, seconds = json.loads(line)
                tokens = slices * questions * (REPLY - 1)
                found.setdefault((slices, questions), {})[way] = tokens / (seconds - prefill)
    record(
        "attention-engine",
        f"Tokens decoded a second by {name}, slices of {SLICE:,} tokens",
        ["slices", "questions on each", *_WAYS, "ratio"],
        [
            [*shape, *(by[way] for way in _WAYS), by["shared prefix"] / by["FlashAttention"]]
            for shape, by in found.items()
        ],
        ["What the prompts cost, measured with replies of one token, is taken off."],
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2] == "1")
    else:
        main()
