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

    Attributes:
        shape: of the model.
        tuning: of the kernels.
        limits: of plans.
        steps: lengths that a plan's work may be split into.
        compiled: what Triton made of the kernels for shared and for own tokens, once they ran.
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
        programs = cores * tuning.programs_per_core
        own_programs = cores * tuning.own_programs_per_core
        # As many items as programs, and one remainder for each tile.
        spare, own_spare = (-(-each // shape.kv_heads) for each in (programs, own_programs))
        self.limits = Limits(
            block=shape.block,
            counters=_COUNTERS,
            kv_heads=shape.kv_heads,
            tile_members=members,
            programs=programs,
            own_programs=own_programs,
            shared_slots=LEVELS * shape.requests + spare * members,
            own_slots=shape.requests + own_spare,
            min_members=tuning.min_members,
            min_tokens=tuning.min_tokens,
        )
        self.steps = ladder(shape.tokens, device)
        self.compiled: tuple[Any, Any] = (None, None)
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
        tuning, limits = self.tuning, self.limits
        self.compiled = (
            self._partial(
                query, cache, plan.shared, scale, 0, limits.programs, tuning.rows, tuning.cols
            ),
            self._partial(
                query, cache, plan.own, scale, limits.shared_slots, limits.own_programs, small,
                tuning.own_cols,
            ),
        )  # fmt: skip
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
        programs: int,
        height: int,
        cols: int,
    ) -> Any:
        shape, head_pad = self.shape, _power(self.shape.head)
        keys, values = cache.keys, cache.values
        options: dict[str, Any] = {"num_warps": self.tuning.warps, "num_stages": self.tuning.stages}
        return shared_prefix.partial_kernel[(programs,)](
            query,
            keys,
            values,
            cache.table,
            tiles.rows,
            tiles.about,
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
            tiles.about.stride(0),
            slot_offset,
            programs,
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
