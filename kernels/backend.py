"""vLLM's FlashAttention, with decode steps that read shared prefixes once.

A subclass of vLLM's own backend, for vLLM 0.26 and 0.32. A batch is [decodes][the rest]; when
its decodes share enough, they go to the kernels here and the rest to FlashAttention, else all
of it goes to FlashAttention, by the code that vLLM would have run. Cached prefixes, chunked
prefills and mixed batches are thereby served. A step by groups runs piecewise, with attention
between the CUDA graphs; all others as vLLM runs them, whole graphs too (`graphs.py`).
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from vllm.v1.attention.backend import AttentionType
from vllm.v1.attention.backends.flash_attn import FlashAttentionBackend, FlashAttentionImpl

from outcore.kernels.builder import Grouped, SharedPrefixBuilder
from outcore.kernels.paged import PagedCache, split
from outcore.kernels.plugin import NAME
from outcore.kernels.shape import MOST_HEAD, Tuning


class SharedPrefixBackend(FlashAttentionBackend):  # type: ignore[misc]
    """What vLLM asks of a backend; it refuses at the start what the kernels can't serve."""

    supported_kv_cache_dtypes: ClassVar[list[str]] = ["auto", "float16", "bfloat16"]

    @staticmethod
    def get_name() -> str:
        """The name under which vLLM looks it up."""
        return NAME

    @staticmethod
    def get_impl_cls() -> type[SharedPrefixImpl]:
        """The layer's part."""
        return SharedPrefixImpl

    @staticmethod
    def get_builder_cls() -> type[SharedPrefixBuilder]:
        """The batch's part."""
        return SharedPrefixBuilder

    @classmethod
    def supports_head_size(cls, head_size: int) -> bool:
        """Multiples of 8 from 16 to 256."""
        return head_size % 8 == 0 and 16 <= head_size <= MOST_HEAD

    @classmethod
    def supports_kv_cache_dtype(cls, kv_cache_dtype: str | None) -> bool:
        """Caches of the model's own type."""
        return kv_cache_dtype is None or kv_cache_dtype in cls.supported_kv_cache_dtypes

    @classmethod
    def supports_attn_type(cls, attn_type: str) -> bool:
        """Decoders alone."""
        return bool(attn_type == AttentionType.DECODER)

    @classmethod
    def supports_sliding_window(cls) -> bool:
        """Not served: a window's beginning differs from request to request."""
        return False

    @classmethod
    def supports_rswa(cls) -> bool:
        """Not served, for the same reason."""
        return False

    @classmethod
    def supports_sink(cls) -> bool:
        """Not served."""
        return False

    @classmethod
    def supports_mm_prefix(cls) -> bool:
        """Not served."""
        return False

    @classmethod
    def supports_non_causal(cls) -> bool:
        """Not served."""
        return False

    @classmethod
    def supports_per_head_quant_scales(cls) -> bool:
        """Not served."""
        return False

    @classmethod
    def supports_device_cpu_query_lens_mismatch(cls) -> bool:
        """Not served: which requests are decodes is read from the host's lengths of queries."""
        return False

    @classmethod
    def supports_batch_invariance(cls) -> bool:
        """Not promised: what a request shares with others decides the order of its sums."""
        return False


class SharedPrefixImpl(FlashAttentionImpl):  # type: ignore[misc]
    """One layer."""

    supports_dcp = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        most = Tuning().rows
        for unserved, what in (
            (self.alibi_slopes is not None, "ALiBi"),
            (self.sliding_window != (-1, -1), "a sliding window"),
            (bool(self.logits_soft_cap), "soft-capped scores"),
            (self.sinks is not None, "attention sinks"),
            (self.attn_type != AttentionType.DECODER, f"attention of the type {self.attn_type}"),
            (self.dcp_world_size > 1, "decode context parallelism"),
            (self.pcp_world_size > 1, "prefill context parallelism"),
            (
                self.num_queries_per_kv > most,
                f"{self.num_queries_per_kv} query heads for each key-value head (most: {most})",
            ),
        ):
            if unserved:
                raise ValueError(
                    f"shared-prefix attention can't serve a layer with {what}; start the engine "
                    f'without attention_backend="{NAME}"'
                )

    def forward(
        self,
        layer: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        kv_cache: torch.Tensor,
        attn_metadata: Any,
        output: torch.Tensor,
        output_scale: torch.Tensor | None = None,
        output_block_scale: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attention of a batch's queries, [tokens, heads, head], written to `output`."""
        scales = output_scale, output_block_scale
        if not isinstance(attn_metadata, Grouped):
            return super().forward(
                layer, query, key, value, kv_cache, attn_metadata, output, *scales
            )
        if scales != (None, None):
            raise NotImplementedError("shared-prefix attention can't quantize its output")
        rows, tokens = len(attn_metadata.lengths), attn_metadata.num_actual_tokens
        keys, values = split(kv_cache, self.head_size)
        cache = PagedCache(keys, values, attn_metadata.table, attn_metadata.lengths)
        attn_metadata.decoder(query[:rows], cache, attn_metadata.plan, self.scale, output[:rows])
        if attn_metadata.rest is not None:
            super().forward(
                layer,
                query[rows:tokens],
                key,  # FlashAttention reads these two from the cache, where they are by now
                value,
                kv_cache,
                attn_metadata.rest,
                output[rows:tokens],
            )
        if attn_metadata.whole is not None and attn_metadata.audit.wants():
            again = torch.empty_like(output)
            super().forward(layer, query, key, value, kv_cache, attn_metadata.whole, again)
            attn_metadata.audit.compare(output[:tokens], again[:tokens])
        return output
