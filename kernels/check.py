"""Whether the kernels compute on this card what they must, found out while an engine starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton

from outcore.kernels import reference
from outcore.kernels.audit import apart
from outcore.kernels.paged import PagedCache, split

if TYPE_CHECKING:
    from outcore.kernels.decode import Decoder
    from outcore.kernels.planner import Planner

# What rounding makes at most, as a share of a head's largest number.
_ROOM = {torch.bfloat16: 3e-2, torch.float16: 4e-3, torch.float32: 1e-4}
# Requests of the two groups, beyond what one tile takes, and of none.
_MORE, _FEW, _ALONE = 3, 5, 2


def check(decoder: Decoder, planner: Planner) -> None:
    """Run a small batch, and compare with attention in plain torch.

    Two groups of requests share a beginning, one of them more than a tile takes; others share
    nothing. Blocks that nobody holds, and what lies beyond a request's tokens, are not numbers.
    It also compiles everything, so that the first real step need not.

    Raises:
        ValueError: what they compute is wrong.
        triton.OutOfResources: the card has too little shared memory.
    """
    query, cache = _batch(decoder)
    scale = float(decoder.shape.head) ** -0.5
    out = torch.full_like(query, torch.nan)
    decoder(query, cache, planner(cache.table, cache.lengths), scale, out)
    wanted = reference.full(query.float(), cache, scale)
    off, room = float(apart(out, wanted)), _ROOM[query.dtype]
    if not off <= room:
        raise ValueError(
            f"shared-prefix attention computes something else than it must on this card: off by "
            f"{off:.3g} of a head's largest number, and rounding makes {room:.3g} at most (torch "
            f"{torch.__version__}, Triton {triton.__version__}). Start without it, and please "
            "report it"
        )


def _batch(decoder: Decoder) -> tuple[torch.Tensor, PagedCache]:
    """Queries [requests, heads, head] and the cache that they attend to."""
    shape, limits = decoder.shape, decoder.limits
    device = decoder.steps.device
    chance = torch.Generator(device).manual_seed(0)
    most = max(1, shape.tokens // shape.block)
    # Long enough to be shared, and for requests to have tokens of their own, where a request
    # may be so long.
    shared = min(-(-limits.min_tokens // shape.block) + 1, most - 1)
    own = min(3, most - shared)
    members = [limits.tile_members + _MORE, _FEW, *[1] * _ALONE]
    tables = []
    free = 1
    for many in members:
        beginning = list(range(free, free + shared))
        free += shared
        for _ in range(many):
            tables.append([*beginning, *range(free, free + own)])
            free += own
    tables = tables[: shape.requests]
    table = torch.tensor(tables, dtype=torch.int32, device=device)
    # The last of a request's blocks is not full.
    full = (shared + own) * shape.block
    lengths = full - torch.arange(len(tables), dtype=torch.int32, device=device) % shape.block
    cache = torch.randn(
        (free, shape.kv_heads, shape.block, 2 * shape.head), generator=chance, device=device
    ).to(shape.dtype)
    cache[0] = torch.nan
    for row, length in zip(table.tolist(), lengths.tolist(), strict=True):
        cache[row[-1], :, length - full + shape.block :] = torch.nan
    query = torch.randn((len(tables), shape.heads, shape.head), generator=chance, device=device)
    return query.to(shape.dtype), PagedCache(*split(cache, shape.head), table, lengths)
