"""A loop of sub-calls against a batch of them, in outcore and in rlms.

    python -P bench/loops.py [ROUNDS]            a stand-in takes 0.2 s a call
    python -P bench/loops.py --real [ROUNDS]     outcore alone, on the default sub-LM

Every way runs the same cells, in its own REPL, and takes the time inside them. outcore runs
with a stand-in engine in vLLM's place, and over HTTP against the stand-in server that rlms
talks to. rlms comes from PyPI, into an environment of its own under `$OUTCORE_HOME/bench`.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import statistics
import subprocess
import sys
import venv
from pathlib import Path

from outcore.config import Budget, home
from outcore.engine.rlm import RLM
from outcore.models.catalog import defaults
from outcore.models.machine import detect

sys.path.insert(0, str(Path(__file__).parent))
from typing import TYPE_CHECKING

from results import record
from server import Server, allow_files, bare
from standin import ScriptedRoot, StandInSub, own_home, real_text, rlm_with, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SECONDS = 0.2
LOOP, BATCHES = 64, (64, 256, 1024)
PINNED = ("rlms==0.1.3", "openai==2.14.0")
BUDGET = Budget(turns=100, calls=1_000_000, seconds=36_000)
Figures = dict[str, float]

BEGIN = """
import json, time
figures = {}
"""
# A cell for each figure: a dry run of the loop would foresee the batches behind it too.
ONE_BY_ONE = """
asked = [f"{{number}} of {name}: who signed it?" for number in range({calls})]
answers = []
begun = time.perf_counter()
for one in asked:
    answers.append(llm_query(one))
figures["{name}"] = time.perf_counter() - begun
assert answers == ["re: " + one for one in asked], answers[:3]
"""
BATCH = """
asked = [f"{{number}} of {name}: who signed it?" for number in range({calls})]
begun = time.perf_counter()
answers = llm_query_batched(asked)
figures["{name}"] = time.perf_counter() - begun
assert answers == ["re: " + one for one in asked], answers[:3]
"""
REAL_LOOP = """
pieces = [context[at : at + 400] for at in range({start}, {start} + 400 * {calls}, 400)]
begun = time.perf_counter()
for piece in pieces:
    llm_query("What is this about?", text=piece, max_tokens=12)
figures["{name}"] = time.perf_counter() - begun
"""
REAL_BATCH = """
pieces = [context[at : at + 400] for at in range({start}, {start} + 400 * {calls}, 400)]
begun = time.perf_counter()
llm_query_batched("What is this about?", text=pieces, max_tokens=12)
figures["{name}"] = time.perf_counter() - begun
"""
END = """
answer["content"] = json.dumps(figures)
answer["ready"] = True
"""


def cells(batches: Iterable[int] = BATCHES) -> list[str]:
    sizes = [BATCH.format(name=f"batch of {calls}", calls=calls) for calls in batches]
    return [BEGIN, ONE_BY_ONE.format(name=f"loop of {LOOP}", calls=LOOP), *sizes, END]


def asked_of(rlm: RLM, context: str = "A note.") -> Figures:
    """The figures that a scripted run ends with."""
    completion = rlm.completion(context, "How long does it take?", budget=BUDGET)
    try:
        return dict(json.loads(completion.answer))
    except ValueError:
        raise SystemExit(f"a cell failed; see {completion.run_dir}: {completion}") from None


def in_process(*, speculate: bool) -> Figures:
    script = cells() if speculate else cells(())
    root, sub = ScriptedRoot(script), StandInSub(seconds=SECONDS)
    with rlm_with(served(root, sub), speculate=speculate) as rlm:
        return asked_of(rlm)


def over_http(server: Server) -> Figures:
    server.script(cells())
    address = server.address
    with RLM(f"{address}#root", f"{address}#sub", direct="never") as rlm:
        return asked_of(rlm)


def in_rlms(server: Server, python: Path) -> Figures:
    server.script(cells())
    program = [str(python), "-P", str(Path(__file__).with_name("rlms_side.py")), server.address]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, IndexError):
        raise SystemExit(f"rlms: {done.stdout[-2000:]}\n{done.stderr[-4000:]}") from None


def rlms_python() -> Path:
    """The interpreter that has rlms, installed where it is not there yet."""
    folder = home() / "bench" / "-".join(PINNED).replace("==", "-")
    python = folder / "bin" / "python"
    if not (folder / "ready").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        print(f"installing {' and '.join(PINNED)} into {folder}", flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", *PINNED], check=True)
        (folder / "ready").touch()
    return python


def rounds_of(ways: dict[str, Callable[[], Figures]], rounds: int) -> dict[str, Figures]:
    """Each way's medians, the ways taking turns."""
    taken: dict[str, dict[str, list[float]]] = {way: {} for way in ways}
    for number in range(rounds):
        for way, measure in ways.items():
            for what, seconds in measure().items():
                taken[way].setdefault(what, []).append(seconds)
            shown = {what: round(times[-1], 3) for what, times in taken[way].items()}
            print(f"round {number + 1}, {way}: {shown}", flush=True)
    return {
        way: {what: statistics.median(times) for what, times in of_way.items()}
        for way, of_way in taken.items()
    }


def against_rlms(rounds: int) -> None:
    python = rlms_python()
    allow_files()
    with own_home(), Server(SECONDS) as server:
        alone = statistics.median(
            asyncio.run(bare(server.address, max(BATCHES))) for _ in range(rounds)
        )
        ways: dict[str, Callable[[], Figures]] = {
            "outcore, stand-in engine": lambda: in_process(speculate=True),
            "the same, speculation off": lambda: in_process(speculate=False),
            "outcore over HTTP": lambda: over_http(server),
            "rlms over HTTP": lambda: in_rlms(server, python),
        }
        medians = rounds_of(ways, rounds)
    names = [f"loop of {LOOP}", *(f"batch of {calls}" for calls in BATCHES)]
    ours, http, theirs = (medians[way] for way in ways if "off" not in way)
    loop, batch = names[0], names[1]
    record(
        "loops",
        f"Loops and batches of sub-calls, {SECONDS} s a call (seconds)",
        ["", *names, "loop / batch"],
        [
            [way, *(of.get(name, "") for name in names), of[loop] / of.get(batch, math.nan)]
            for way, of in medians.items()
        ],
        [
            f"The plain loop takes {ours[loop] / ours[batch]:.2f}x the batch's time in outcore "
            f"(to reach: at most 1.25), {http[loop] / http[batch]:.2f}x over HTTP.",
            f"The plain loop is {theirs[loop] / ours[loop]:.1f}x as fast as in rlms (to reach: "
            f"10), {theirs[loop] / http[loop]:.1f}x on the same server.",
            f"{BATCHES[-1]:,} calls at once: {ours[names[-1]]:.3f} s (to reach: 0.6). The server "
            f"alone, asked by a bare asyncio client: {alone:.3f} s.",
            f"Median of {rounds} rounds; {', '.join(PINNED)}.",
        ],
    )


def on_real_models(rounds: int) -> None:
    """The loop and the batch on the default sub-LM; every call reads text not seen before."""
    context = real_text(400 * LOOP * (2 * rounds + 1) * 2)
    medians: dict[str, Figures] = {}
    with own_home(), Server(0.0) as server:
        sub = defaults(detect())[1].name
        for way, speculate in (("speculation on", True), ("speculation off", False)):
            script = [BEGIN, REAL_BATCH.format(name="warm-up", start=0, calls=LOOP)]
            names = []
            for number in range(rounds):
                for at, (cell, name) in enumerate(((REAL_LOOP, "loop"), (REAL_BATCH, "batch"))):
                    start = 400 * LOOP * (2 * number + at + 1)
                    names.append((name, f"{name} {number}"))
                    script.append(cell.format(name=names[-1][1], start=start, calls=LOOP))
            server.script([*script, END])
            root = f"{server.address}#root"
            with RLM(root, sub, direct="never", speculate=speculate, memo=False) as rlm:
                figures = asked_of(rlm, context)
            print(f"{way}: {figures}", flush=True)
            medians[way] = {
                kind: statistics.median(figures[name] for of, name in names if of == kind)
                for kind in ("loop", "batch")
            }
    record(
        "loops-real",
        f"A loop of {LOOP} sub-calls on {sub} (seconds)",
        ["", "loop", "batch", "loop / batch"],
        [[way, of["loop"], of["batch"], of["loop"] / of["batch"]] for way, of in medians.items()],
        [f"Slices of 400 characters, 12 tokens out, median of {rounds} rounds (to reach: 1.25)."],
    )


def main() -> None:
    flags = [word for word in sys.argv[1:] if word.startswith("-")]
    numbers = [int(word) for word in sys.argv[1:] if word not in flags]
    rounds = numbers[0] if numbers else 3
    (on_real_models if "--real" in flags else against_rlms)(rounds)


if __name__ == "__main__":
    main()
