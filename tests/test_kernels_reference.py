"""Attention over shared and own tokens, in plain torch, against torch's own attention."""

from __future__ import annotations

import random

import pytest
import torch
from paging import Requests, Tables, cache_of, one_thread, tables
from torch.nn.functional import scaled_dot_product_attention

from outcore.kernels import reference
from outcore.kernels.paged import PagedCache, rows
from outcore.kernels.reference import Part, Shared

__all__ = ["one_thread"]
SCALE = 0.17


def by_torch(query: torch.Tensor, cache: PagedCache) -> torch.Tensor:
    """The same in float64, request by request, nothing shared."""
    found = []
    for request, length in enumerate(cache.lengths.tolist()):
        keys, values = (
            rows(each, cache.table[request], 0, length).double().transpose(0, 1)[None]
            for each in (cache.keys, cache.values)
        )
        found.append(
            scaled_dot_product_attention(
                query[request].double()[None, :, None],
                keys,
                values,
                scale=SCALE,
                enable_gqa=True,
            )[0, :, 0]
        )
    return torch.stack(found)


def spans_of(batch: Tables, block: int) -> list[Shared]:
    """Every stretch of the batch's prefixes, found the slow way: by comparing rows."""
    requests = len(batch.table)
    usable = [(length - 1) // block for length in batch.lengths.tolist()]
    found: list[Shared] = []
    begun = [0] * requests
    while True:
        groups: dict[tuple[int, ...], list[int]] = {}
        for request in range(requests):
            if begun[request] < usable[request]:
                key = tuple(batch.table[request, : begun[request] + 1].tolist())
                groups.setdefault(key, []).append(request)
        if not groups:
            return found
        for members in groups.values():
            begin = begun[members[0]]
            found.append(Shared(tuple(members), begin * block, (begin + 1) * block))
            for member in members:
                begun[member] += 1


@pytest.mark.parametrize("block", [16, 32])
@pytest.mark.parametrize("heads", [(4, 4), (12, 2), (7, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_shared_tokens_change_nothing(block: int, heads: tuple[int, int], seed: int) -> None:
    chance = random.Random(seed)
    batch = tables(
        [
            Requests(1),
            Requests(chance.randint(1, 5), ("system", "first")),
            Requests(chance.randint(1, 5), ("system", "second")),
            Requests(1, ("system",)),
            Requests(2, ("other",)),
        ],
        {"system": 2, "first": chance.randint(1, 4), "second": 3, "other": 1},
        block=block,
        seed=seed,
    )
    cache = cache_of(batch, kv_heads=heads[1], head=32, block=block, dtype=torch.float64)
    query = torch.randn(len(batch.table), heads[0], 32, dtype=torch.float64)
    wanted = by_torch(query, cache)
    assert torch.allclose(reference.full(query, cache, SCALE), wanted, atol=1e-12)
    shared = spans_of(batch, block)
    assert shared
    assert torch.allclose(reference.grouped(query, cache, SCALE, shared), wanted, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_narrow_numbers_are_computed_in_float32(dtype: torch.dtype) -> None:
    batch = tables([Requests(6, ("slice",))], {"slice": 5}, block=16)
    cache = cache_of(batch, kv_heads=2, head=64, block=16, dtype=dtype)
    query = torch.randn(6, 8, 64).to(dtype)
    found = reference.grouped(query, cache, SCALE, [Shared(tuple(range(6)), 0, 80)])
    assert found.dtype == dtype
    room = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 1e-6}[dtype]
    wanted = by_torch(query, cache)
    assert ((found.double() - wanted).abs() <= room * wanted.abs() + 2e-6).all()


def test_thousands_of_members() -> None:
    batch = tables([Requests(2_000, ("slice",))], {"slice": 4}, block=16, own=(1, 17))
    cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float64)
    query = torch.randn(2_000, 2, 16, dtype=torch.float64)
    shared = [Shared(tuple(range(2_000)), 0, 64)]
    assert torch.allclose(
        reference.grouped(query, cache, SCALE, shared), by_torch(query, cache), atol=1e-12
    )


def test_huge_scores_overflow_nothing() -> None:
    batch = tables([Requests(5, ("slice",))], {"slice": 3}, block=16)
    cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32)
    query = 1e4 * torch.randn(5, 2, 16)
    found = reference.grouped(query, cache, SCALE, [Shared(tuple(range(5)), 0, 48)])
    # Of scores of ten thousands, float32 leaves thousandths: where two are that close, it shows.
    assert torch.allclose(found.double(), by_torch(query, cache), atol=1e-2)


def test_a_request_without_tokens_gets_zeros() -> None:
    batch = tables([Requests(2)], {}, block=16)
    batch.lengths[1] = 0
    cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32)
    found = reference.full(torch.randn(2, 2, 16), cache, SCALE)
    assert (found[1] == 0).all()
    assert (found[0] != 0).any()


def test_a_gap_between_shared_stretches_is_refused() -> None:
    batch = tables([Requests(2, ("slice",))], {"slice": 3}, block=16)
    cache = cache_of(batch, kv_heads=1, head=16, block=16, dtype=torch.float32)
    with pytest.raises(ValueError, match="shared tokens up to 16, and the next ones begin at 32"):
        reference.grouped(
            torch.randn(2, 2, 16), cache, SCALE, [Shared((0, 1), 0, 16), Shared((0, 1), 32, 48)]
        )


def test_an_empty_part_weighs_nothing() -> None:
    part = Part(torch.randn(2, 3, 4), torch.randn(2, 3))
    empty = Part(torch.zeros(2, 3, 4), torch.full((2, 3), -float("inf")))
    merged = reference.merge([empty, part])
    assert torch.allclose(merged.output, part.output)
    assert torch.allclose(merged.weight, part.weight)
