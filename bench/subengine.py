"""The default sub-LM alone on this machine, for benches that need a real engine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from outcore.models.catalog import defaults
from outcore.models.launch import Launch
from outcore.models.machine import usable
from outcore.models.need import need
from outcore.models.placement import place
from outcore.models.weights import ensure

if TYPE_CHECKING:
    from pathlib import Path


def sub_launch(logs: Path, *, kv_tokens: int | None = None) -> Launch:
    """One copy of the default sub-LM, on one GPU or on all cores.

    Args:
        logs: folder for the engine's log.
        kv_tokens: what its KV cache is to hold; None leaves it to the placement.
    """
    machine = usable()
    model = defaults(machine)[1]
    folder = ensure(model)
    needs = need(folder)
    plan = place(None, needs, machine).engines[0]
    plan = replace(plan, gpus=plan.gpus[: plan.tensor_parallel], replicas=1)
    if kv_tokens is not None:
        # vLLM keeps one block for itself.
        blocks = -(-kv_tokens // plan.block_size) + 1
        of_token = -(-needs.kv_bytes_per_token // min(plan.tensor_parallel, needs.kv_heads))
        window = min(plan.window, (blocks - 1) * plan.block_size)
        size = blocks * plan.block_size * of_token
        plan = replace(plan, kv_cache_bytes=size, window=window)
    return Launch(model.name, folder, plan, logs / f"{model.name}.log")
