"""What a model needs of a machine, read from its folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from outcore.errors import WeightsError
from outcore.models.files import missing_files, weight_bytes

if TYPE_CHECKING:
    from pathlib import Path

# Weights, activations and KV cache are bf16.
_BYTES = 2


@dataclass(frozen=True, slots=True)
class ModelNeed:
    """The size of a model, in what a placement counts.

    Attributes:
        folder: where it lies; two needs of one folder are the same weights.
        weight_bytes: its weights, in memory as on disk.
        kv_bytes_per_token: KV cache of one token, over all layers.
        window: longest prompt and answer together, in tokens.
        heads: attention heads; tensor parallelism must divide them.
        kv_heads: key-value heads; beyond their number they are copied, not split.
        activation_bytes_per_token: what the widest step of a forward pass holds.
        vocabulary: number of tokens there are.
    """

    folder: Path
    weight_bytes: int
    kv_bytes_per_token: int
    window: int
    heads: int
    kv_heads: int
    activation_bytes_per_token: int
    vocabulary: int


def need(folder: Path) -> ModelNeed:
    """Read the needs of a model folder.

    Layers with a sliding window are counted as full ones, and layers of linear attention as
    none, so the KV cache is estimated high for the first and a little low for the second.

    Raises:
        WeightsError: the folder is no whole model, or its config.json can't be understood.
    """
    if lacking := missing_files(folder):
        raise WeightsError(f"{folder} is no whole model: it lacks {', '.join(lacking)}")
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        # Models that also see hold their language half in a table of its own.
        return _need(folder, config.get("text_config", config))
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError),
        *(ZeroDivisionError, RecursionError),
    ) as error:
        raise WeightsError(
            f"{path} can't be understood ({type(error).__name__}: {error}); outcore needs a "
            "decoder model with Hugging Face's names in its config"
        ) from error


def _need(folder: Path, config: dict[str, Any]) -> ModelNeed:
    heads = int(config["num_attention_heads"])
    hidden = int(config["hidden_size"])
    kv_heads = int(config.get("num_key_value_heads") or heads)
    return ModelNeed(
        folder=folder.resolve(),
        weight_bytes=weight_bytes(folder),
        kv_bytes_per_token=_layers(config) * _kv_width(config, hidden, heads, kv_heads) * _BYTES,
        window=int(config["max_position_embeddings"]),
        heads=heads,
        kv_heads=kv_heads,
        # Gate and up projections, next to the residual and what attention makes of it.
        activation_bytes_per_token=(2 * _intermediate(config) + 4 * hidden) * _BYTES,
        vocabulary=int(config["vocab_size"]),
    )


def _layers(config: dict[str, Any]) -> int:
    """Layers that keep a KV cache."""
    kinds = config.get("layer_types")
    if kinds:
        return sum("linear" not in kind for kind in kinds)
    layers = int(config["num_hidden_layers"])
    return layers // int(config.get("full_attention_interval") or 1)


def _kv_width(config: dict[str, Any], hidden: int, heads: int, kv_heads: int) -> int:
    """Numbers kept for one token in one layer."""
    if latent := config.get("kv_lora_rank"):  # multi-head latent attention keeps one vector
        return int(latent) + int(config["qk_rope_head_dim"])
    return 2 * kv_heads * int(config.get("head_dim") or hidden // heads)


def _intermediate(config: dict[str, Any]) -> int:
    """Width of the feed-forward layer that one token meets."""
    experts = config.get("num_experts_per_tok")
    if experts and "moe_intermediate_size" in config:
        shared = int(config.get("shared_expert_intermediate_size") or 0)
        return int(experts) * int(config["moe_intermediate_size"]) + shared
    return int(config["intermediate_size"])
