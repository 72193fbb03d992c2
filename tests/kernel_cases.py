"""Tests of the kernels themselves, on a GPU or under Triton's interpreter.

`test_kernels_shared_prefix.py` runs this file, in a process of its own where there is no GPU:
whether Triton interprets is settled when it is imported. On a GPU machine with torch and Triton
alone, from the root of the repository:

    PYTHONPATH=.:tests:bench python -P -m pytest --noconftest -c /dev/null tests/kernel_cases.py
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
import triton
from paging import Requests, Tables, cache_of, one_thread, tables
from torch.nn.functional import scaled_dot_product_attention

from outcore.kernels import fit, reference
from outcore.kernels.check import check
from outcore.kernels.decode import Decoder
from outcore.kernels.fit import fitted, made
from outcore.kernels.groups import find
from outcore.kernels.paged import PagedCache, rows
from outcore.kernels.planner import Planner
from outcore.kernels.shape import Shape, Tuning

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["one_thread"]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SCALE = 0.2
# Relative, and absolute to numbers that are about one.
CLOSE = {torch.bfloat16: 1e-2, torch.float16: 2e-3, torch.float32: 2e-6}


def decoder(batch: Tables, heads: tuple[int, int], head: int, dtype: torch.dtype, block: int,
            **changed: Any) -> Decoder:  # fmt: skip
    tuning = {"rows": 32, "cols": 32, "own_cols": 16, "min_members": 2, "min_tokens": 2 * block}
    longest = int(batch.lengths.max())
    shape = Shape(*heads, head, block, len(batch.table), longest, dtype)
    return Decoder(shape, torch.device(DEVICE), Tuning(**(tuning | changed)), cores=3)


def decoded(made: Decoder, query: torch.Tensor, cache: PagedCache) -> torch.Tensor:
    plan = find(cache.table, cache.lengths, made.steps, made.limits)
    return made(query, cache, plan, SCALE, torch.full_like(query, float("nan")))


def by_torch(query: torch.Tensor, cache: PagedCache) -> torch.Tensor:
    found = []
    for request, length in enumerate(cache.lengths.tolist()):
        keys, values = (
            rows(each, cache.table[request], 0, length).double().transpose(0, 1)[None]
            for each in (cache.keys, cache.values)
        )
        own = query[request].double()[None, :, None]
        found.append(
            scaled_dot_product_attention(own, keys, values, scale=SCALE, enable_gqa=True)[0, :, 0]
        )
    return torch.stack(found)


def alike(found: torch.Tensor, query: torch.Tensor, cache: PagedCache) -> None:
    room = CLOSE[query.dtype]
    for wanted in (by_torch(query, cache), reference.full(query.double(), cache, SCALE)):
        torch.testing.assert_close(found.double(), wanted, rtol=room, atol=room)


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize(
    ("heads", "head", "block"),
    [((8, 2), 64, 16), ((6, 1), 32, 16), ((7, 1), 16, 32), ((2, 2), 24, 128)],
)
def test_random_batches(dtype: torch.dtype, heads: tuple[int, int], head: int, block: int) -> None:
    chance = random.Random(f"{dtype}{heads}{head}{block}")
    for tokens_first in (False, True):
        most = max(2, 96 // block)
        batch = tables(
            [
                Requests(chance.randint(1, 6), ("system", "a")),
                Requests(chance.randint(2, 6), ("system", "b")),
                Requests(1, ("c",)),
                Requests(2),
            ],
            {"system": 2, "a": chance.randint(1, most), "b": chance.randint(2, most), "c": 3},
            block=block,
            own=(1, 2 * block),
            seed=chance.randrange(2**30),
        )
        cache = cache_of(batch, kv_heads=heads[1], head=head, block=block, dtype=dtype,
                         tokens_first=tokens_first, device=DEVICE)  # fmt: skip
        query = torch.randn(len(batch.table), heads[0], head).to(DEVICE, dtype)
        alike(decoded(decoder(batch, heads, head, dtype, block), query, cache), query, cache)


@pytest.mark.parametrize("members", [1, 2, 9, 40])
def test_one_group(members: int) -> None:
    batch = tables([Requests(members, ("a",))], {"a": 9}, block=16, own=(1, 20))
    cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32, device=DEVICE)
    query = torch.randn(members, 4, 16, device=DEVICE)
    alike(decoded(decoder(batch, (4, 1), 16, torch.float32, 16), query, cache), query, cache)


def test_a_long_slice_is_split() -> None:
    batch = tables([Requests(3, ("a",)), Requests(1)], {"a": 50}, block=16, own=(300, 700))
    cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32, device=DEVICE)
    query = torch.randn(4, 2, 16, device=DEVICE)
    made = decoder(batch, (2, 1), 16, torch.float32, 16)
    plan = find(cache.table, cache.lengths, made.steps, made.limits)
    assert int(plan.shared.size[0]) > 1
    assert int(plan.own.splits.max()) > 1
    alike(decoded(made, query, cache), query, cache)


def test_a_row_of_the_query_may_be_part_of_a_wider_one() -> None:
    batch = tables([Requests(4, ("a",))], {"a": 4}, block=16)
    cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32, device=DEVICE)
    query = torch.randn(4, 6, 16, device=DEVICE)[:, 2:4]
    out = torch.full((4, 6, 16), -1.0, device=DEVICE)
    made = decoder(batch, (2, 1), 16, torch.float32, 16)
    plan = find(cache.table, cache.lengths, made.steps, made.limits)
    alike(made(query, cache, plan, SCALE, out[:, 1:3]), query, cache)
    assert (out[:, [0, 3, 4, 5]] == -1).all()


def test_requests_that_are_not_there_get_zeros() -> None:
    batch = tables([Requests(6, ("a",))], {"a": 4}, block=16, shuffle=False)
    batch.lengths[4:] = 0
    cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32, device=DEVICE)
    query = torch.randn(6, 2, 16, device=DEVICE)
    found = decoded(decoder(batch, (2, 1), 16, torch.float32, 16), query, cache)
    assert (found[4:] == 0).all()
    there = PagedCache(cache.keys, cache.values, cache.table[:4], cache.lengths[:4])
    alike(found[:4], query[:4], there)


def test_blocks_that_only_seem_to_be_shared() -> None:
    batch = tables([Requests(6, ("a",))], {"a": 12}, block=16, shuffle=False)
    batch.table[2, 3] = batch.table[2, 12]
    cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32, device=DEVICE)
    query = torch.randn(6, 2, 16, device=DEVICE)
    alike(decoded(decoder(batch, (2, 1), 16, torch.float32, 16), query, cache), query, cache)


def test_huge_scores() -> None:
    batch = tables([Requests(4, ("a",))], {"a": 4}, block=16)
    cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32, device=DEVICE)
    query = 1e3 * torch.randn(4, 2, 16, device=DEVICE)
    found = decoded(decoder(batch, (2, 1), 16, torch.float32, 16), query, cache)
    assert (found.double() - by_torch(query, cache)).abs().max() < 1e-3


def test_the_same_buffers_serve_batch_after_batch() -> None:
    first = tables([Requests(12, ("a",))], {"a": 8}, block=16, seed=1)
    made = decoder(first, (2, 1), 16, torch.float32, 16)
    for seed in (2, 3):
        batch = tables([Requests(7, ("a",)), Requests(2)], {"a": 5}, block=16, seed=seed)
        batch = Tables(batch.table, batch.lengths, first.blocks)
        if int(batch.table.max()) >= first.blocks:
            batch = Tables(batch.table % first.blocks, batch.lengths, first.blocks)
        cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32, device=DEVICE)
        query = torch.randn(9, 2, 16, device=DEVICE)
        alike(decoded(made, query, cache), query, cache)


def test_a_batch_recorded_from_vllm_by_its_own_interfaces(
    tmp_path: Path,
) -> None:
    pytest.importorskip("vllm", reason="the kernels need torch and Triton alone")
    from record_block_tables import BLOCK, FILE, LONGEST, config, spec
    from vllm.config import set_current_vllm_config
    from vllm.v1.attention.backend import CommonAttentionMetadata

    from outcore.kernels.backend import SharedPrefixImpl
    from outcore.kernels.builder import Grouped, SharedPrefixBuilder

    steps = json.loads(FILE.read_text(encoding="utf-8"))["steps"]
    step = next(step for step in steps if set(step["queries"]) == {1})
    count = len(step["queries"])
    table = torch.zeros((count, LONGEST // BLOCK), dtype=torch.int32)
    for row, blocks in zip(table, step["tables"], strict=True):
        row[: len(blocks)] = torch.tensor(blocks)
    lengths = torch.tensor(step["lengths"], dtype=torch.int32)
    batch = Tables(table, lengths, int(table.max()) + 1)
    cache = cache_of(batch, kv_heads=2, head=16, block=BLOCK, dtype=torch.bfloat16, device=DEVICE)
    starts = torch.arange(count + 1, dtype=torch.int32)
    common = CommonAttentionMetadata(
        query_start_loc=starts.to(DEVICE),
        query_start_loc_cpu=starts,
        seq_lens=cache.lengths,
        num_reqs=count,
        num_actual_tokens=count,
        max_query_len=1,
        max_seq_len=LONGEST,
        block_table_tensor=cache.table,
        slot_mapping=torch.zeros(count, dtype=torch.int64, device=DEVICE),
    )
    whole = torch.cat((cache.keys, cache.values), dim=-1).transpose(1, 2)
    query = torch.randn(count, 8, 16).to(DEVICE, torch.bfloat16)
    output = torch.full_like(query, float("nan"))
    made = config(tmp_path)
    with set_current_vllm_config(made):
        builder = SharedPrefixBuilder(spec(), ["layer"], made, torch.device(DEVICE))
        layer = SharedPrefixImpl(8, 16, SCALE, 2, None, None, "auto")
    builder.choice.grouped = True
    metadata = builder.build(0, common)
    assert isinstance(metadata, Grouped)
    tokens, saved = metadata.plan.tokens.tolist()
    assert saved > tokens / 2
    # What FlashAttention would do again needs a GPU.
    metadata = replace(metadata, whole=None)
    layer.forward(None, query, query, query, whole, metadata, output)
    alike(output, query, cache)


def ready(dtype: torch.dtype = torch.bfloat16, heads: tuple[int, int] = (4, 2), head: int = 16,
          requests: int = 40, tokens: int = 200) -> tuple[Decoder, Planner]:  # fmt: skip
    tuning = Tuning(rows=32, cols=32, own_cols=16, min_members=2, min_tokens=64)
    shape = Shape(*heads, head, 16, requests, tokens, dtype)
    return made(shape, torch.device(DEVICE), tuning)


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("head", [16, 128, 256])
def test_right_kernels_pass_the_check(dtype: torch.dtype, head: int) -> None:
    check(*ready(dtype, head=head))


@pytest.mark.parametrize(("requests", "tokens"), [(1, 1), (2, 16), (3, 17), (40, 70), (9, 4_000)])
def test_the_check_fits_small_engines(requests: int, tokens: int) -> None:
    check(*ready(requests=requests, tokens=tokens))


@pytest.mark.parametrize("wrong", ["slot", "begin", "pieces", "rows"])
def test_wrong_kernels_fail_the_check(wrong: str) -> None:
    decoder, planner = ready()

    def planned(table: torch.Tensor, lengths: torch.Tensor) -> Any:
        plan = planner(table, lengths)
        shared = plan.shared
        match wrong:
            case "slot":  # partial results where others lie
                shared = replace(shared, about=shared.about.clone())
                shared.slot.add_(1)
            case "begin":  # shared tokens left out
                shared = replace(shared, about=shared.about.clone())
                shared.begin.add_(32)
            case "rows":  # somebody else's
                shared = replace(shared, rows=shared.rows.roll(1))
            case "pieces":  # never merged
                pieces = plan.pieces.clone()
                pieces[:, 0, 2] = 0
                return replace(plan, pieces=pieces)
        return replace(plan, shared=shared)

    with pytest.raises(ValueError, match="computes something else than it must on this card"):
        check(decoder, planned)  # type: ignore[arg-type]


SMALL = Shape(4, 2, 16, 16, 3, 64, torch.bfloat16)


def card(monkeypatch: pytest.MonkeyPatch, too_many: int) -> list[Tuning]:
    """A card on which so many stages don't fit; what is tried on it."""
    found: list[Tuning] = []
    kernel = SimpleNamespace(n_regs=255, metadata=SimpleNamespace(shared=30_000, num_warps=4))

    def checked(decoder: Decoder, planner: Planner) -> None:
        found.append(decoder.tuning)
        if decoder.tuning.stages >= too_many:
            raise triton.OutOfResources(200_000, 100_000, "shared memory")
        decoder.compiled = kernel, kernel

    monkeypatch.setattr(fit, "check", checked)
    return found


def test_what_the_card_lacks_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = card(monkeypatch, 0)
    with pytest.raises(ValueError, match=r"on this card: .*shared memory"):
        fitted(SMALL, torch.device(DEVICE), 1 << 20)
    assert [tuning.stages for tuning in tried] == [5, 3]


def test_a_smaller_card_takes_fewer_stages_and_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, 5)
    decoder, _ = fitted(SMALL, torch.device(DEVICE), 50_000)
    assert decoder.tuning == replace(
        Tuning(), stages=3, programs_per_core=1, own_programs_per_core=1
    )


def test_a_card_takes_as_many_programs_as_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    card(monkeypatch, 9)
    decoder, _ = fitted(SMALL, torch.device(DEVICE), 1 << 20)
    assert decoder.tuning == replace(Tuning(), own_programs_per_core=2)


def test_a_planner_plans_batch_after_batch() -> None:
    first = tables([Requests(30, ("a",)), Requests(3)], {"a": 40}, block=16, seed=4)
    second = tables([Requests(9, ("a",)), Requests(7, ("b",))], {"a": 9, "b": 12}, block=16, seed=5)
    made = decoder(first, (2, 1), 16, torch.float32, 16)
    planner = Planner(40, 60, made.steps, made.limits)
    for batch in (first, second, first):
        cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32, device=DEVICE)
        query = torch.randn(len(batch.table), 2, 16, device=DEVICE)
        plan = planner(cache.table, cache.lengths)
        wanted = find(cache.table, cache.lengths, made.steps, made.limits)
        # A stretch that is not there has no slot, and may name any.
        there = wanted.pieces[..., 2] > 0
        assert (plan.pieces[: len(query), :, 2] == wanted.pieces[..., 2]).all()
        assert (plan.pieces[: len(query)][there] == wanted.pieces[there]).all()
        assert (plan.shared.size == wanted.shared.size).all()
        assert (plan.tokens == wanted.tokens).all()
        alike(made(query, cache, plan, SCALE, torch.empty_like(query)), query, cache)


def test_the_bench_measures_what_it_says() -> None:
    from attention import Case, measure
    from attention_rivals import flash_of_torch

    def timed(call: Any) -> float:
        call()
        return 1.0

    def wrong(given: Any) -> Any:
        return lambda: given.query + 1

    def nothing(given: Any) -> Any:
        return lambda: torch.zeros_like(given.query)

    def lacking(given: Any) -> Any:
        raise ImportError("not installed")

    found = measure(
        Case("Qwen2.5-Coder-0.5B", groups=2, members=3, slice=64, own=20),
        timed,
        {"wrong": wrong, "lacking": lacking, "nothing": nothing, "torch": flash_of_torch},
        device=DEVICE,
        dtype=torch.float32,
        tuning=Tuning(rows=32, cols=32, own_cols=16, min_members=2, min_tokens=32),
        cores=2,
    )
    # torch has no FlashAttention of float32 on a GPU.
    assert set(found) - {"torch"} == {"ours", "alone", "plan", "error"}
    assert ("torch" in found) == (DEVICE == "cpu")
    assert found["error"] < 1e-5


@pytest.mark.skipif(DEVICE == "cpu", reason="the interpreter takes minutes for thousands")
def test_thousands_of_members_of_real_heads() -> None:
    batch = tables([Requests(3_000, ("a",)), Requests(900, ("b",))], {"a": 64, "b": 90}, block=16)
    cache = cache_of(batch, kv_heads=8, head=128, block=16, dtype=torch.bfloat16, device=DEVICE)
    query = torch.randn(len(batch.table), 32, 128).to(DEVICE, torch.bfloat16)
    made = decoder(batch, (32, 8), 128, torch.bfloat16, 16, rows=64, cols=64)
    alike(decoded(made, query, cache), query, cache)
