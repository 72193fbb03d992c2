"""From what a user types to a model."""

from __future__ import annotations

import hashlib
from difflib import get_close_matches
from typing import TYPE_CHECKING

from outcore.config import expanded
from outcore.errors import ConfigError
from outcore.models.catalog import HUB_ID, catalog
from outcore.models.files import missing_files, weight_bytes
from outcore.models.model import FolderSource, HubSource, Model

if TYPE_CHECKING:
    from pathlib import Path

# Below this many bytes of weights a root needs the prompts written for weak models.
_SMALL_BYTES = 8_000_000_000
# Below this many it is not to be trusted with labels; a model of 1.5B has 3 GB.
_JUDGING_BYTES = 2_000_000_000
# A GGUF file holds its weights in about a third of the bytes they are served with.
_UNPACKED = 3


def resolve(text: str) -> Model:
    """The model meant by a catalog name, a model folder, a .gguf file or a hub id.

    A catalog name wins over a path of that name, and a path over a hub id. The window of a
    model outside the catalog is 0: its own config tells.

    Raises:
        ConfigError: nothing of that name is known; it tells the closest names.
    """
    known = catalog()
    if text in known:
        return known[text]
    path = expanded(text, "the model's name")
    try:
        if text and path.is_dir():
            return _folder(path.resolve())
        if path.is_file():
            return _file(path.resolve())
    except OSError as error:
        raise ConfigError(
            f"the model {text!r:.200} can't be looked at: {error.strerror}; name a folder or file "
            "that may be read, or a catalog name (`outcore models list`)"
        ) from error
    if HUB_ID.fullmatch(text) and not text.endswith(".gguf"):
        name = text.replace("/", "--")
        return Model(name, "root", "coder", "unknown", 0, "safetensors", sources=(HubSource(text),))
    raise ConfigError(_unknown(text, tuple(known)))


def _folder(path: Path) -> Model:
    if lacking := missing_files(path):
        raise ConfigError(
            f"{path} is no model folder: it lacks {', '.join(lacking)}; "
            "a model folder holds config.json, a tokenizer and *.safetensors"
        )
    size = weight_bytes(path)
    return Model(
        name=str(path),
        role="root",
        profile=_profile(size),
        licence="unknown",
        window=0,
        format="safetensors",
        bytes=size,
        sources=(FolderSource(path),),
        judges=size >= _JUDGING_BYTES,
    )


def _file(path: Path) -> Model:
    if path.suffix != ".gguf":
        raise ConfigError(f"{path} is no model: name a folder of safetensors or a .gguf file")
    status = path.stat()
    # Hashing gigabytes at each start would cost seconds; a changed file has another date.
    size = status.st_size * _UNPACKED
    mark = hashlib.sha256(f"{path}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()
    return Model(
        name=f"{path.stem}-{mark[:8]}".lower(),
        role="root",
        profile=_profile(size),
        licence="unknown",
        window=0,
        format="gguf",
        file=path.name,
        bytes=status.st_size,
        sources=(FolderSource(path),),
        judges=size >= _JUDGING_BYTES,
    )


def _profile(size: int) -> str:
    return "small" if size < _SMALL_BYTES else "coder"


def _unknown(text: str, names: tuple[str, ...]) -> str:
    close = get_close_matches(text, names, n=3, cutoff=0.4)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return (
        f"no model {text!r}: it is no catalog name, no folder or .gguf file here, and no hub id "
        f"(owner/name).{hint} Known names: {', '.join(sorted(names))}"
    )
