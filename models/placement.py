"""Which engines run where, and what each may take. Pure: it looks at numbers, not at hardware."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from outcore.errors import ConfigError
from outcore.models.plan import EnginePlan, PlacedRole, Placement
from outcore.models.units import gib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.models.machine import Gpu, Machine
    from outcore.models.need import ModelNeed

_GIB = 1 << 30
# Engines refuse to start on less than they ask for, so leave what a driver or display takes.
_GPU_SHARE = 0.92
_GPU_SPARE = _GIB // 2
# CUDA context, captured graphs and the runtime's own buffers, for one engine on one GPU.
_GPU_ENGINE = 1 * _GIB + _GIB // 2
# A step's logits exist as they come, as probabilities and sorted, four bytes each.
_LOGIT_BYTES = 12
# Loading holds the file's pages next to the tensors made of them.
_CPU_WEIGHT_COPIES = 2
# Two engine processes, this one, and a kernel for the root's code.
_CPU_SPARE = 3 * _GIB
_CPU_KV_MOST = 2 * _GIB
# Below this a root can't hold its prompt, the card and a few turns.
_WINDOW_LEAST = 4096
# The first cards that compute in bfloat16 are Ampere's.
_BFLOAT16 = (8, 0)
# Beyond this a root is better served by its REPL than by its window.
_WINDOW_WANTED = 131_072
_COMFORT = 32_768


@dataclass(frozen=True, slots=True)
class _Share:
    """One engine before it has its memory: a model, its roles and the limits of its batches."""

    roles: tuple[PlacedRole, ...]
    need: ModelNeed
    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int

    def kv_per_token(self, tensor_parallel: int) -> int:
        """Bytes of KV cache of one token on one GPU."""
        return -(-self.need.kv_bytes_per_token // min(tensor_parallel, self.need.kv_heads))

    def fixed(self, tensor_parallel: int) -> int:
        """Bytes an engine takes on each GPU before it has any KV cache."""
        activations = self.max_num_batched_tokens * self.need.activation_bytes_per_token
        logits = self.max_num_seqs * self.need.vocabulary * _LOGIT_BYTES
        weights = self.need.weight_bytes
        return _GPU_ENGINE + logits + (weights + activations) // tensor_parallel

    def kv_for(self, tokens: int, tensor_parallel: int = 1) -> int:
        """Bytes of KV cache on one GPU that hold `tokens`, or the window where it is shorter.

        One block more than the tokens fill: vLLM keeps the first for itself.
        """
        blocks = -(-min(tokens, self.need.window) // self.block_size) + 1
        return blocks * self.block_size * self.kv_per_token(tensor_parallel)

    def window(self, kv_bytes: int, tensor_parallel: int = 1) -> int:
        """Longest window that `kv_bytes` of cache serve, in tokens."""
        blocks = kv_bytes // (self.block_size * self.kv_per_token(tensor_parallel)) - 1
        return min(self.need.window, blocks * self.block_size)


def place(root: ModelNeed | None, sub: ModelNeed | None, machine: Machine) -> Placement:
    """Decide the engines for a root model and a sub-LM.

    Args:
        root: what the root needs; None where a running server serves it.
        sub: the same for the sub-LM.
        machine: what there is. Without GPUs in it, the engines run on its cores.

    Raises:
        ConfigError: they don't fit; it holds what they need and what there is.
    """
    if root is None and sub is None:
        return Placement(())
    if not machine.gpus:
        return _on_cpu(_shares(root, sub, "cpu", 0), machine)
    # A small second card, say for a display, would hold all of them back.
    most = max(gpu.total_bytes for gpu in machine.gpus)
    gpus = sorted(
        (gpu for gpu in machine.gpus if 2 * gpu.total_bytes >= most),
        key=lambda gpu: gpu.free_bytes,
        reverse=True,
    )
    return _on_gpus(_shares(root, sub, "cuda", most), gpus)


def _shares(
    root: ModelNeed | None, sub: ModelNeed | None, device: Literal["cpu", "cuda"], memory: int
) -> list[_Share]:
    if device == "cpu":
        few, many, batch, block = 8, 64, 2048, 32
    else:
        large = memory >= 100 * _GIB
        few, many, block = 32, 1024 if large else 256, 16
        batch = 16_384 if large else 8192
    if root and sub and root.folder == sub.folder:
        return [_Share(("root", "sub"), root, many, batch, block)]
    shares = []
    if root:
        shares.append(_Share(("root",), root, few, batch, block))
    if sub:
        shares.append(_Share(("sub",), sub, many, batch, block))
    return shares


def _on_cpu(shares: Sequence[_Share], machine: Machine) -> Placement:
    weights = sum(share.need.weight_bytes for share in shares) * _CPU_WEIGHT_COPIES
    left = machine.memory_bytes - weights - _CPU_SPARE
    split = _split(shares, left, tensor_parallel=1)
    if split is None:
        least = sum(share.kv_for(_WINDOW_LEAST) for share in shares)
        raise ConfigError(
            f"{_names(shares)} need {gib(weights + _CPU_SPARE + least)} of memory (twice the "
            f"weights while loading, {gib(least)} of KV cache, {gib(_CPU_SPARE)} for the rest) "
            f"and {gib(machine.memory_bytes)} is available; choose smaller models, or end "
            "something else that runs"
        )
    engines = []
    for share, kv in zip(shares, split, strict=True):
        cache = min(kv, _CPU_KV_MOST)
        if share.window(cache) < min(_WINDOW_LEAST, share.need.window):
            cache = share.kv_for(_WINDOW_LEAST)
        engines.append(_plan(share, cache, cores=machine.cores))
    return Placement(tuple(engines))


def _on_gpus(shares: Sequence[_Share], gpus: Sequence[Gpu]) -> Placement:
    if len(shares) == 1:
        return _alone(shares[0], gpus)
    root, sub = shares
    if len(gpus) > 1:
        # First so that each has room to work in, then so that each just runs.
        for tokens in (_COMFORT, _WINDOW_LEAST):
            for width in _widths(root.need, len(gpus) - 1):
                ours, rest = gpus[:width], gpus[width:]
                narrow = _narrowest(sub, rest, tokens)
                if narrow and _fits(root, ours, width, tokens):
                    return Placement((_spread(root, ours, width), _spread(sub, rest, narrow)))
    for width in _widths(root.need, len(gpus)):
        if width in _widths(sub.need, len(gpus)):
            shared = _together(shares, gpus[:width], width)
            if shared:
                return shared
    raise _too_large(shares, gpus)


def _alone(share: _Share, gpus: Sequence[Gpu]) -> Placement:
    width = _narrowest(share, gpus, _COMFORT) or _narrowest(share, gpus, _WINDOW_LEAST)
    if not width:
        raise _too_large([share], gpus)
    return Placement((_spread(share, gpus, width),))


def _together(shares: Sequence[_Share], gpus: Sequence[Gpu], width: int) -> Placement | None:
    """All engines on the same GPUs, or None where they don't fit."""
    left = _budget(gpus) - sum(share.fixed(width) for share in shares)
    split = _split(shares, left, width)
    if split is None:
        return None
    return Placement(
        tuple(
            _plan(share, kv, gpus=gpus, tensor_parallel=width)
            for share, kv in zip(shares, split, strict=True)
        )
    )


def _split(shares: Sequence[_Share], left: int, tensor_parallel: int) -> list[int] | None:
    """Divide the memory left for KV cache among engines; None where it is too little.

    A root gets up to half: two of its windows serve two runs at once. The sub-LM gets the
    rest, since whatever it can keep it need not compute again.
    """
    least = [share.kv_for(_WINDOW_LEAST, tensor_parallel) for share in shares]
    if left < sum(least):
        return None
    if len(shares) == 1:
        return [left]
    root = shares[0]
    wanted = 2 * root.kv_for(_WINDOW_WANTED, tensor_parallel)
    first = min(max(left // 2, least[0]), wanted, left - least[1])
    return [first, left - first]


def _spread(share: _Share, gpus: Sequence[Gpu], width: int) -> EnginePlan:
    """One engine alone on its GPUs, with as many replicas as they hold."""
    used = gpus[: len(gpus) // width * width]
    return _plan(share, _budget(used) - share.fixed(width), gpus=used, tensor_parallel=width)


def _plan(
    share: _Share,
    kv_bytes: int,
    *,
    gpus: Sequence[Gpu] = (),
    cores: tuple[int, ...] = (),
    tensor_parallel: int = 1,
) -> EnginePlan:
    taken = share.fixed(tensor_parallel) + kv_bytes
    smallest = min((gpu.total_bytes for gpu in gpus), default=0)
    return EnginePlan(
        roles=share.roles,
        device="cuda" if gpus else "cpu",
        gpus=tuple(gpu.index for gpu in gpus),
        cores=cores,
        tensor_parallel=tensor_parallel,
        replicas=len(gpus) // tensor_parallel if gpus else 1,
        kv_cache_bytes=kv_bytes,
        # Rounded down: a share too high by a byte is refused.
        gpu_memory_utilization=int(taken / smallest * 1000) / 1000 if gpus else None,
        max_num_seqs=share.max_num_seqs,
        max_num_batched_tokens=share.max_num_batched_tokens,
        block_size=share.block_size,
        window=share.window(kv_bytes, tensor_parallel),
        dtype="float16" if any(gpu.capability < _BFLOAT16 for gpu in gpus) else "bfloat16",
    )


def _widths(need: ModelNeed, most: int) -> list[int]:
    """Powers of two over which a model can be split, up to `most`."""
    widths = [1 << bits for bits in range(most.bit_length()) if 1 << bits <= most]
    return [
        width
        for width in widths
        if need.heads % width == 0 and (need.kv_heads % width == 0 or width % need.kv_heads == 0)
    ]


def _narrowest(share: _Share, gpus: Sequence[Gpu], tokens: int) -> int | None:
    """Fewest GPUs over which a model can be split so that it holds `tokens`."""
    widths = _widths(share.need, len(gpus))
    return next((width for width in widths if _fits(share, gpus, width, tokens)), None)


def _fits(share: _Share, gpus: Sequence[Gpu], width: int, tokens: int) -> bool:
    return share.fixed(width) + share.kv_for(tokens, width) <= _budget(gpus)


def _budget(gpus: Sequence[Gpu]) -> int:
    """Bytes that engines may take on each of these GPUs."""
    return min(min(int(gpu.total_bytes * _GPU_SHARE), gpu.free_bytes - _GPU_SPARE) for gpu in gpus)


def _names(shares: Sequence[_Share]) -> str:
    return " and ".join(f"{share.need.folder.name} ({'/'.join(share.roles)})" for share in shares)


def _too_large(shares: Sequence[_Share], gpus: Sequence[Gpu]) -> ConfigError:
    least = sum(share.fixed(1) + share.kv_for(_WINDOW_LEAST) for share in shares)
    free = ", ".join(
        f"GPU {gpu.index} {gib(gpu.free_bytes)} free of {gib(gpu.total_bytes)}" for gpu in gpus
    )
    return ConfigError(
        f"{_names(shares)} need {gib(least)} of GPU memory with the smallest useful KV cache "
        f"({_WINDOW_LEAST} tokens each), and no split over these fits: {free}; choose smaller "
        "models, free GPU memory, or run on the processor with CUDA_VISIBLE_DEVICES="
    )
