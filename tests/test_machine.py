from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from outcore.errors import ConfigError, ModelError
from outcore.models import machine as machines
from outcore.models.machine import Gpu, cgroup_left, detect, read_smi, usable, visible
from outcore.models.progress import SILENT
from outcore.models.serve import serve

if TYPE_CHECKING:
    from pathlib import Path

SMI = [
    "0, GPU-aaaa1111, NVIDIA H200, 143771, 143000, 9.0",
    "1, GPU-bbbb2222, NVIDIA H200, 143771, 100, 9.0",
    "2, GPU-cccc3333, NVIDIA RTX 4090, 24564, 24000, 8.9",
]


def test_reading_the_drivers_table() -> None:
    gpus = read_smi(["", "a warning, of some kind", *SMI])
    assert [gpu.index for gpu in gpus] == [0, 1, 2]
    assert gpus[1] == Gpu(1, "GPU-bbbb2222", "NVIDIA H200", 143771 << 20, 100 << 20, (9, 0))


def test_a_driver_that_tells_no_capability() -> None:
    (gpu,) = read_smi(["0, GPU-1, a GPU, 100, 100, [N/A]"])
    assert gpu.capability == (8, 0)


def test_gpu_that_shares_the_hosts_memory() -> None:
    (gpu,) = read_smi(["0, GPU-1, NVIDIA GB10, [N/A], [N/A], 12.1"])
    assert gpu.total_bytes >= gpu.free_bytes > 0
    assert gpu.capability == (12, 1)


@pytest.mark.parametrize(
    ("setting", "indices"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        ("GPU-bbbb", [1]),
        ("1,-1,2", [1]),
        (" 0 , 1 ", [0, 1]),
    ],
)
def test_visible_devices(setting: str | None, indices: list[int]) -> None:
    assert [gpu.index for gpu in visible(read_smi(SMI), setting)] == indices


@pytest.mark.parametrize(
    ("setting", "words"), [("3", "no GPU 3; here: 0, 1, 2"), ("MIG-1234", "whole GPUs only")]
)
def test_visible_devices_that_cant_be_used(setting: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        visible(read_smi(SMI), setting)


def test_cgroup_limits(tmp_path: Path) -> None:
    assert cgroup_left(tmp_path) == 1 << 62
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert cgroup_left(tmp_path) == 1 << 62
    (tmp_path / "memory.max").write_text("1000\n")
    assert cgroup_left(tmp_path) == 450


def test_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine = detect()
    assert machine.gpus == ()
    assert set(machine.cores) == os.sched_getaffinity(0)
    assert 0 < machine.memory_bytes < 1 << 50


@pytest.mark.parametrize("script", ["exit 9", f"cat <<'.'\n{SMI[2]}\n."])
def test_driver_tool_that_fails_or_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpu.name for gpu in detect().gpus] == (
        [] if script == "exit 9" else ["NVIDIA RTX 4090"]
    )


@pytest.mark.parametrize("setting", ["MIG-1234", "0"])
async def test_a_server_elsewhere_is_asked_whatever_gpus_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", setting)
    with pytest.raises(ModelError, match="nothing serves models at http"):
        await serve("http://127.0.0.1:1", None, scratch=tmp_path, logs=tmp_path, progress=SILENT)


@pytest.mark.parametrize("for_cpu", [True, False])
def test_a_build_for_processors_uses_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, for_cpu: bool
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'.'\n{SMI[2]}\n.\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0" if for_cpu else "2")
    monkeypatch.setattr(machines, "built_for_cpu", lambda: for_cpu)
    assert len(usable().gpus) == (0 if for_cpu else 1)
