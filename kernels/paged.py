"""A paged KV cache as vLLM lays it out, seen as keys and values."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class PagedCache:
    """The cache of one layer, and what each request holds of it.

    Attributes:
        keys: [blocks, block, kv_heads, head]; any strides, those of the last dimension 1.
        values: the same for the values.
        table: [requests, columns] int32; the blocks of each request, in order. Entries beyond a
            request's length may be anything.
        lengths: [requests] int32; tokens of each request, the one being computed included.
    """

    keys: torch.Tensor
    values: torch.Tensor
    table: torch.Tensor
    lengths: torch.Tensor

    @property
    def block(self) -> int:
        """Tokens of one block."""
        return int(self.keys.shape[1])


def split(kv_cache: torch.Tensor, head: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of vLLM's cache tensor, as views.

    vLLM 0.26 and 0.32 hold both in one tensor, [blocks, kv_heads, block, 2 * head], whatever
    order the dimensions have in memory.

    Returns:
        Two tensors [blocks, block, kv_heads, head].
    """
    keys, values = kv_cache.transpose(1, 2).split(head, dim=-1)
    return keys, values


def rows(cache: torch.Tensor, blocks: torch.Tensor, begin: int, end: int) -> torch.Tensor:
    """Tokens `begin` to `end` of a request whose blocks are given: [end - begin, kv_heads, head].

    Nothing else of the cache is touched.
    """
    at = torch.arange(begin, end, device=cache.device)
    block = int(cache.shape[1])
    return cache[blocks[at // block].long(), at % block]
