"""Compiles the kernels, which needs no GPU, and prints what came out.

    python -P tests/kernels_compiled.py CAPABILITY HEIGHT GROUP HEAD BLOCK

Capability 90 is Hopper; then rows of a product, query heads for each key-value head, size of a
head, tokens of a block.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import compiler as nvidia
from triton.compiler import ASTSource

from outcore.kernels import shared_prefix
from outcore.kernels.shape import Tuning

FLOATS = {"outputs": "*fp32", "weights": "*fp32", "scale": "fp32"}
NUMBERS = ("table", "rows", "about", "tile_of", "size", "pieces")
STRIDES = ("query_row", "query_head", "key_block", "key_token", "key_head", "value_block",
           "value_token", "value_head", "result_row", "result_head")  # fmt: skip


def compiled(kernel: Any, capability: int, constants: dict[str, Any], **options: int) -> Any:
    """A kernel for bf16 tensors whose addresses and strides are multiples of 16, as on a GPU."""
    signature, at, hints = {}, {}, {}
    for place, parameter in enumerate(kernel.params):
        name = parameter.name
        if name in constants:
            signature[name] = "constexpr"
            at[(place,)] = constants[name]
            continue
        if name in FLOATS:
            signature[name] = FLOATS[name]
        elif name in ("query", "keys", "values", "result"):
            signature[name] = "*bf16"
        else:
            signature[name] = "*i32" if name in NUMBERS else "i32"
        if signature[name].startswith("*") or name in STRIDES:
            hints[(place,)] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constexprs=at, attrs=hints)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


def stack(made: Any) -> str:
    """Bytes of memory that each thread spills to."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(made.asm["cubin"])
        tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
        said = subprocess.run(
            [tool, "--dump-resource-usage", file], capture_output=True, text=True, check=True
        ).stdout
    found = re.findall(r"STACK:(\d+)", said)
    return str(found[-1])


def under_way(made: Any) -> int:
    """Groups of loads that are still under way when a round of the loop has what it needs."""
    return max(map(int, re.findall(r"async_wait [^\n]*num = (\d+)", made.asm["ttgir"])))


def main(capability: int, height: int, group: int, head: int, block: int) -> None:
    """Print sizes and instructions, a name and a number on each line."""
    pad = 1 << (head - 1).bit_length()
    cols = Tuning().cols if height > 16 else Tuning().own_cols
    model = {"head": head, "head_pad": pad}
    taken = {"block": block, "height": height, "cols": cols * 128 // max(128, pad)}
    part = compiled(
        shared_prefix.partial_kernel,
        capability,
        {"kv_heads": 8, "group": group, "widen": False, "precision": "tf32", **taken, **model},
        num_warps=8 if height > 64 else 4,
        num_stages=Tuning().stages,
    )  # fmt: skip
    merge = compiled(
        shared_prefix.merge_kernel,
        capability,
        {"heads": 8 * group, "height": 16, "stretches": 3, **model},
        num_warps=4,
    )
    print("partial_cubin", len(part.asm["cubin"]))
    print("merge_cubin", len(merge.asm["cubin"]))
    print("partial_stack", stack(part))
    print("merge_stack", stack(merge))
    print("under_way", under_way(part))
    print("shared", part.metadata.shared)
    for instruction in ("wgmma", "cp.async"):
        print(instruction, part.asm["ptx"].count(f"{instruction}."))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
