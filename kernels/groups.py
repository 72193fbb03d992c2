"""Which requests share which blocks, found on the device without waiting for it.

Two requests share a prefix where their block tables begin with the same blocks: vLLM's prefix
cache hands out the very blocks, so equal numbers are equal tokens. Counting how many requests
hold each block gives, along each request's row, a number that falls from block to block: the
branches of a trie. Where to cut the row follows from what reading it together saves: a stretch
of d blocks that n requests share costs each of them d / n. Questions on one slice often begin
with the same words; a cut that takes only the deepest shared block would break such a group
into small ones for the sake of a few tokens.

Each row gets up to two shared stretches, one after the other (a long instruction that all
requests share, then a slice that some of them share), and what is left is its own. Rows are
sorted by where their stretches end, so that those that share one stand together wherever they
were in the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from outcore.kernels.cuts import cuts, sharers
from outcore.kernels.limits import LEVELS
from outcore.kernels.tiles import Tiles, cut

if TYPE_CHECKING:
    from outcore.kernels.limits import Limits

# Sorts after every block.
_NOWHERE = torch.iinfo(torch.int64).max


@dataclass(frozen=True, slots=True)
class Plan:
    """The work of one decode step, the same for all layers.

    Attributes:
        shared: tiles of tokens that several requests read.
        own: one tile for each request, of the tokens that it alone reads.
        pieces: [requests, PIECES, 3] int32; for each stretch of a request the slot of its first
            partial result, the distance to the next, and how many there are. Slots of own
            tokens come after all those of shared ones.
        tokens: [2] float32; that the requests attend to, and how many of them need not be read.
    """

    shared: Tiles
    own: Tiles
    pieces: torch.Tensor
    tokens: torch.Tensor


class _Sorted(NamedTuple):
    """Stretches of all rows and levels, those with the same blocks together.

    Attributes:
        order: [LEVELS * requests]; which stretch stands at a place, level by level.
        live: whether there is one.
        leader: place of the first stretch of the same blocks.
        place: how many places after its leader.
    """

    order: torch.Tensor
    live: torch.Tensor
    leader: torch.Tensor
    place: torch.Tensor


def find(table: torch.Tensor, lengths: torch.Tensor, steps: torch.Tensor, limits: Limits) -> Plan:
    """Find what requests share, and plan the work.

    Args:
        table: [requests, columns] int32; block tables. Entries beyond a length may be anything.
        lengths: [requests] int32; tokens of each request; 0 for one that is not there. The last
            token's block is never shared: it is being written.
        steps: lengths that work may be split into; `tiles.ladder`.
        limits: what is worth it.
    """
    requests, columns = table.shape
    column = torch.arange(columns, device=table.device)
    usable = column < ((lengths - 1) // limits.block)[:, None]
    found = cuts(sharers(table, usable, column, limits), usable, column + 1, limits)
    begins = torch.cat((torch.zeros_like(found.inner), found.inner))
    ends = torch.cat((found.inner, found.outer))
    stretches = _sort(table, begins, ends)
    row = torch.arange(LEVELS * requests, device=table.device) % requests
    sound = _sound(table, column, begins, ends, row, stretches)
    outer = found.outer * sound
    shared = _shared(begins, ends, row, sound, stretches, steps, limits)
    every = torch.arange(requests, device=table.device)
    own = cut(
        rows=every,
        first=every,
        members=torch.ones_like(every),
        source=every,
        begin=outer * limits.block,
        end=torch.maximum(lengths, outer * limits.block),
        lengths=steps,
        programs=limits.own_programs,
        kv_heads=limits.kv_heads,
        slots=limits.own_slots,
    )
    once = ((ends - begins)[stretches.order] * (stretches.live & (stretches.place == 0))).sum()
    saved = (outer.sum() - once).clamp(min=0) * limits.block
    return Plan(
        shared=shared,
        own=own,
        pieces=_pieces(shared, own, sound, row, stretches, limits),
        tokens=torch.stack((lengths.sum(), saved)).float(),
    )


def _sort(table: torch.Tensor, begins: torch.Tensor, ends: torch.Tensor) -> _Sorted:
    requests, columns = table.shape
    live = ends > begins
    last = (ends - 1).clamp(min=0).view(LEVELS, requests).T
    block = table.gather(1, last).T.flatten().long()
    # Where a stretch ends and where it begins: rows that share its end but were cut otherwise
    # before it are a group of their own.
    key = torch.where(live, block * (columns + 1) + begins, _NOWHERE)
    key, order = key.sort(stable=True)
    at = torch.arange(len(key), device=table.device)
    starts = torch.ones_like(live)
    starts[1:] = key[1:] != key[:-1]
    leader = torch.where(starts, at, 0).cummax(0).values
    return _Sorted(order, live[order], leader, at - leader)


def _sound(
    table: torch.Tensor,
    column: torch.Tensor,
    begins: torch.Tensor,
    ends: torch.Tensor,
    row: torch.Tensor,
    stretches: _Sorted,
) -> torch.Tensor:
    """[requests]; whether all blocks of a row's stretches are those of the stretches' leaders.

    They are unless two equal blocks were cached apart and a later one once; then the row reads
    all of its tokens itself.
    """
    leader = stretches.order[stretches.leader]
    mine, theirs = row[stretches.order], row[leader]
    begin, end = begins[stretches.order], ends[stretches.order]
    outside = (column < begin[:, None]) | (column >= end[:, None])
    same = ((table[mine] == table[theirs]) | outside).all(1) & (end == ends[leader])
    wrong = torch.zeros(len(table), dtype=torch.int32, device=table.device)
    return wrong.scatter_add_(0, mine, (~same & stretches.live).int()) == 0


def _shared(
    begins: torch.Tensor,
    ends: torch.Tensor,
    row: torch.Tensor,
    sound: torch.Tensor,
    stretches: _Sorted,
    steps: torch.Tensor,
    limits: Limits,
) -> Tiles:
    size = len(row)
    at = torch.arange(size, device=row.device)
    starts = stretches.live & (stretches.place % limits.tile_members == 0)
    tile = starts.cumsum(0) - 1
    # What starts no tile is written past the last one, and cut off.
    spot = torch.where(starts, tile, size)

    def of_tile(value: torch.Tensor) -> torch.Tensor:
        return torch.zeros(size + 1, dtype=torch.int64, device=row.device).scatter_(0, spot, value)[
            :size
        ]

    leader = stretches.order[stretches.leader]
    members = torch.zeros(size + 1, dtype=torch.int64, device=row.device)
    members.scatter_add_(0, torch.where(stretches.live, tile, size), stretches.live.long())
    mine = row[stretches.order]
    return cut(
        rows=torch.where(stretches.live & sound[mine], mine, -1),
        first=of_tile(at),
        members=members[:size],
        source=of_tile(row[leader]),
        begin=of_tile(begins[leader] * limits.block),
        end=of_tile(ends[leader] * limits.block),
        lengths=steps,
        programs=limits.programs,
        kv_heads=limits.kv_heads,
        slots=limits.shared_slots,
    )


def _pieces(
    shared: Tiles,
    own: Tiles,
    sound: torch.Tensor,
    row: torch.Tensor,
    stretches: _Sorted,
    limits: Limits,
) -> torch.Tensor:
    requests = len(sound)
    starts = stretches.live & (stretches.place % limits.tile_members == 0)
    tile = (starts.cumsum(0) - 1).clamp(min=0)
    used = stretches.live & sound[row[stretches.order]]
    found = torch.stack(
        (
            shared.slot[tile] + stretches.place % limits.tile_members,
            shared.members[tile],
            shared.splits[tile] * used,
        ),
        dim=1,
    ).int()
    levels = torch.empty_like(found).index_copy_(0, stretches.order, found)
    last = torch.stack(
        (own.slot + limits.shared_slots, torch.ones_like(own.slot), own.splits), dim=1
    )
    return torch.stack((*levels.view(LEVELS, requests, 3), last), dim=1).contiguous()
