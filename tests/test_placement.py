from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from outcore.errors import ConfigError, WeightsError
from outcore.models.catalog import BUILT_IN, load
from outcore.models.files import missing_files
from outcore.models.machine import Gpu, Machine
from outcore.models.need import ModelNeed, need
from outcore.models.placement import place

if TYPE_CHECKING:
    from outcore.models.plan import EnginePlan

GIB = 1 << 30


def model(
    name: str,
    weights: float,
    layers: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    hidden: int,
    wide: int,
    window: int,
) -> ModelNeed:
    """A need from the figures of a model card; `weights` in units of 1e9 bytes."""
    return ModelNeed(
        folder=Path("/models") / name,
        weight_bytes=int(weights * 1e9),
        kv_bytes_per_token=layers * 2 * kv_heads * head_dim * 2,
        window=window,
        heads=heads,
        kv_heads=kv_heads,
        activation_bytes_per_token=(2 * wide + 4 * hidden) * 2,
        vocabulary=151_936,
    )


CARDS = {
    "qwen2.5-coder-1.5b": model("1.5b", 3.55, 28, 12, 2, 128, 1536, 8960, 32768),
    "qwen2.5-coder-0.5b": model("0.5b", 1.26, 24, 14, 2, 64, 896, 4864, 32768),
    "qwen3-1.7b": model("1.7b", 4.06, 28, 16, 8, 128, 2048, 6144, 40960),
    "qwen3-4b": model("4b", 8.04, 36, 32, 8, 128, 2560, 9728, 262144),
    "qwen3-8b": model("8b", 16.4, 36, 32, 8, 128, 4096, 12288, 40960),
    "qwen3-8b-fp8": model("8b-fp8", 9.5, 36, 32, 8, 128, 4096, 12288, 40960),
    "qwen3-30b-a3b-fp8": model("30b-fp8", 31.2, 48, 32, 4, 128, 2048, 6144, 262144),
    "qwen3-coder-30b-a3b": model("30b", 61.1, 48, 32, 4, 128, 2048, 6144, 262144),
}
ROOT, SUB = CARDS["qwen2.5-coder-1.5b"], CARDS["qwen2.5-coder-0.5b"]
LARGE, MEDIUM = CARDS["qwen3-coder-30b-a3b"], CARDS["qwen3-8b"]


def machine(*gib: float, free: float | None = None, memory: float = 22) -> Machine:
    gpus = tuple(
        Gpu(index, f"GPU-{index}", "a GPU", int(size * GIB), int((free or size) * GIB), (9, 0))
        for index, size in enumerate(gib)
    )
    return Machine(gpus, (0, 1), int(memory * GIB))


def check(engine: EnginePlan, needs: ModelNeed) -> None:
    """What holds for every engine, wherever it runs."""
    shards = min(engine.tensor_parallel, needs.kv_heads)
    tokens = engine.kv_cache_bytes // (needs.kv_bytes_per_token // shards)
    # vLLM refuses a window that its cache can't hold, and keeps one block for itself.
    assert 0 < engine.window <= min(needs.window, tokens - engine.block_size)
    assert engine.max_num_batched_tokens >= engine.max_num_seqs
    assert needs.heads % engine.tensor_parallel == 0
    assert len(set(engine.gpus)) == len(engine.gpus)
    if engine.device == "cpu":
        assert engine.block_size % 32 == 0
        assert engine.gpu_memory_utilization is None
        assert engine.cores
    else:
        assert len(engine.gpus) == engine.tensor_parallel * engine.replicas
        assert engine.cores == ()


@pytest.mark.parametrize(
    ("capability", "dtype"), [((7, 5), "float16"), ((8, 0), "bfloat16"), ((12, 0), "bfloat16")]
)
def test_cards_before_ampere_compute_in_float16(capability: tuple[int, int], dtype: str) -> None:
    given = machine(48)
    gpus = tuple(replace(gpu, capability=capability) for gpu in given.gpus)
    for engine in place(ROOT, SUB, replace(given, gpus=gpus)).engines:
        assert engine.dtype == dtype


def test_cpu_alone() -> None:
    root, sub = place(ROOT, SUB, machine()).engines
    for engine, needs in ((root, ROOT), (sub, SUB)):
        check(engine, needs)
        assert engine.device == "cpu"
        assert engine.cores == (0, 1)
        assert engine.window == 32768
    assert (root.roles, sub.roles) == (("root",), ("sub",))
    assert root.kv_cache_bytes + sub.kv_cache_bytes <= 4 * GIB


def test_cpu_with_little_memory_gets_smaller_windows() -> None:
    weights = 2 * (ROOT.weight_bytes + SUB.weight_bytes) / GIB
    root, sub = place(ROOT, SUB, machine(memory=weights + 3.5)).engines
    check(root, ROOT)
    check(sub, SUB)
    assert 4096 <= root.window < 32768
    assert root.kv_cache_bytes + sub.kv_cache_bytes <= GIB // 2


def test_cpu_too_small_tells_both_numbers() -> None:
    with pytest.raises(ConfigError, match=r"need 12\.\d GiB of memory .* and 6\.0 GiB is avail"):
        place(ROOT, SUB, machine(memory=6))


def test_large_model_on_cpu_keeps_a_usable_window() -> None:
    wide = replace(ROOT, kv_bytes_per_token=1 << 20)
    (engine,) = place(wide, None, machine(memory=64)).engines
    check(engine, wide)
    assert engine.window == 4096


@pytest.mark.parametrize(
    "gib", [22.0, 22.5, 24.0, 40.0, 48.0, 79.6, 94.0, 139.8], ids=lambda gib: f"{gib} GiB"
)
def test_default_models_fit_their_gpu_and_both_engines_start(gib: float) -> None:
    known = load(BUILT_IN)
    row = next(row for row in known.defaults if gib >= row.gpu_gib)
    needs = (CARDS[row.root], CARDS[row.sub])
    engines = place(*needs, machine(gib)).engines
    assert [engine.roles for engine in engines] == [("root",), ("sub",)]
    free = gib * GIB
    for engine, each in zip(engines, needs, strict=True):
        check(engine, each)
        assert engine.gpus == (0,)
        assert engine.window >= 8192
        # The engine's own check at start: its share of the total must be free by then.
        assert engine.gpu_memory_utilization is not None
        share = engine.gpu_memory_utilization * gib * GIB
        assert share <= free
        assert share >= each.weight_bytes + engine.kv_cache_bytes
        free -= share
    assert free > 0.05 * gib * GIB


def test_memory_that_others_hold_is_left_to_them() -> None:
    crowded = machine(79.6, free=30)
    engines = place(ROOT, SUB, crowded).engines
    taken = sum((engine.gpu_memory_utilization or 0) * 79.6 for engine in engines)
    assert taken <= 29.5
    with pytest.raises(ConfigError, match=r"GPU 0 30\.0 GiB free of 79\.6 GiB"):
        place(LARGE, SUB, crowded)


def test_same_weights_share_one_engine() -> None:
    for where in (machine(), machine(24), machine(24, 24)):
        (engine,) = place(ROOT, ROOT, where).engines
        check(engine, ROOT)
        assert engine.roles == ("root", "sub")
        assert engine.replicas == max(1, len(where.gpus))


@pytest.mark.parametrize("where", [machine(), machine(24)], ids=["cpu", "gpu"])
def test_a_model_served_elsewhere_has_no_engine(where: Machine) -> None:
    placement = place(None, SUB, where)
    assert placement.engine_of("root") is None
    assert placement.engine_of("sub") is not None
    assert [engine.roles for engine in place(ROOT, None, where).engines] == [("root",)]
    assert place(None, None, where).engines == ()


@pytest.mark.parametrize(
    ("root", "sub", "gib", "expected"),
    [
        # (GPUs, tensor parallel, replicas) of root and sub-LM
        (ROOT, SUB, [24, 24], [((0,), 1, 1), ((1,), 1, 1)]),
        (ROOT, SUB, [24, 24, 24, 24], [((0,), 1, 1), ((1, 2, 3), 1, 3)]),
        (LARGE, MEDIUM, [79.6, 79.6], [((0,), 1, 1), ((1,), 1, 1)]),
        (LARGE, MEDIUM, [48, 48, 48, 48], [((0, 1), 2, 1), ((2, 3), 1, 2)]),
        (LARGE, SUB, [24] * 8, [((0, 1, 2, 3), 4, 1), ((4, 5, 6, 7), 1, 4)]),
        # Both need more than one GPU; the fifth is of no use to the sub-LM.
        (MEDIUM, MEDIUM_TWIN := replace(MEDIUM, folder=Path("/models/twin")), [14] * 5,
         [((0, 1), 2, 1), ((2, 3), 2, 1)]),
        # No GPU is left over for the sub-LM: both are split over all.
        (LARGE, SUB, [40, 40], [((0, 1), 2, 1), ((0, 1), 2, 1)]),
        # A small card for a display takes no part.
        (LARGE, MEDIUM, [4, 139.8], [((1,), 1, 1), ((1,), 1, 1)]),
    ],
)  # fmt: skip
def test_several_gpus(
    root: ModelNeed,
    sub: ModelNeed,
    gib: list[float],
    expected: list[tuple[tuple[int, ...], int, int]],
) -> None:
    engines = place(root, sub, machine(*gib)).engines
    assert [(e.gpus, e.tensor_parallel, e.replicas) for e in engines] == expected
    check(engines[0], root)
    check(engines[1], sub)
    for gpu, size in enumerate(gib):
        share = sum(e.gpu_memory_utilization or 0 for e in engines if gpu in e.gpus)
        assert share * size <= 0.92 * size


def test_the_freest_gpus_go_to_the_root() -> None:
    busy = machine(79.6, 79.6)
    busy = replace(busy, gpus=(replace(busy.gpus[0], free_bytes=40 * GIB), busy.gpus[1]))
    root, sub = place(LARGE, MEDIUM, busy).engines
    assert (root.gpus, sub.gpus) == ((1,), (0,))


def test_split_respects_attention_heads() -> None:
    odd = replace(LARGE, heads=9, kv_heads=3)
    with pytest.raises(ConfigError, match="choose smaller models"):
        place(odd, SUB, machine(48, 48, 48, 48))


def test_kv_heads_beyond_their_number_are_copied() -> None:
    narrow = replace(LARGE, kv_heads=2)
    (engine,) = place(narrow, None, machine(24, 24, 24, 24)).engines
    check(engine, narrow)
    assert engine.tensor_parallel == 4


def write_model(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\0" * 1000)
    return folder


CONFIG = {
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 6,
    "hidden_size": 128,
    "intermediate_size": 512,
    "max_position_embeddings": 4096,
    "vocab_size": 1000,
}


@pytest.mark.parametrize(
    ("change", "kv_bytes"),
    [
        ({}, 6 * 2 * 2 * 16 * 2),
        ({"head_dim": 64}, 6 * 2 * 2 * 64 * 2),
        ({"num_key_value_heads": None}, 6 * 2 * 8 * 16 * 2),
        ({"layer_types": ["full_attention", "linear_attention"] * 3}, 3 * 2 * 2 * 16 * 2),
        ({"full_attention_interval": 3}, 2 * 2 * 2 * 16 * 2),
        ({"kv_lora_rank": 100, "qk_rope_head_dim": 28}, 6 * 128 * 2),
    ],
    ids=["grouped", "head_dim", "all heads", "hybrid", "interval", "latent"],
)
def test_need_of_a_folder(tmp_path: Path, change: dict[str, Any], kv_bytes: int) -> None:
    for name, config in (("plain", CONFIG | change), ("nested", {"text_config": CONFIG | change})):
        found = need(write_model(tmp_path / name, config))
        assert found.kv_bytes_per_token == kv_bytes
        assert (found.weight_bytes, found.window, found.heads) == (1000, 4096, 8)
        assert found.activation_bytes_per_token == (2 * 512 + 4 * 128) * 2


def test_need_of_experts_counts_those_a_token_meets(tmp_path: Path) -> None:
    config = CONFIG | {"num_experts_per_tok": 4, "moe_intermediate_size": 64}
    found = need(write_model(tmp_path / "moe", config))
    assert found.activation_bytes_per_token == (2 * 256 + 4 * 128) * 2


def test_need_of_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"lacks config\.json"):
        need(tmp_path)
    folder = write_model(tmp_path / "odd", {"model_type": "unheard-of"})
    with pytest.raises(WeightsError, match=r"config\.json can't be understood .*num_attention"):
        need(folder)


def test_need_counts_the_shards_the_index_names(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "sharded", CONFIG)
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1.safetensors").write_bytes(b"\0" * 10)
    with pytest.raises(WeightsError, match=r"lacks model-2\.safetensors"):
        need(folder)
    (folder / "model-2.safetensors").write_bytes(b"\0" * 20)
    assert need(folder).weight_bytes == 30


@pytest.mark.parametrize(
    "text", ["[]", "null", '{"weight_map": {"a": 1}}', '{"weight_map": {"a": []}}', "\0"]
)
def test_an_index_that_is_damaged_is_a_lack(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    assert "model.safetensors" in missing_files(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"num_attention_heads": 0, "hidden_size": 8}'])
def test_a_config_that_is_damaged_is_told(tmp_path: Path, text: str) -> None:
    for name in ("tokenizer.json", "model.safetensors"):
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match="can't be understood"):
        need(tmp_path)
