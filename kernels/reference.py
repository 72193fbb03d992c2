"""What the kernels must compute, in plain torch: slow, and easy to check by eye.

Attention of one query per request over a paged cache, where several requests may begin with
the same blocks. Attention over a sequence is the merge of attentions over its parts, each
weighed by the exponential of its log-sum-exp; so a part that many requests share is computed
for all of them at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from outcore.kernels.paged import PagedCache, rows

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Shared:
    """Tokens `begin` to `end` that the requests `members` have in the same blocks."""

    members: tuple[int, ...]
    begin: int
    end: int


class Part(NamedTuple):
    """Attention over some of a sequence.

    Attributes:
        output: [queries, heads, head], weighed by the softmax over this part alone.
        weight: [queries, heads], log-sum-exp of its scores, natural logarithm.
    """

    output: torch.Tensor
    weight: torch.Tensor


def attend(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float) -> Part:
    """Attention of every query to every key, in float32 or, for float64 queries, in that.

    Args:
        query: [queries, heads, head].
        keys: [tokens, kv_heads, head]; `heads` is a multiple of `kv_heads`, and head h reads
            key-value head h * kv_heads // heads.
        values: as the keys.
        scale: of the scores.
    """
    kind = torch.float64 if query.dtype == torch.float64 else torch.float32
    repeat = query.shape[1] // keys.shape[1]
    keys = keys.to(kind).repeat_interleave(repeat, dim=1)
    values = values.to(kind).repeat_interleave(repeat, dim=1)
    scores = torch.einsum("qhd,khd->qhk", query.to(kind), keys) * scale
    weight = torch.logsumexp(scores, dim=-1)
    output = torch.einsum("qhk,khd->qhd", torch.exp(scores - weight[..., None]), values)
    return Part(output, weight)


def merge(parts: Sequence[Part]) -> Part:
    """Attention over all of a sequence from attentions over its parts.

    A part without tokens has the weight -inf; at least one must have some.
    """
    weights = torch.stack([part.weight for part in parts])
    total = torch.logsumexp(weights, dim=0)
    shares = torch.exp(weights - total)
    output = sum(share[..., None] * part.output for share, part in zip(shares, parts, strict=True))
    return Part(torch.as_tensor(output), total)


def full(query: torch.Tensor, cache: PagedCache, scale: float) -> torch.Tensor:
    """Each request's attention to all its tokens: [requests, heads, head]; zero where it has none.

    Args:
        query: [requests, heads, head], one query per request.
        cache: what they attend to.
        scale: of the scores.
    """
    return grouped(query, cache, scale, ())


def grouped(
    query: torch.Tensor, cache: PagedCache, scale: float, shared: Sequence[Shared]
) -> torch.Tensor:
    """The same, with shared tokens read once for all that share them.

    Args:
        query: [requests, heads, head].
        cache: what they attend to.
        scale: of the scores.
        shared: parts that follow one another without a gap from each member's first token on;
            what a request has beyond them is its own.
    """
    parts: list[list[Part]] = [[] for _ in range(len(query))]
    covered = [0] * len(query)
    for part in sorted(shared, key=lambda part: part.begin):
        members = torch.tensor(part.members, device=query.device)
        blocks = cache.table[part.members[0]]
        found = attend(
            query[members],
            rows(cache.keys, blocks, part.begin, part.end),
            rows(cache.values, blocks, part.begin, part.end),
            scale,
        )
        for place, member in enumerate(part.members):
            if covered[member] != part.begin:
                raise ValueError(
                    f"request {member} has shared tokens up to {covered[member]}, and the next "
                    f"ones begin at {part.begin}"
                )
            covered[member] = part.end
            parts[member].append(
                Part(found.output[place : place + 1], found.weight[place : place + 1])
            )
    output = torch.zeros_like(query)
    for request, length in enumerate(cache.lengths.tolist()):
        if covered[request] < length:
            blocks = cache.table[request]
            span = covered[request], length
            keys, values = rows(cache.keys, blocks, *span), rows(cache.values, blocks, *span)
            parts[request].append(attend(query[request : request + 1], keys, values, scale))
        if parts[request]:
            output[request] = merge(parts[request]).output[0]
    return output
