"""What a folder of weights must hold, and the hashes of files."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_INDEX = "model.safetensors.index.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
_CHUNK = 1 << 20


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files a loader would read, existing or not, in order of name."""
    index = folder / _INDEX
    if index.is_file():
        try:
            names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
            return sorted({folder / name for name in names})
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            return [index.with_name("model.safetensors")]
    return sorted(folder.glob("*.safetensors"))


def weight_bytes(folder: Path) -> int:
    """Size of the weights in a complete model folder."""
    return sum(file.stat().st_size for file in weight_files(folder))


def missing_files(folder: Path) -> list[str]:
    """What a folder lacks to be a model; empty when it is complete."""
    lacking = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        lacking.append("tokenizer.json")
    files = weight_files(folder)
    if not files:
        lacking.append("*.safetensors")
    lacking += [file.name for file in files if not file.is_file()]
    return lacking


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def git_sha1_of(file: Path) -> str:
    """The name git gives to a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % file.stat().st_size, usedforsecurity=False)
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Have the kernel write a file, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
