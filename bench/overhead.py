"""What a sub-call costs besides vLLM: processor time by stage, memory, latency.

    python -P bench/overhead.py [--profile]

10,000 calls of one token about 100 slices of some 2,000 tokens go from a cell through kernel,
bridge, desk, memo and batcher to an engine that answers at once; then 1,000 calls one by one.
The tokenizer is that of the default sub-LM, where its weights are there. `--profile` prints
where the time of the event loop's thread goes.
"""

from __future__ import annotations

import cProfile
import json
import os
import pstats
import re
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

from outcore.config import Budget
from outcore.models.catalog import defaults
from outcore.models.chat import ChatTokens
from outcore.models.engine import Asked, Generation, Prompt, Request, TokenPrompt
from outcore.models.machine import detect
from outcore.models.prompts import SUB_SYSTEM

sys.path.insert(0, str(Path(__file__).parent))
from typing import TYPE_CHECKING

from results import record
from standin import ScriptedRoot, StandInSub, own_home, real_text, rlm_with, served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.models.model import Model

FIRST, CALLS, SINGLE, BATCH = 1_000, 10_000, 1_000, 1_000
SLICES, SLICE_CHARS = 100, 8_000
TARGET_MS = 0.5

BEGIN = f"""
import json, time
size = {SLICE_CHARS}
pieces = [context[at : at + size] for at in range(0, {SLICES} * size, size)]
spent, took = [], []

def batches(first, end):
    begun = time.process_time()
    for start in range(first, end, {BATCH}):
        numbers = range(start, start + {BATCH})
        asked = [f"{{number}}: what is this about?" for number in numbers]
        texts = [pieces[number % {SLICES}] for number in numbers]
        answers = llm_query_batched(asked, text=texts, max_tokens=1)
        assert answers == ["re"] * {BATCH}, answers[:3]
    spent.append(time.process_time() - begun)

def singles(first, end):
    begun = time.process_time()
    for number in range(first, end):
        at = time.perf_counter()
        llm_query(f"{{number}}: what is this about?", text=pieces[number % {SLICES}], max_tokens=1)
        took.append(time.perf_counter() - at)
    spent.append(time.process_time() - begun)

search("import")  # the index is built before anything is measured
"""
CELLS = [
    BEGIN,
    f"batches(0, {FIRST})",
    f"batches({FIRST}, {CALLS})",
    f"singles({CALLS}, {CALLS + SINGLE})",
    'answer["content"] = json.dumps([spent, took]); answer["ready"] = True',
]


@dataclass
class AtOnce(StandInSub):
    """Answers one token at once; prompts are made by a true tokenizer.

    Attributes:
        chat: the tokenizer; None counts nothing.
    """

    chat: ChatTokens | None = None
    digest: str | None = "stand-in"  # so that the memo takes part
    in_flight: int = 512
    capacity: int | None = 1 << 20

    def prompts(self, asked: Sequence[Asked]) -> list[Prompt]:
        if self.chat is None:
            return super().prompts(asked)
        return list(self.chat.prompts(SUB_SYSTEM, asked, self.block))

    def length(self, prompt: Prompt) -> int:
        return len(prompt) if isinstance(prompt, TokenPrompt) else 1

    async def generate(self, request: Request) -> Generation:
        assert not isinstance(request.prompt, Asked)
        return Generation("re", (1,), "length", self.length(request.prompt), 0, 1)


@dataclass(frozen=True)
class Snapshot:
    """What this process has used so far.

    Attributes:
        cpu: seconds by name of thread.
        rss: resident bytes.
    """

    rss: int
    cpu: dict[str, float] = field(default_factory=dict)

    @classmethod
    def now(cls) -> Snapshot:
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        cpu: dict[str, float] = {}
        for task in Path("/proc/self/task").iterdir():
            name = re.sub(r"[_-]?\d+$", "", names.get(int(task.name), "native"))
            nanoseconds = int((task / "schedstat").read_text().split()[0])
            cpu[name] = cpu.get(name, 0.0) + nanoseconds / 1e9
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(pages * os.sysconf("SC_PAGE_SIZE"), cpu)

    def since(self, earlier: Snapshot) -> dict[str, float]:
        return {
            name: spent
            for name, seconds in self.cpu.items()
            if (spent := seconds - earlier.cpu.get(name, 0.0)) > 1e-4
        }


def tokenizer(model: Model, weights: Path) -> ChatTokens | None:
    folder = weights / model.name
    return ChatTokens(folder) if (folder / "tokenizer.json").is_file() else None


def peak() -> int:
    """Highest resident size since `forget_peak`, in bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10  # type: ignore[index]


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # as where vLLM is started
    model = defaults(detect())[1]
    profile = cProfile.Profile() if "--profile" in sys.argv else None
    snapshots: list[Snapshot] = []

    def on_turn() -> None:
        # Runs on the event loop's thread, between two cells.
        turn = len(snapshots)
        if turn == 1:
            forget_peak()
        if profile is not None and turn == 2:
            profile.enable()
        if profile is not None and turn == 3:
            profile.disable()
        snapshots.append(Snapshot.now())

    budget = Budget(turns=100, calls=1_000_000, tokens=1 << 40)
    with own_home() as folder:
        chat = tokenizer(model, folder / "weights")
        root, sub = ScriptedRoot(list(CELLS), on_turn), AtOnce(chat=chat)
        with rlm_with(served(root, sub), speculate=False) as rlm:
            completion = rlm.completion(real_text(SLICES * SLICE_CHARS), "?", budget=budget)
            highest = peak()
    try:
        spent, took = json.loads(completion.answer)
    except ValueError:
        raise SystemExit(f"a cell failed: {completion}") from None
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    _, first, rest, single, end = snapshots
    kernel = {"kernel process": 1e3 * (spent[0] + spent[1]) / CALLS}
    host = {name: 1e3 * seconds / CALLS for name, seconds in single.since(first).items()}
    one_kernel = {"kernel process": 1e3 * spent[2] / SINGLE}
    one_host = {name: 1e3 * seconds / SINGLE for name, seconds in end.since(single).items()}
    stages = sorted({*host, *one_host}, key=lambda name: -host.get(name, 0.0))
    took.sort()
    record(
        "overhead",
        "Processor time of a sub-call besides vLLM (milliseconds)",
        ["", f"{CALLS:,} in batches of {BATCH:,}", f"{SINGLE:,} one by one"],
        [
            *([f"host: {name}", host.get(name, 0.0), one_host.get(name, 0.0)] for name in stages),
            ["host, all threads", sum(host.values()), sum(one_host.values())],
            ["kernel process", *kernel.values(), *one_kernel.values()],
        ],
        [
            f"Host, in batches: {sum(host.values()):.3f} ms (to reach: under {TARGET_MS}).",
            f"The host's resident memory grew by {(rest.rss - first.rss) / 2**20:.0f} MiB over the "
            f"first {FIRST:,} calls and by {(single.rss - rest.rss) / 2**20:.0f} MiB over the next "
            f"{CALLS - FIRST:,} (to reach: flat); at its highest it was "
            f"{(highest - first.rss) / 2**20:.0f} MiB above its start.",
            f"Latency of a call, one by one: p50 {1e3 * took[len(took) // 2]:.3f} ms, p99 "
            f"{1e3 * took[len(took) * 99 // 100]:.3f} ms.",
            f"Slices of {SLICE_CHARS:,} characters; tokenizer: {model.name if chat else 'none'}.",
            "`outcore` is the event loop's thread; `native` are threads that are not Python's, of "
            "the tokenizer mostly.",
        ],
    )


if __name__ == "__main__":
    main()
