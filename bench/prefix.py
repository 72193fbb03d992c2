"""How much of the prefix cache shuffled calls get, with outcore's order and without.

    python -P bench/prefix.py

8 questions on each of 16 slices, all at once and shuffled, on the default sub-LM with a KV
cache that holds a quarter of the slices. By the batcher, from a cell; and the same prompts in
the same order straight to the engine, as many at once as outcore would send. vLLM's own
counters tell the hits; what is ideal is computed: every block but the first of its kind.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from outcore.config import Budget
from outcore.models.chat import ChatTokens
from outcore.models.engine import ID_BYTES, Asked, Request, TokenPrompt
from outcore.models.progress import SILENT
from outcore.models.prompts import SUB_SYSTEM
from outcore.models.serve import Served
from outcore.models.start import start_engines

sys.path.insert(0, str(Path(__file__).parent))
from results import record
from standin import ScriptedRoot, own_home, real_text, rlm_with
from subengine import sub_launch

if TYPE_CHECKING:
    from outcore.models.vllm_engine import VllmEngine

SLICES, SLICE_CHARS, REPLY = 16, 4_000, 8
QUESTIONS = (
    "Which names does this code define?",
    "What does it import?",
    "Does it handle errors?",
    "What would break if it were deleted?",
    "Is any of it written for speed?",
    "Which other modules does it name?",
    "What is its longest comment about?",
    "Who would call it?",
)
TARGET = 0.95

CELL = f"""
import json, time
order = {{order}}
questions = {QUESTIONS!r}
size = {SLICE_CHARS}
pieces = [context[at : at + size] for at in range(0, {SLICES} * size, size)]
begun = time.perf_counter()
llm_query_batched(
    [questions[question] for _, question in order],
    text=[pieces[piece] for piece, _ in order],
    max_tokens={REPLY},
)
answer["content"] = json.dumps(time.perf_counter() - begun)
answer["ready"] = True
"""


def shuffled() -> list[tuple[int, int]]:
    """Every slice with every question, in an order that is the same each time."""
    pairs = [(piece, at) for piece in range(SLICES) for at in range(len(QUESTIONS))]
    random.Random(0).shuffle(pairs)
    return pairs


def asked_of(text: str, order: list[tuple[int, int]]) -> list[Asked]:
    return [
        Asked(QUESTIONS[at], text[piece * SLICE_CHARS : (piece + 1) * SLICE_CHARS])
        for piece, at in order
    ]


def ideal(prompts: list[TokenPrompt], block: int) -> int:
    """Tokens that a cache without end would hit, in whole blocks."""
    seen: set[bytes] = set()
    hits = 0
    for prompt in prompts:
        packed = prompt.shared + prompt.own
        for end in range(block * ID_BYTES, len(packed) + 1, block * ID_BYTES):
            hits += block * (packed[:end] in seen)
            seen.add(packed[:end])
    return hits


async def unordered(engine: VllmEngine, prompts: list[TokenPrompt]) -> float:
    """Seconds that the engine takes when it gets the calls as they come."""
    places = asyncio.Semaphore(engine.in_flight)

    async def ask(prompt: TokenPrompt) -> None:
        async with places:
            await engine.generate(Request(prompt, REPLY))

    begun = time.perf_counter()
    await asyncio.gather(*map(ask, prompts))
    return time.perf_counter() - begun


async def emptied(engine: VllmEngine) -> tuple[int, int]:
    """Empty the prefix cache; the counters as they stand."""
    if not await engine._llm.reset_prefix_cache():
        raise SystemExit("vLLM would not empty its prefix cache")
    stats = engine.cache_stats()
    return stats.hit, stats.queried


def main() -> None:
    text, order = real_text(SLICES * SLICE_CHARS), shuffled()
    started: list[VllmEngine] = []
    with own_home(), tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        launch = sub_launch(Path(scratch))
        block = launch.plan.block_size
        prompts = ChatTokens(launch.folder).prompts(SUB_SYSTEM, asked_of(text, order), block)
        lengths = {piece: len(prompts[at].shared) for at, (piece, _) in enumerate(order)}
        quarter = sum(lengths.values()) // ID_BYTES // 4
        launch = sub_launch(Path(scratch), kv_tokens=quarter)

        async def start() -> Served:
            started.extend(await start_engines([launch], Path(scratch), SILENT))
            root = ScriptedRoot([CELL.format(order=order)])
            return Served(root=root, sub=started[0], profile="coder")

        with rlm_with(start, memo=False) as rlm:
            engine, loop = started[0], rlm._loop
            at_first = loop.run(emptied(engine))
            budget = Budget(seconds=36_000, cell_seconds=36_000)
            completion = rlm.completion(text, "?", budget=budget)
            try:
                ours_seconds = float(json.loads(completion.answer))
            except ValueError:
                raise SystemExit(f"the cell failed: {completion}") from None
            between = loop.run(emptied(engine))
            theirs_seconds = loop.run(unordered(engine, prompts))
            at_last = loop.run(emptied(engine))
            capacity = engine.cache_stats().capacity
    total = sum(map(len, prompts))
    best = ideal(prompts, block)
    ours, theirs = between[0] - at_first[0], at_last[0] - between[0]
    queried = between[1] - at_first[1], at_last[1] - between[1]
    if queried != (total, total):
        print(f"vLLM counted {queried} tokens where {total} were sent", file=sys.stderr)
    record(
        "prefix",
        f"Prefix cache hits of {len(prompts)} shuffled calls on {SLICES} slices",
        ["", "hits, of all prompt tokens", "of the ideal", "seconds"],
        [
            ["ideal", best / total, 1.0, ""],
            ["outcore", ours / total, ours / best, ours_seconds],
            ["unordered", theirs / total, theirs / best, theirs_seconds],
        ],
        [
            f"outcore reaches {ours / best:.3f} of the ideal (to reach: {TARGET}), unordered calls "
            f"{theirs / best:.3f}.",
            f"{launch.name}; {total:,} prompt tokens; the KV cache holds {capacity:,}, a quarter "
            f"of the slices; blocks of {block}; {engine.in_flight} calls in the engine at once.",
        ],
    )


if __name__ == "__main__":
    main()
