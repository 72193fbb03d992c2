"""What vLLM is told: its environment, and the arguments of each engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from outcore.config import home
from outcore.models.shared_prefix import attention_backend

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from outcore.models.launch import Launch


def set_environment(launches: Sequence[Launch], scratch: Path) -> None:
    """Set what vLLM reads from this process's environment when it is imported.

    Args:
        launches: the engines to come.
        scratch: short path of a folder for their sockets.
    """
    cores = max((len(launch.plan.cores) for launch in launches), default=0)
    environment = {
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        # What vLLM says in this process must not get among the answers.
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "TOKENIZERS_PARALLELISM": "true",
        # Torch would make a folder in /tmp and leave it there.
        "TORCHINDUCTOR_CACHE_DIR": str(home() / "torchinductor"),
    }
    if cores:
        # Without it vLLM computes on one core in a worker that it does not spawn.
        environment["OMP_NUM_THREADS"] = str(cores)
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    os.environ["VLLM_RPC_BASE_PATH"] = str(scratch)


def engine_args(launch: Launch) -> dict[str, Any]:
    """Arguments of vLLM's `AsyncEngineArgs` for one engine; everything that matters is set."""
    plan = launch.plan
    args: dict[str, Any] = {
        "model": str(launch.folder),
        "served_model_name": launch.name,
        "dtype": plan.dtype,
        "max_model_len": plan.window,
        "max_num_seqs": plan.max_num_seqs,
        "max_num_batched_tokens": plan.max_num_batched_tokens,
        "block_size": plan.block_size,
        "enable_prefix_caching": True,
        "enable_chunked_prefill": True,
        "kv_cache_memory_bytes": plan.kv_cache_bytes,
        "scheduling_policy": "priority",
        "structured_outputs_config": {"backend": "outlines"},
        "generation_config": "vllm",
        "seed": 0,
    }
    if plan.device == "cuda":
        args["gpu_memory_utilization"] = plan.gpu_memory_utilization
        args["tensor_parallel_size"] = plan.tensor_parallel
        args["data_parallel_size"] = plan.replicas
        if name := attention_backend(launch):
            args["attention_backend"] = name
    else:
        args["enforce_eager"] = True
    return args
