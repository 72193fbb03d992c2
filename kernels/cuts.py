"""Where the rows of a block table are cut into what is shared and what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from outcore.kernels.limits import Limits


class Cuts(NamedTuple):
    """Where each row's stretches end, in blocks: [requests] each; equal where there is none."""

    inner: torch.Tensor
    outer: torch.Tensor


def sharers(
    table: torch.Tensor, usable: torch.Tensor, column: torch.Tensor, limits: Limits
) -> torch.Tensor:
    """How many rows hold a block and all those before it, for every block of every row.

    Args:
        table: [requests, columns] int32.
        usable: [requests, columns]; whether the block may be shared.
        column: [columns]; 0, 1, 2 and so on.
        limits: for the number of counters.

    Returns:
        [requests, columns] int32; what it is where `usable` is not means nothing.
    """
    # Unusable entries get counters by column, so that no single one takes them all.
    bucket = torch.where(usable, table % limits.counters, limits.counters + column).long()
    counts = torch.zeros(limits.counters + len(column), dtype=torch.int32, device=table.device)
    counts.scatter_add_(0, bucket.flatten(), usable.flatten().int())
    return counts[bucket].cummin(1).values


def cuts(held_by: torch.Tensor, usable: torch.Tensor, depth: torch.Tensor, limits: Limits) -> Cuts:
    """Cut each row where that saves most.

    A row of d blocks that n requests hold costs each of them d / n blocks to read. Rows that
    share a stretch see the same numbers along it, and so cut it alike.

    Args:
        held_by: [requests, columns]; from `sharers`.
        usable: as there.
        depth: [columns]; 1, 2, 3 and so on.
        limits: what is worth it.
    """
    least = -(-limits.min_tokens // limits.block)
    held_by = torch.where(usable, held_by, 0)
    enough = held_by >= limits.min_members
    read = depth / held_by.clamp(min=1)
    saving = torch.where(enough & (depth >= least), depth - read, 0.0)
    best, at = saving.max(1, keepdim=True)
    first = torch.where(best > 0, at + 1, 0)
    # A second cut either divides what is shared, so that still more rows share the beginning,
    # or adds what fewer rows share beyond it.
    of_first = torch.where(best > 0, held_by.gather(1, at), 1)
    dividing = depth / of_first - read
    adding = (depth - first) * (1 - 1 / held_by.clamp(min=1))
    inside = depth < first
    gap = torch.where(inside, torch.minimum(depth, first - depth), depth - first)
    gain = torch.where(inside, dividing, adding)
    gain = torch.where(enough & (best > 0) & (gap >= least), gain, 0.0)
    more, at = gain.max(1, keepdim=True)
    second = torch.where(more > 0, at + 1, first)
    return Cuts(torch.minimum(first, second)[:, 0], torch.maximum(first, second)[:, 0])
