"""Other ways to compute a decode step over a paged cache, as far as they are installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcore.kernels.paged import PagedCache

_WORKSPACE = 256 << 20


@dataclass(frozen=True)
class Batch:
    """One decode step.

    Attributes:
        query: [requests, heads, head].
        cache: what is attended to.
        scale: of the scores.
        members: requests on each slice.
    """

    query: torch.Tensor
    cache: PagedCache
    scale: float
    members: int


def flash_of_vllm(batch: Batch) -> Callable[[], torch.Tensor]:
    """FlashAttention 3 or 2 as vLLM calls it, with its own number of splits."""
    from vllm.v1.attention.backends.fa_utils import get_flash_attn_version
    from vllm.vllm_flash_attn import flash_attn_varlen_func

    cache, longest = batch.cache, int(batch.cache.lengths.max())
    starts = torch.arange(len(batch.query) + 1, dtype=torch.int32, device=batch.query.device)
    out, version = torch.empty_like(batch.query), get_flash_attn_version()

    def call() -> torch.Tensor:
        flash_attn_varlen_func(
            q=batch.query,
            k=cache.keys,
            v=cache.values,
            out=out,
            cu_seqlens_q=starts,
            max_seqlen_q=1,
            seqused_k=cache.lengths,
            max_seqlen_k=longest,
            softmax_scale=batch.scale,
            causal=True,
            block_table=cache.table,
            fa_version=version,
        )
        return out

    return call


def flash_of_torch(batch: Batch) -> Callable[[], torch.Tensor]:
    """FlashAttention 2 as torch has it, which takes no blocks: each request has a copy of its own.

    So it finds nothing that requests share in L2, as those that take blocks may.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    cache, longest = batch.cache, int(batch.cache.lengths.max())
    if int(cache.lengths.min()) < longest:
        raise ValueError("requests differ in length")
    blocks = cache.table[:, : -(-longest // cache.block)].long()
    keys, values = (
        each[blocks].flatten(1, 2)[:, :longest].transpose(1, 2)
        for each in (cache.keys, cache.values)
    )
    query = batch.query[:, :, None]

    def call() -> torch.Tensor:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return scaled_dot_product_attention(
                query, keys, values, scale=batch.scale, enable_gqa=True
            )[:, :, 0]

    return call


def cascade_of_flashinfer(batch: Batch) -> Callable[[], torch.Tensor]:
    """FlashInfer's cascade of two levels, which is told the groups and plans on the host."""
    flashinfer = import_module("flashinfer")
    query, cache = batch.query, batch.cache
    block, device = cache.block, query.device
    # It wants a group's requests next to one another.
    order = torch.argsort(cache.table[:, 0], stable=True)
    table, groups = cache.table[order], len(query) // batch.members
    shared = int((table[0] == table[batch.members - 1]).int().cumprod(0).sum())
    shared = min(shared, (int(cache.lengths[0]) - 1) // block)
    own = -(-int(cache.lengths[0]) // block) - shared

    def steps(count: int, step: int) -> torch.Tensor:
        return torch.arange(count + 1, dtype=torch.int32, device=device) * step

    wrapper = flashinfer.MultiLevelCascadeAttentionWrapper(
        2, torch.empty(_WORKSPACE, dtype=torch.uint8, device=device), "NHD"
    )
    last = (cache.lengths[order] - 1) % block + 1
    wrapper.plan(
        [steps(groups, batch.members), steps(len(query), 1)],
        [steps(groups, shared), steps(len(query), own)],
        [
            table[:: batch.members, :shared].flatten().contiguous(),
            table[:, shared : shared + own].flatten().contiguous(),
        ],
        [torch.full((groups,), block, dtype=torch.int32, device=device), last],
        query.shape[1],
        cache.keys.shape[2],
        query.shape[2],
        block,
        sm_scale=batch.scale,
        q_data_type=query.dtype,
    )
    pages = torch.stack((cache.keys, cache.values), dim=1)
    sorted_query, back = query[order].contiguous(), torch.argsort(order)

    def call() -> Any:
        return wrapper.run(sorted_query, pages)[back]

    return call


RIVALS = {
    "flash, vLLM": flash_of_vllm,
    "flash, torch": flash_of_torch,
    "FlashInfer cascade": cascade_of_flashinfer,
}
