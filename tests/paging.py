"""Paged caches for tests of the kernels: random blocks, and NaN wherever nothing may be read."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import torch

from outcore.kernels.limits import Limits
from outcore.kernels.paged import PagedCache, split

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from outcore.kernels.groups import Plan
    from outcore.kernels.tiles import Tiles


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """For thousands of tiny operations: threads would mostly wait for one another.

    Numbers are drawn alike in each test, whichever have drawn some before it.
    """
    torch.manual_seed(0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Requests:
    """`count` requests that begin with the blocks of `prefix` (names of stretches)."""

    count: int
    prefix: tuple[str, ...] = ()


@dataclass(frozen=True)
class Tables:
    """Block tables, lengths, and how many blocks there are."""

    table: torch.Tensor
    lengths: torch.Tensor
    blocks: int


def tables(
    groups: Sequence[Requests],
    stretches: dict[str, int],
    *,
    block: int,
    own: tuple[int, int] = (1, 50),
    seed: int = 0,
    shuffle: bool = True,
    width: int = 0,
) -> Tables:
    """Block tables of requests in random blocks and random order.

    Args:
        groups: the requests.
        stretches: blocks of each stretch.
        block: tokens of a block.
        own: fewest and most tokens that a request has for itself.
        seed: of everything random.
        shuffle: whether requests of a group are torn apart.
        width: fewest columns; what is beyond a request's blocks is garbage.
    """
    chance = random.Random(seed)
    free = iter(range(1, 10**9))
    shared = {name: [next(free) for _ in range(size)] for name, size in stretches.items()}
    rows = []
    for group in groups:
        prefix = [number for name in group.prefix for number in shared[name]]
        for _ in range(group.count):
            tokens = chance.randint(*own)
            mine = [next(free) for _ in range(-(-tokens // block))]
            rows.append((prefix + mine, len(prefix) * block + tokens))
    if shuffle:
        chance.shuffle(rows)
    blocks = next(free)
    renumbered = list(range(1, blocks))
    chance.shuffle(renumbered)
    columns = max(width, *(len(numbers) + 2 for numbers, _ in rows))
    table = torch.tensor(
        [
            [renumbered[number - 1] for number in numbers]
            + [chance.randrange(2 * blocks) for _ in range(columns - len(numbers))]
            for numbers, _ in rows
        ],
        dtype=torch.int32,
    )
    lengths = torch.tensor([tokens for _, tokens in rows], dtype=torch.int32)
    return Tables(table, lengths, blocks)


def cache_of(
    batch: Tables,
    *,
    kv_heads: int,
    head: int,
    block: int,
    dtype: torch.dtype,
    tokens_first: bool = False,
    seed: int = 0,
    device: str = "cpu",
) -> PagedCache:
    """A cache that holds numbers where a request has a token, and NaN everywhere else.

    Args:
        batch: what is in use.
        kv_heads: of the cache.
        head: size of a head.
        block: tokens of a block.
        dtype: of the cache.
        tokens_first: whether tokens come before heads in memory, as vLLM can have it.
        seed: of the numbers.
        device: where it lies.
    """
    chance = torch.Generator().manual_seed(seed)
    whole = torch.randn(batch.blocks, kv_heads, block, 2 * head, generator=chance)
    used = torch.zeros(batch.blocks, block, dtype=torch.bool)
    for row, length in zip(batch.table, batch.lengths.tolist(), strict=True):
        at = torch.arange(length)
        used[row[at // block].long(), at % block] = True
    whole = torch.where(used[:, None, :, None], whole, float("nan")).to(dtype)
    if tokens_first:
        whole = whole.transpose(1, 2).contiguous().transpose(1, 2)
    keys, values = split(whole.to(device), head)
    return PagedCache(keys, values, batch.table.to(device), batch.lengths.to(device))


def limits_of(batch: Tables, *, block: int, **changed: int) -> Limits:
    """Limits with enough room for a batch."""
    chosen = {
        "block": block,
        "counters": batch.blocks,
        "kv_heads": 2,
        "tile_members": 16,
        "programs": 64,
        "own_programs": 64,
        "shared_slots": 2 * len(batch.table) + 16 * 32,
        "own_slots": len(batch.table) + 32,
        "min_members": 4,
        "min_tokens": 4 * block,
    }
    return Limits(**(chosen | changed))


def stretches_of(tiles: Tiles) -> list[tuple[list[int], int, int, int]]:
    """What a plan's tiles are, read back: members, source, begin and end of each."""
    found = []
    for tile in range(len(tiles.first)):
        count, first = int(tiles.members[tile]), int(tiles.first[tile])
        if count:
            members = [row for row in tiles.rows[first : first + count].tolist() if row >= 0]
            ends = int(tiles.begin[tile]), int(tiles.end[tile])
            found.append((members, int(tiles.source[tile]), *ends))
    return found


def covered(plan: Plan, requests: int) -> list[list[tuple[int, int]]]:
    """The stretches of tokens that a plan reads for each request, in order."""
    reads: list[list[tuple[int, int]]] = [[] for _ in range(requests)]
    for tiles in (plan.shared, plan.own):
        for members, _, begin, end in stretches_of(tiles):
            for member in members:
                if end > begin:
                    reads[member].append((begin, end))
    return [sorted(spans) for spans in reads]
