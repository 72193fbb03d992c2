"""What a placement decides: the engines, where they run, and what each may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PlacedRole = Literal["root", "sub"]


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """One engine: what it serves, where, and with what.

    Attributes:
        roles: one, or both where root and sub-LM are the same weights.
        device: what it runs on.
        gpus: indices of its GPUs, `tensor_parallel * replicas` of them, replica by replica;
            empty on a CPU.
        cores: processor cores it computes on; empty on a GPU.
        tensor_parallel: GPUs over which one copy of the weights is split.
        replicas: copies of the weights, each on GPUs of its own (data parallel).
        kv_cache_bytes: KV cache on each GPU, or in all on a CPU.
        gpu_memory_utilization: share of each GPU the engine asks for at start; None on a CPU.
        max_num_seqs: requests computed at once, by one replica.
        max_num_batched_tokens: tokens of one step of one replica.
        block_size: tokens of one block of the prefix cache.
        window: longest prompt and answer together, in tokens.
        dtype: of weights, activations and KV cache.
    """

    roles: tuple[PlacedRole, ...]
    device: Literal["cpu", "cuda"]
    gpus: tuple[int, ...]
    cores: tuple[int, ...]
    tensor_parallel: int
    replicas: int
    kv_cache_bytes: int
    gpu_memory_utilization: float | None
    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    window: int
    dtype: Literal["bfloat16", "float16"] = "bfloat16"


@dataclass(frozen=True, slots=True)
class Placement:
    """Engines in the order in which they start: one after the other, as each measures memory."""

    engines: tuple[EnginePlan, ...]

    def engine_of(self, role: PlacedRole) -> EnginePlan | None:
        """The engine that serves a role, or None where it is served elsewhere."""
        return next((engine for engine in self.engines if role in engine.roles), None)
