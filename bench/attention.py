"""A decode step of attention with shared slices read once, against reading them for each request.

    python -P bench/attention.py            needs a CUDA GPU; tables, plot, and a whole engine
    python -P bench/attention.py --tune     tries the settings of the kernels on the target case

For members x slice length x groups x the heads of three models: microseconds of one layer's
decode step by the kernels here, by FlashAttention's paged decode (vLLM's and torch's, as
installed), by FlashInfer's cascade where it is installed, and the floor: the bytes that must be
read, over the bandwidth that a plain sum reaches. Each is replayed as a CUDA graph with a cold
L2, as a layer finds it. Planning is timed apart: it is done once for all layers.

The ceiling is about 10x per decode step at 8 groups x 32 questions x 8k tokens, and nothing at
all for one question a slice.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from outcore.kernels.audit import TOLERANCE, apart
from outcore.kernels.decode import Decoder
from outcore.kernels.groups import find
from outcore.kernels.paged import PagedCache, split
from outcore.kernels.shape import Shape, Tuning

sys.path.insert(0, str(Path(__file__).parent))
from attention_rivals import RIVALS, Batch
from results import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from outcore.kernels.groups import Plan

PLOT = Path(__file__).parent / "plots" / "attention.svg"
BLOCK, OWN, FAR = 16, 200, 1 << 16
# Requests that an engine has room for: a plan costs what the largest batch does.
SEATS = 256
MEMBERS, SLICES, GROUPS = (1, 2, 4, 8, 16, 32, 64), (512, 2_048, 8_192), (1, 8)
# Query heads, key-value heads, size of a head.
MODELS = {
    "Qwen3-8B": (32, 8, 128),
    "Qwen2.5-Coder-1.5B": (12, 2, 128),
    "Qwen2.5-Coder-0.5B": (14, 2, 64),
}


@dataclass(frozen=True)
class Case:
    """`groups` slices of `slice` tokens, `members` questions on each with `own` tokens more."""

    model: str
    groups: int
    members: int
    slice: int
    own: int = OWN

    @property
    def requests(self) -> int:
        return self.groups * self.members

    @property
    def least_bytes(self) -> int:
        """What any way of computing it reads: keys and values once, in 16 bits each."""
        _, kv_heads, head = MODELS[self.model]
        tokens = self.groups * self.slice + self.requests * self.own
        return tokens * kv_heads * head * 2 * 2


def batch(case: Case, device: str, dtype: torch.dtype = torch.bfloat16) -> Batch:
    """Random queries and a random cache; requests of a group are torn apart, as in an engine."""
    heads, kv_heads, head = MODELS[case.model]
    chance = torch.Generator().manual_seed(0)
    shared, own = case.slice // BLOCK, -(-case.own // BLOCK)
    blocks = 1 + case.groups * shared + case.requests * own
    numbers = 1 + torch.randperm(blocks - 1, generator=chance)
    slices = numbers[: case.groups * shared].view(case.groups, shared)
    rest = numbers[case.groups * shared :].view(case.requests, own)
    table = torch.cat((slices.repeat_interleave(case.members, 0), rest), 1)
    table = table[torch.randperm(case.requests, generator=chance)].int().to(device)
    lengths = torch.full((case.requests,), shared * BLOCK + case.own, dtype=torch.int32)
    # Tokens before heads, as vLLM lays a cache out where no backend asks for another order.
    cache = torch.randn((blocks, BLOCK, kv_heads, 2 * head), device=device).to(dtype)
    query = torch.randn((case.requests, heads, head), device=device).to(dtype)
    keys, values = split(cache.transpose(1, 2), head)
    return Batch(
        query, PagedCache(keys, values, table, lengths.to(device)), head**-0.5, case.members
    )


def ours(case: Case, given: Batch, tuning: Tuning, cores: int = 0) -> tuple[Decoder, Plan]:
    """The kernels and their plan for a case."""
    query = given.query
    shape = Shape(*MODELS[case.model], BLOCK, case.requests, FAR, query.dtype)
    made = Decoder(shape, query.device, tuning, cores)
    return made, find(given.cache.table, given.cache.lengths, made.steps, made.limits)


def measure(
    case: Case,
    timed: Callable[[Callable[[], Any]], float],
    rivals: Mapping[str, Callable[[Batch], Callable[[], torch.Tensor]]],
    *,
    device: str = "cuda",
    dtype: torch.dtype = torch.bfloat16,
    tuning: Tuning | None = None,
    cores: int = 0,
) -> dict[str, float]:
    """Milliseconds by way of computing, and how far `ours` is from `alone`, by `apart`.

    Args:
        case: what is measured.
        timed: gives milliseconds of a call.
        rivals: what else to time; one that can't compute the case is left out, with a line.
        device: that computes.
        dtype: of everything.
        tuning: of the kernels.
        cores: of the device; 0 asks it.
    """
    tuning = tuning or Tuning()
    given = batch(case, device, dtype)
    found = {}
    outputs = {}
    for name, chosen in (("ours", tuning), ("alone", replace(tuning, min_members=1 << 30))):
        made, plan = ours(case, given, chosen, cores)
        out = outputs[name] = torch.empty_like(given.query)
        found[name] = timed(lambda: made(given.query, given.cache, plan, given.scale, out))  # noqa: B023
    found["error"] = float(apart(outputs["ours"], outputs["alone"]))
    found["plan"] = timed(planning(case, given, tuning, cores))
    for name, rival in rivals.items():
        try:
            call = rival(given)
            error = float(apart(call(), outputs["alone"]))
            if not error <= TOLERANCE:
                raise ValueError(f"it computes something else, by {error:.3f}")
            found[name] = timed(call)
        except (ImportError, RuntimeError, ValueError, TypeError, AssertionError) as error:
            print(f"  {name} can't compute {case}: {str(error).splitlines()[:1]}", flush=True)
    return found


def planning(case: Case, given: Batch, tuning: Tuning, cores: int) -> Callable[[], Plan]:
    """Making a plan as an engine does, with room for its largest batch and longest request."""
    cache, seats = given.cache, max(SEATS, case.requests)
    shape = Shape(*MODELS[case.model], BLOCK, seats, FAR, given.query.dtype)
    made = Decoder(shape, given.query.device, tuning, cores)
    table = cache.table.new_zeros((seats, FAR // BLOCK))
    table[: case.requests, : cache.table.shape[1]] = cache.table
    lengths = cache.lengths.new_zeros(seats)
    lengths[: case.requests] = cache.lengths
    return lambda: find(table, lengths, made.steps, made.limits)


def replayed(call: Callable[[], Any]) -> float:
    """Milliseconds of a call, as a CUDA graph, with a cold L2."""
    from triton.testing import do_bench

    call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return float(do_bench(graph.replay, warmup=50, rep=200, return_mode="median"))


def bandwidth() -> float:
    """Bytes a millisecond that a sum over 4 GiB reads."""
    from triton.testing import do_bench

    data = torch.ones(1 << 30, dtype=torch.float32, device="cuda")
    return float(data.nbytes / do_bench(data.sum, return_mode="median"))


def sweep(models: Sequence[str]) -> None:
    """Time every case, and write the table and the plot."""
    speed = bandwidth()
    rows, series = [], {}
    for model, groups, length, members in itertools.product(models, GROUPS, SLICES, MEMBERS):
        case = Case(model, groups, members, length)
        found = measure(case, replayed, RIVALS)
        floor = case.least_bytes / speed
        flash = min((found[name] for name in RIVALS if "flash" in name and name in found),
                    default=float("nan"))  # fmt: skip
        rows.append(
            [model, groups, members, length]
            + [1e3 * found.get(name, float("nan")) for name in ("ours", "alone", *RIVALS)]
            + [1e3 * floor, floor / found["ours"], flash / found["ours"], 1e3 * found["plan"]]
            + [found["error"]]
        )
        series[case] = (found["ours"], flash, floor)
        print(
            *(f"{cell:.4g}" if isinstance(cell, float) else cell for cell in rows[-1]), flush=True
        )
    record(
        "attention",
        "Decode attention over shared slices (microseconds a layer)",
        ["model", "slices", "questions", "tokens", "ours", "ours, nothing shared", *RIVALS,
         "floor", "of the floor", "x FlashAttention", "plan", "error"],
        rows,
        [
            f"{torch.cuda.get_device_name()}; a plain sum reads {speed / 1e9:.2f} TB/s.",
            f"Each question has {OWN} tokens of its own. `plan` is once a step, for all layers, "
            f"with room for {SEATS} requests of {FAR:,} tokens. `error` is against `ours, "
            "nothing shared`, as a share of a head's largest number. torch's FlashAttention has a "
            "copy for each request.",
            "The ceiling is about 10x per decode step at 8 slices x 32 questions x 8k tokens, "
            "and nothing at all for one question a slice.",
            f"![time by questions on a slice](plots/{PLOT.name})",
        ],
    )  # fmt: skip
    draw(series, models[0])


def draw(series: Mapping[Case, tuple[float, float, float]], model: str) -> None:
    """Time against questions on a slice, a panel for each slice length."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(SLICES), figsize=(11, 4), layout="constrained")
    for panel, length in zip(panels, SLICES, strict=True):
        cases = [
            case
            for case in series
            if (case.model, case.groups, case.slice) == (model, max(GROUPS), length)
        ]
        for at, label in enumerate(("shared prefix", "FlashAttention", "floor")):
            panel.loglog(
                [case.members for case in cases],
                [1e3 * series[case][at] for case in cases],
                marker="o",
                label=label,
            )
        panel.set(title=f"{max(GROUPS)} slices of {length:,} tokens", xlabel="questions on a slice")
    panels[0].set_ylabel(f"microseconds a layer, {model}")
    panels[0].legend()
    PLOT.parent.mkdir(exist_ok=True)
    figure.savefig(PLOT)


def tune() -> None:
    """Time the target case under every setting, best first."""
    case = Case("Qwen3-8B", 8, 32, 8_192)
    given = batch(case, "cuda")
    out = torch.empty_like(given.query)
    found = []
    for rows, cols, own_cols, stages, programs in itertools.product(
        (64, 128), (32, 64, 128), (32, 64), (3, 5, 7), (1, 2, 3)
    ):
        tuning = Tuning(rows, cols, own_cols, 8 if rows > 64 else 4, stages, programs)
        try:
            made, plan = ours(case, given, tuning)
            time = replayed(lambda: made(given.query, given.cache, plan, given.scale, out))  # noqa: B023
            found.append((time, tuning))
            print(f"{1e3 * found[-1][0]:8.1f} us  {tuning}", flush=True)
        except Exception as error:  # more shared memory than there is, for one
            print(f"    fails  {tuning}: {str(error).splitlines()[:1]}", flush=True)
    print("\nbest:", *(f"{1e3 * time:.1f} us {tuning}" for time, tuning in sorted(
        found, key=lambda each: each[0])[:5]), sep="\n")  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tune", action="store_true", help="try the kernels' settings")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--no-engine", action="store_true", help="leave out the whole engine")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        print("bench/attention.py needs a CUDA GPU: nothing was measured", file=sys.stderr)
        return 2
    if args.tune:
        tune()
        return 0
    sweep(args.models)
    if not args.no_engine and find_spec("vllm") is None:
        print("vLLM is not installed: the whole engine was not measured", file=sys.stderr)
    elif not args.no_engine:
        import attention_engine

        attention_engine.main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
