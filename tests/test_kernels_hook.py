"""When an engine is started with the backend for shared prefixes, and when it is not."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

import pytest

from outcore import ask, settings
from outcore.config import Settings
from outcore.errors import ConfigError, ModelError
from outcore.kernels import plugin
from outcore.kernels.shape import MOST_HEAD, Tuning
from outcore.models import serve, shared_prefix, start
from outcore.models.arguments import engine_args
from outcore.models.launch import Launch
from outcore.models.plan import EnginePlan
from outcore.models.progress import Silent

if TYPE_CHECKING:
    from pathlib import Path

QWEN3_8B = {
    "model_type": "qwen3",
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_size": 4096,
    "sliding_window": None,
}
CODER_1_5B = {
    "model_type": "qwen2",
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "hidden_size": 1536,
    "sliding_window": 32768,
    "use_sliding_window": False,
}


def launch_of(
    folder: Path, config: dict[str, Any], *, wanted: bool = True, **changed: Any
) -> Launch:
    plan: dict[str, Any] = {
        "roles": ("sub",),
        "device": "cuda",
        "gpus": (0,),
        "cores": (),
        "tensor_parallel": 1,
        "replicas": 1,
        "kv_cache_bytes": 1 << 30,
        "gpu_memory_utilization": 0.5,
        "max_num_seqs": 256,
        "max_num_batched_tokens": 8192,
        "block_size": 16,
        "window": 40960,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return Launch("m", folder, EnginePlan(**(plan | changed)), folder / "engine.log", wanted)


def chosen(folder: Path, config: dict[str, Any], *, wanted: bool = True, **changed: Any) -> Any:
    return engine_args(launch_of(folder, config, wanted=wanted, **changed)).get("attention_backend")


@pytest.mark.parametrize("config", [QWEN3_8B, CODER_1_5B, {"text_config": QWEN3_8B}])
def test_models_that_fit(tmp_path: Path, config: dict[str, Any]) -> None:
    assert chosen(tmp_path, config) == plugin.NAME
    assert chosen(tmp_path, config, roles=("root", "sub")) == plugin.NAME


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "qwen3_next"},
        {"model_type": "gemma3"},
        {"sliding_window": 4096},
        {"head_dim": 100},
        {"head_dim": 512},
        {"num_key_value_heads": 5},
        {"num_attention_heads": 130, "num_key_value_heads": 1},
    ],
)
def test_models_that_do_not_fit_run_as_vllm_has_them(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    assert chosen(tmp_path, QWEN3_8B | change) is None


@pytest.mark.parametrize(
    "change",
    [{"device": "cpu", "gpu_memory_utilization": None}, {"roles": ("root",)}, {"dtype": "float16"}],
)
def test_only_sub_models_on_a_gpu(tmp_path: Path, change: dict[str, Any]) -> None:
    assert chosen(tmp_path, QWEN3_8B, **change) is None


def test_not_where_it_is_off(tmp_path: Path) -> None:
    assert chosen(tmp_path, QWEN3_8B, wanted=False) is None


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """What is started; with the backend nothing starts."""
    found: list[Launch] = []

    async def begin(launch: Launch, scratch: Path) -> Any:
        found.append(launch)
        if launch.shared_prefix:
            raise ModelError("off by 0.2 of a head's largest number")
        return "an engine"

    monkeypatch.setattr(start, "_start", begin)
    return found


async def test_a_card_on_which_it_fails_is_served_without(
    tmp_path: Path, starts: list[Launch], caplog: pytest.LogCaptureFixture
) -> None:
    launch = launch_of(tmp_path, QWEN3_8B)
    assert await start._on_gpu(launch, tmp_path) == "an engine"  # type: ignore[comparison-overlap]
    assert [each.shared_prefix for each in starts] == [True, False]
    # The log of what failed stays.
    assert starts[0].log != starts[1].log
    assert "off by 0.2" in caplog.text
    assert "without shared-prefix attention" in caplog.text


async def test_an_engine_that_attends_as_vllm_does_is_tried_once(
    tmp_path: Path, starts: list[Launch]
) -> None:
    with pytest.raises(ModelError):
        await start._on_gpu(launch_of(tmp_path, QWEN3_8B | {"head_dim": 512}), tmp_path)
    assert len(starts) == 1


async def test_an_engine_that_died_is_started_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Launch] = []

    async def begin(launches: Any, *_: Any) -> Any:
        found.extend(launches)
        return ["an engine"]

    monkeypatch.setattr(serve, "start_engines", begin)
    monkeypatch.setattr(serve, "need", lambda folder: None)
    launch = launch_of(tmp_path, QWEN3_8B)
    await serve.again(launch, tmp_path, Silent(), 2)
    assert [each.shared_prefix for each in found] == [False]


def test_both_sides_agree_on_what_is_served() -> None:
    assert shared_prefix.BACKEND == plugin.NAME
    assert shared_prefix._MOST_HEAD == MOST_HEAD
    assert Tuning().rows == shared_prefix._MOST_GROUP


def test_the_flag(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    parser = argparse.ArgumentParser()
    ask.add_parser(parser.add_subparsers())

    def read(*flags: str) -> bool:
        args = parser.parse_args(["ask", "q", "p", *flags])
        return settings.load({"shared_prefix": args.shared_prefix}).shared_prefix

    assert read()
    assert not read("--no-shared-prefix")
    monkeypatch.setenv("OUTCORE_SHARED_PREFIX", "off")
    assert not read()
    assert read("--shared-prefix")
    with pytest.raises(ConfigError, match="shared_prefix"):
        Settings(shared_prefix="yes")  # type: ignore[arg-type]
