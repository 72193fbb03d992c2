"""Whether an engine attends with `outcore.kernels`, which reads shared slices once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from outcore.models.launch import Launch

# The name under which `outcore.kernels.plugin` registers with vLLM.
BACKEND = "CUSTOM"
# Architectures whose layers are all plain causal attention.
_PLAIN = ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe")
_MOST_HEAD, _MOST_GROUP = 256, 64


def attention_backend(launch: Launch) -> str | None:
    """vLLM's `attention_backend` for a sub-LM on a GPU whose shape the kernels serve.

    Args:
        launch: of the engine; the config.json in its folder can be read.

    Returns:
        The backend's name, or None where vLLM is to choose.
    """
    plan = launch.plan
    if not launch.shared_prefix or plan.device != "cuda" or "sub" not in plan.roles:
        return None
    if plan.dtype == "float16":  # cards that FlashAttention has no kernels for
        return None
    config = json.loads((launch.folder / "config.json").read_text(encoding="utf-8"))
    return BACKEND if _fits(config.get("text_config", config)) else None


def _fits(config: dict[str, Any]) -> bool:
    heads = int(config["num_attention_heads"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    head = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
    # Qwen's models name a window that they don't use.
    windowed = config.get("sliding_window") and config.get("use_sliding_window", True)
    return (
        config.get("model_type") in _PLAIN
        and not windowed
        and heads % kv_heads == 0
        and heads // kv_heads <= _MOST_GROUP
        and head % 8 == 0
        and 16 <= head <= _MOST_HEAD
    )
