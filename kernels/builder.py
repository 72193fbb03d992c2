"""What vLLM prepares for a batch: FlashAttention's metadata, or a plan for its decodes."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import torch
from vllm.v1.attention.backend import AttentionCGSupport
from vllm.v1.attention.backends.flash_attn import FlashAttentionMetadataBuilder
from vllm.v1.attention.backends.utils import split_decodes_and_prefills

from outcore.kernels.audit import Audit
from outcore.kernels.choice import LEAST_SAVING, Choice, kind_of
from outcore.kernels.fit import fitted, made
from outcore.kernels.graphs import follow, whole_graphs
from outcore.kernels.looks import Looks
from outcore.kernels.shape import Shape, Tuning
from outcore.kernels.watch import Watch

if TYPE_CHECKING:
    from outcore.kernels.decode import Decoder
    from outcore.kernels.groups import Plan

# Fields of vLLM's metadata with an entry for each request.
_BY_REQUEST = (
    "seq_lens",
    "seq_lens_cpu_upper_bound",
    "is_prefilling",
    "req_idx",
    "block_table_tensor",
)
# What vLLM works out from other fields when it is needed: not of this part of the batch.
_DERIVED = (
    "_seq_lens_cpu",
    "_num_computed_tokens_cpu",
    "_num_computed_tokens_cache",
    "_token_to_req_indices_cache",
)


@dataclass(frozen=True, slots=True)
class Grouped:
    """Metadata of a batch whose decodes are computed by groups.

    Attributes:
        decoder: what computes them.
        plan: how.
        table: [decodes, columns] int32; their block tables.
        lengths: [decodes] int32; their tokens.
        num_actual_tokens: of the batch.
        rest: FlashAttention's metadata of all but the decodes, or None where that is all.
        whole: FlashAttention's metadata of all of the batch, where the step is audited.
        audit: what compares the two then.
    """

    decoder: Decoder
    plan: Plan
    table: torch.Tensor
    lengths: torch.Tensor
    num_actual_tokens: int
    rest: Any
    whole: Any
    audit: Audit


class SharedPrefixBuilder(FlashAttentionMetadataBuilder):  # type: ignore[misc]
    """Metadata of a batch: FlashAttention's own, or `Grouped`."""

    # The plan belongs to the block table it was made from.
    supports_update_block_table = False

    @classmethod
    def get_cudagraph_support(cls, vllm_config: Any, kv_cache_spec: Any) -> AttentionCGSupport:
        """FlashAttention's, for the steps that don't go by groups, where vLLM can be told."""
        if whole_graphs(vllm_config):
            return super().get_cudagraph_support(vllm_config, kv_cache_spec)
        return AttentionCGSupport.NEVER

    def __init__(
        self, kv_cache_spec: Any, layer_names: list[str], vllm_config: Any, device: torch.device
    ) -> None:
        super().__init__(kv_cache_spec, layer_names, vllm_config, device)
        self.supports_draft_decode_metadata_update = False
        # Decodes first, as `build` needs them.
        self._init_reorder_batch_threshold(1, supports_spec_as_decode=False)
        shape = Shape(
            heads=self.num_heads_q,
            kv_heads=kv_cache_spec.num_kv_heads,
            head=kv_cache_spec.head_size,
            block=kv_cache_spec.block_size,
            requests=vllm_config.scheduler_config.max_num_seqs,
            tokens=vllm_config.model_config.max_model_len,
            dtype=kv_cache_spec.dtype,
        )
        if device.type == "cuda":
            card = torch.cuda.get_device_properties(device)
            self.decoder, self._plan_of = fitted(
                shape, device, card.shared_memory_per_multiprocessor
            )
        else:
            self.decoder, self._plan_of = made(shape, device, Tuning())
        self.choice = Choice()
        self._figures = Watch(device, 2)
        self._audit = Audit(device, len(layer_names))
        self._looks = Looks(self.decoder.limits.min_members)
        follow(self.choice)

    def build_for_cudagraph_capture(self, common_attn_metadata: Any) -> Any:
        """Metadata of a batch that a whole graph is made with: FlashAttention's."""
        return super().build(0, common_attn_metadata)

    def build(
        self, common_prefix_len: int, common_attn_metadata: Any, fast_build: bool = False
    ) -> Any:
        """Metadata of a batch; nothing in it waits for the device.

        Raises:
            RuntimeError: an audit failed; see `Audit`.
        """
        common = common_attn_metadata
        # Chosen at the step before, since vLLM has asked by now.
        grouped = self.choice.grouped
        decodes, rest, tokens, _ = split_decodes_and_prefills(common, decode_threshold=1)
        # Requests that only fill up a batch have no token, and come last.
        rows = min(decodes, tokens)
        fits = common.causal is True and 1 < rows <= self.decoder.shape.requests
        if fast_build or not fits:
            self.choice.idle()
            return super().build(common_prefix_len, common, fast_build)
        table = common.block_table_tensor[:rows, : -(-common.max_seq_len // self.block_size)]
        lengths = common.seq_lens[:rows]
        in_all, saved = self._figures.found() or (0.0, 0.0)
        plan = None
        # Whole graphs are padded, others are not, and both must be of one kind.
        asked = int(common.query_start_loc_cpu[common.num_reqs])
        own = min(rows, asked)
        if grouped or self._looks.due(own, found=saved > 0):
            plan = self._plan_of(table, lengths)
            self._figures.note(plan.tokens)
        self.choice.step(
            kind_of(own, asked - own, in_all, saved),
            saves=saved > 0 and saved >= LEAST_SAVING * in_all,
            grouped=grouped,
        )
        if not grouped or plan is None:
            return super().build(common_prefix_len, common)
        return Grouped(
            self.decoder,
            plan,
            table,
            lengths,
            common.num_actual_tokens,
            rest=super().build(0, _from(common, decodes, tokens)) if rest else None,
            # A schedule made ahead lies in a buffer that the one of the rest may lie in.
            whole=super().build(0, common, fast_build=True) if self._audit.due() else None,
            audit=self._audit,
        )


def _from(common: Any, request: int, token: int) -> Any:
    """Metadata of a batch from one of its requests on, whose first token is `token`."""
    names = {field.name for field in fields(common)}
    parts = {
        name: getattr(common, name)[request:]
        for name in _BY_REQUEST
        if name in names and getattr(common, name) is not None
    }
    return replace(
        common,
        query_start_loc=common.query_start_loc[request:] - token,
        query_start_loc_cpu=common.query_start_loc_cpu[request:] - token,
        num_reqs=common.num_reqs - request,
        num_actual_tokens=common.num_actual_tokens - token,
        slot_mapping=common.slot_mapping[token:],
        **parts,
        **{name: None for name in _DERIVED if name in names},
    )
