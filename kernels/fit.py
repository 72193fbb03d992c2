"""The kernels made to fit a card, and tried on it, while an engine starts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import triton

from outcore.kernels.check import check
from outcore.kernels.decode import Decoder
from outcore.kernels.planner import Planner
from outcore.kernels.shape import Tuning

if TYPE_CHECKING:
    import torch

    from outcore.kernels.shape import Shape

# Fewer save next to no memory; see `Tuning.stages`.
_FEWEST_STAGES = 3
# What each program takes of a multiprocessor besides its own, and registers of all of them.
_RESERVED, _REGISTERS, _WARP = 1024, 1 << 16, 32


def fitted(shape: Shape, device: torch.device, shared: int) -> tuple[Decoder, Planner]:
    """A decoder and its planner that have computed a small batch rightly on their card.

    Where fewer stages fit into shared memory there are fewer, and no more programs than run at
    once: the last of them would begin when the first are done.

    Args:
        shape: of the model.
        device: that computes.
        shared: bytes of shared memory of one of its multiprocessors.

    Raises:
        ValueError: the shape can't be served, the card lacks what the kernels need for it, or
            what they compute there is wrong.
    """
    tuning = Tuning()
    try:
        decoder, planner = tried(shape, device, tuning)
    except triton.OutOfResources:
        tuning = replace(tuning, stages=_FEWEST_STAGES)
        try:
            decoder, planner = tried(shape, device, tuning)
        except triton.OutOfResources as error:
            raise ValueError(
                f"shared-prefix attention can't serve this model on this card: {error}"
            ) from error
    most, own_most = (fitting(kernel, shared) for kernel in decoder.compiled)
    fits = replace(
        tuning,
        programs_per_core=min(tuning.programs_per_core, most),
        own_programs_per_core=min(tuning.own_programs_per_core, own_most),
    )
    return (decoder, planner) if fits == tuning else tried(shape, device, fits)


def made(shape: Shape, device: torch.device, tuning: Tuning) -> tuple[Decoder, Planner]:
    """A decoder and its planner.

    Raises:
        ValueError: the shape can't be served.
    """
    decoder = Decoder(shape, device, tuning)
    columns = -(-shape.tokens // shape.block)
    return decoder, Planner(shape.requests, columns, decoder.steps, decoder.limits)


def tried(shape: Shape, device: torch.device, tuning: Tuning) -> tuple[Decoder, Planner]:
    """The same, checked.

    Raises:
        ValueError: the shape can't be served, or the check failed.
        triton.OutOfResources: the card has too little shared memory.
    """
    decoder, planner = made(shape, device, tuning)
    check(decoder, planner)
    return decoder, planner


def fitting(kernel: Any, shared: int) -> int:
    """How many programs run at once on a multiprocessor with so much shared memory.

    Args:
        kernel: as Triton compiled it.
        shared: bytes.
    """
    needs = kernel.metadata
    registers = kernel.n_regs * needs.num_warps * _WARP
    return int(max(1, min(shared // (needs.shared + _RESERVED), _REGISTERS // registers)))
