"""The Triton kernels: compared with the reference, compiled for Hopper, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from outcore.kernels.decode import Decoder
from outcore.kernels.fit import fitting
from outcore.kernels.shape import Shape, Tuning

HERE = Path(__file__).parent
QWEN3_8B = Shape(32, 8, 128, 16, 256, 40_960, torch.bfloat16)


@pytest.mark.timeout(600)
def test_kernels_compute_what_the_reference_does() -> None:
    environment = dict(os.environ)
    if not torch.cuda.is_available():
        environment["TRITON_INTERPRET"] = "1"
    run = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
         HERE / "kernel_cases.py"],
        env=environment,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )  # fmt: skip
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr


def compiled(folder: Path, *shape: int) -> dict[str, int]:
    """Compile in a process that does not interpret; what `kernels_compiled.py` says of it."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(folder)
    run = subprocess.run(
        [sys.executable, "-P", HERE / "kernels_compiled.py", *map(str, shape)],
        env=environment,
        cwd=HERE.parent,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    about = dict(line.split() for line in run.stdout.splitlines())
    return {name: int(number) for name, number in about.items()}


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("height", "group", "head"),
    [(16, 4, 128), (64, 4, 128), (128, 4, 128), (64, 6, 128), (16, 7, 64), (64, 7, 64)],
)
def test_kernels_compile_for_hopper(height: int, group: int, head: int, tmp_path: Path) -> None:
    about = compiled(tmp_path, 90, height, group, head, 16)
    assert about["partial_cubin"] > 0
    assert about["merge_cubin"] > 0
    # Nothing spilled to memory, and matrix products on the unit meant for their size.
    assert about["partial_stack"] == about["merge_stack"] == 0
    assert (about["wgmma"] > 0) == (height >= 64)
    assert about["cp.async"] > 0
    # The next tile is under way while one is multiplied.
    assert about["under_way"] > 0
    # Two programs on each multiprocessor; the larger tile is for one.
    assert (2 if height <= 64 else 1) * (about["shared"] + 1024) <= 228 * 1024


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "shape", [(90, 64, 4, 80, 48), (90, 64, 1, 256, 128), (80, 64, 4, 128, 16)]
)
def test_kernels_compile_for_odd_shapes_and_older_cards(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    assert compiled(tmp_path, *shape)["partial_cubin"] > 0


@pytest.mark.parametrize(
    ("registers", "needs", "shared", "programs"),
    [
        (229, 115_712, 228 * 1024, 2),  # an H100 or H200
        (255, 91_136, 164 * 1024, 1),  # an A100
        (255, 91_136, 100 * 1024, 1),  # an L4
        (255, 8_192, 228 * 1024, 2),
        (64, 200_000, 100 * 1024, 1),
    ],
)
def test_programs_that_run_at_once(registers: int, needs: int, shared: int, programs: int) -> None:
    metadata = SimpleNamespace(shared=needs, num_warps=4)
    assert fitting(SimpleNamespace(n_regs=registers, metadata=metadata), shared) == programs


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"heads": 30}, "30 query heads can't be shared out over 8"),
        ({"heads": 1024}, "128 query heads for each key-value head; 64 at most"),
        ({"head": 100}, "head size 100; multiples of 8 from 16 to 256"),
        ({"head": 512}, "head size 512"),
        ({"dtype": torch.float8_e4m3fn}, "dtype torch.float8_e4m3fn"),
        ({"block": 0}, "blocks of 0 tokens"),
    ],
)
def test_what_cannot_be_served_is_refused_at_the_start(
    change: dict[str, object], reason: str
) -> None:
    from dataclasses import replace

    shape = replace(QWEN3_8B, **change)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=reason):
        Decoder(shape, torch.device("cpu"), cores=132)


def test_memory_is_bounded() -> None:
    made = Decoder(QWEN3_8B, torch.device("cpu"), Tuning(), cores=132)
    # 256 requests with two stretches each and one of their own, and a part for each program.
    assert made.memory == 4 * 32 * (128 + 1) * (2 * 256 + 33 * 16 + 256 + 66)
