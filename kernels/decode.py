"""One decode step of attention over a paged cache, by a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import triton

from outcore.kernels import shared_prefix
from outcore.kernels.limits import LEVELS, PIECES, Limits
from outcore.kernels.shape import Tuning
from outcore.kernels.tiles import ladder

if TYPE_CHECKING:
    from outcore.kernels.groups import Plan
    from outcore.kernels.paged import PagedCache
    from outcore.kernels.shape import Shape
    from outcore.kernels.tiles import Tiles

_SMALLEST_PRODUCT, _USUAL_HEAD = 16, 128
# A cache of so many blocks of 16 tokens holds four million.
_COUNTERS = 1 << 18
_INTERPRETED = not isinstance(shared_prefix.partial_kernel, triton.JITFunction)


class Decoder:
    """Attention of a model's decode steps, with the memory it needs.

    One serves all layers of a model, one after the other. It allocates in its constructor
    alone, and neither waits for the device nor launches a grid whose size depends on the batch.
    """

    def __init__(
        self, shape: Shape, device: torch.device, tuning: Tuning | None = None, cores: int = 0
    ) -> None:
        """Allocate.

        Args:
            shape: of the model.
            device: that computes.
            tuning: of the kernels.
            cores: multiprocessors of the device; 0 asks a GPU, and is one elsewhere.

        Raises:
            ValueError: the shape can't be served.
        """
        tuning = tuning or Tuning()
        if reason := shape.unfit(tuning):
            raise ValueError(f"shared-prefix attention can't serve this model: {reason}")
        self.shape = shape
        self.tuning = tuning
        group = shape.heads // shape.kv_heads
        members = tuning.rows // group
        if not cores:
            cores = _cores(device)
        self._programs = cores * tuning.programs_per_core
        # As many items as programs, and one remainder for each tile.
        spare = -(-self._programs // shape.kv_heads)
        self.limits = Limits(
            block=shape.block,
            counters=_COUNTERS,
            kv_heads=shape.kv_heads,
            tile_members=members,
            programs=self._programs,
            shared_slots=LEVELS * shape.requests + spare * members,
            own_slots=shape.requests + spare,
            min_members=tuning.min_members,
            min_tokens=tuning.min_tokens,
        )
        self.steps = ladder(shape.tokens, device)
        slots = self.limits.shared_slots + self.limits.own_slots
        self._outputs = torch.empty(
            (slots, shape.heads, shape.head), dtype=torch.float32, device=device
        )
        self._weights = torch.empty((slots, shape.heads), dtype=torch.float32, device=device)

    @property
    def memory(self) -> int:
        """Bytes allocated."""
        return int(self._outputs.nbytes + self._weights.nbytes)

    def __call__(
        self,
        query: torch.Tensor,
        cache: PagedCache,
        plan: Plan,
        scale: float,
        out: torch.Tensor,
    ) -> torch.Tensor:
        """Attention of each request's query to all its tokens.

        Args:
            query: [requests, heads, head], last dimension contiguous.
            cache: of this layer.
            plan: for this batch, by `groups.find` with `limits`.
            scale: of the scores.
            out: [requests, heads, head], is written; zeros for requests without tokens.

        Returns:
            `out`.
        """
        group = self.shape.heads // self.shape.kv_heads
        small = max(_SMALLEST_PRODUCT, _power(group))
        self._partial(query, cache, plan.shared, scale, 0, self.tuning.rows, self.tuning.cols)
        self._partial(
            query, cache, plan.own, scale, self.limits.shared_slots, small, self.tuning.own_cols
        )
        shared_prefix.merge_kernel[(len(query), -(-self.shape.heads // small))](
            plan.pieces,
            self._outputs,
            self._weights,
            out,
            out.stride(0),
            out.stride(1),
            heads=self.shape.heads,
            head=self.shape.head,
            head_pad=_power(self.shape.head),
            height=small,
            stretches=PIECES,
            num_warps=self.tuning.warps,
        )
        return out

    def _partial(
        self,
        query: torch.Tensor,
        cache: PagedCache,
        tiles: Tiles,
        scale: float,
        slot_offset: int,
        height: int,
        cols: int,
    ) -> None:
        shape, head_pad = self.shape, _power(self.shape.head)
        keys, values = cache.keys, cache.values
        options: dict[str, Any] = {"num_warps": self.tuning.warps, "num_stages": self.tuning.stages}
        shared_prefix.partial_kernel[(self._programs,)](
            query,
            keys,
            values,
            cache.table,
            tiles.rows,
            tiles.first,
            tiles.members,
            tiles.source,
            tiles.begin,
            tiles.end,
            tiles.item,
            tiles.slot,
            tiles.tile_of,
            tiles.size,
            self._outputs,
            self._weights,
            scale * shared_prefix.LOG2E,
            query.stride(0),
            query.stride(1),
            keys.stride(0),
            keys.stride(1),
            keys.stride(2),
            values.stride(0),
            values.stride(1),
            values.stride(2),
            cache.table.stride(0),
            slot_offset,
            self._programs,
            kv_heads=shape.kv_heads,
            group=shape.heads // shape.kv_heads,
            block=shape.block,
            head=shape.head,
            head_pad=head_pad,
            height=height,
            # Wider heads take fewer tokens at once, so that as much memory holds them.
            cols=max(_SMALLEST_PRODUCT, cols * _USUAL_HEAD // max(_USUAL_HEAD, head_pad)),
            widen=_INTERPRETED and shape.dtype == torch.bfloat16,
            precision="ieee" if shape.dtype == torch.float32 else "tf32",
            **options,
        )


def _cores(device: torch.device) -> int:
    if device.type != "cuda":
        return 1
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


def _power(value: int) -> int:
    return 1 << (value - 1).bit_length()
