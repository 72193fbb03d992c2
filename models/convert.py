"""GGUF to safetensors in bf16: `python -P convert.py FILE FOLDER`.

vLLM reads GGUF only through a CUDA plugin, so a GGUF model is converted once. This runs in
a process of its own, which gives back the memory: at its peak the size of both files and a
gigabyte.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np


class _PlainReader(gguf.GGUFReader):  # type: ignore[misc]
    """A GGUF reader that slices a plain array instead of a `numpy.memmap`.

    Reading a vocabulary takes a million slices, and each of a memmap costs several times
    one of an array over the same pages.
    """

    @property
    def data(self) -> Any:
        return self._pages

    @data.setter
    def data(self, pages: Any) -> None:
        self._pages = np.asarray(pages)


def convert(source: Path, folder: Path) -> None:
    """Write config, weights (bf16) and tokenizer of a GGUF file to `folder`."""
    with source.open("rb") as stream:
        if (begin := stream.read(4)) != b"GGUF":
            raise SystemExit(f"it is no GGUF file: it begins with {begin!r}")
    # transformers opens the file anew for the config, the weights and the tokenizer.
    gguf.GGUFReader = functools.cache(_PlainReader)

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        gguf_file=source.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name).save_pretrained(folder)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
