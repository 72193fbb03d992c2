"""How attention over shared and own tokens is cut into work of equal size, on the device.

A tile is a stretch of tokens and the requests that read it together. Tiles are split along
their tokens so that there are as many items as programs run at once, or a little fewer, and
all of one length. Every tensor here has a fixed size, and nothing is ever read back: the host
does not know how many groups there are, or how long they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

# What starting an item costs, in tokens that could be read in that time. It keeps items from
# becoming so short that their partial results outweigh what they read. Not measured yet.
_ITEM_OVERHEAD = 128
# No item is shorter than this, and item lengths are multiples of it.
SHORTEST = 128


@dataclass(frozen=True, slots=True)
class Tiles:
    """Work for one launch of the kernel.

    Attributes:
        rows: [places] int32; requests, those of a tile next to one another. -1 for one that was
            found not to share the tile's tokens after all.
        about: [FIELDS, tiles] int32; what is known of each tile: the properties below, in
            their order. One tensor, since each argument of a launch costs the host time.
        tile_of: [items] int32; each item's tile.
        size: [2] int32; how many items there are, and tokens of each.
    """

    rows: torch.Tensor
    about: torch.Tensor
    tile_of: torch.Tensor
    size: torch.Tensor

    @property
    def first(self) -> torch.Tensor:
        """[tiles]; where in `rows` a tile's requests begin."""
        return self.about[0]

    @property
    def members(self) -> torch.Tensor:
        """[tiles]; how many requests it has."""
        return self.about[1]

    @property
    def source(self) -> torch.Tensor:
        """[tiles]; request whose blocks are read."""
        return self.about[2]

    @property
    def begin(self) -> torch.Tensor:
        """[tiles]; its first token."""
        return self.about[3]

    @property
    def end(self) -> torch.Tensor:
        """[tiles]; the token after its last."""
        return self.about[4]

    @property
    def item(self) -> torch.Tensor:
        """[tiles]; number of its first item."""
        return self.about[5]

    @property
    def slot(self) -> torch.Tensor:
        """[tiles]; where its partial results begin.

        Those of item s and member j are at slot + s * members + j.
        """
        return self.about[6]

    @property
    def splits(self) -> torch.Tensor:
        """[tiles]; how many items it has."""
        return self.about[7]


def ladder(longest: int, device: torch.device) -> torch.Tensor:
    """Lengths that items may have: steps of about 1.4, the last at least `longest`."""
    steps = [SHORTEST]
    while steps[-1] < longest:
        power = 1 << (steps[-1].bit_length() - 1)
        steps.append(power * 2 if steps[-1] > power else power + power // 2)
    rounded = sorted({-(-step // SHORTEST) * SHORTEST for step in steps})
    return torch.tensor(rounded, dtype=torch.int32, device=device)


def cut(
    *,
    rows: torch.Tensor,
    first: torch.Tensor,
    members: torch.Tensor,
    source: torch.Tensor,
    begin: torch.Tensor,
    end: torch.Tensor,
    lengths: torch.Tensor,
    programs: int,
    kv_heads: int,
    slots: int,
) -> Tiles:
    """Split tiles into items.

    The length of an item is the one of `lengths` at which the programs are done first: as many
    rounds of items as it takes, each as long as an item. Lengths that need more than `slots`
    partial results are left out; the last one must never.

    Args:
        rows: as in `Tiles`, like the four that follow.
        first: of each tile.
        members: of each tile; 0 for tiles that are not there.
        source: of each tile.
        begin: of each tile.
        end: of each tile.
        lengths: [steps] int32, ascending; from `ladder`.
        programs: that run at once.
        kv_heads: each item is computed once for each of them.
        slots: partial results that there is room for, all key-value heads of a query counting
            as one; also the most items.
    """
    tokens = end - begin
    splits = (tokens[None] + lengths[:, None] - 1) // lengths[:, None]
    items = splits.sum(1)
    rounds = (items * kv_heads + programs - 1) // programs
    cost = rounds * (lengths + _ITEM_OVERHEAD)
    needed = torch.maximum((splits * members).sum(1), items)
    cost = cost.masked_fill(needed > slots, torch.iinfo(cost.dtype).max)
    best = cost.argmin(keepdim=True)
    chosen = splits.index_select(0, best)[0]
    ends = chosen.cumsum(0)
    slot_ends = (chosen * members).cumsum(0)
    at = torch.arange(slots, device=rows.device)
    # Beyond the last item this is the number of tiles, which no program reads.
    tile_of = torch.searchsorted(ends, at, right=True)
    size = torch.stack((ends[-1], lengths.index_select(0, best)[0].to(ends.dtype)))
    slot = slot_ends - chosen * members
    about = torch.stack((first, members, source, begin, end, ends - chosen, slot, chosen))
    return Tiles(rows=rows.int(), about=about.int(), tile_of=tile_of.int(), size=size.int())
