"""What a folder of weights holds and where it came from, written beside it and checked later."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from outcore.errors import WeightsError
from outcore.models.files import sha256_of, sync
from outcore.models.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NAME = "outcore-manifest.json"


@dataclass(frozen=True, slots=True)
class File:
    """One file: its length in bytes and its SHA-256."""

    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The record of one folder.

    Attributes:
        model: name in the catalog.
        origin: the source, for people to read.
        source_sha256: hash of the GGUF file that was converted, or None.
        revision: commit on the hub, or None.
        files: every file of the folder but the manifest, by name.
    """

    model: str
    origin: str
    source_sha256: str | None
    revision: str | None
    files: Mapping[str, File]


def write(
    folder: Path,
    *,
    model: str,
    origin: str,
    source_sha256: str | None = None,
    revision: str | None = None,
    known: Mapping[str, str] | None = None,
    progress: Progress = SILENT,
) -> None:
    """Record all files of `folder`, and have all of them on the disk when it returns.

    Args:
        folder: where the files lie.
        model: see Manifest, as are the next three.
        origin: see Manifest.
        source_sha256: see Manifest.
        revision: see Manifest.
        known: SHA-256 by file name, where it was computed before.
        progress: told of the hashing.
    """
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != NAME)
    files: dict[str, File] = {}
    with progress.stage(f"hash {model}", sum(path.stat().st_size for path in paths)) as advance:
        for path in paths:
            name = str(path.relative_to(folder))
            digest = (known or {}).get(name) or sha256_of(path)
            files[name] = File(path.stat().st_size, digest)
            sync(path)
            advance(files[name].bytes)
    record = Manifest(model, origin, source_sha256, revision, files)
    (folder / NAME).write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    sync(folder / NAME)
    sync(folder)


def read(folder: Path) -> Manifest | None:
    """The record of `folder`, or None where there is none.

    Raises:
        WeightsError: there is one, and it can't be read.
    """
    path = folder / NAME
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        files = {name: File(**file) for name, file in value.pop("files").items()}
        return Manifest(**value, files=files)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise WeightsError(
            f"{path} is damaged ({error}); delete its folder and pull the model again"
        ) from error


def intact(folder: Path, source_sha256: str | None) -> bool:
    """Whether a folder is as recorded, by names and lengths, and made from the right file.

    Args:
        folder: holds the record.
        source_sha256: hash of the file it must have been made from; None for any.
    """
    try:
        record = read(folder)
    except WeightsError:
        return False
    if record is None or source_sha256 not in (None, record.source_sha256):
        return False
    return not differing(folder, record)


def differing(folder: Path, record: Manifest) -> list[str]:
    """What is missing or has another length than recorded, a line for each. Reads no content."""
    found = []
    for name, file in record.files.items():
        path = folder / name
        if not path.is_file():
            found.append(f"{path} is missing")
        elif (size := path.stat().st_size) != file.bytes:
            found.append(f"{path} has {size} bytes, not {file.bytes}")
    return found


def verify(folder: Path, record: Manifest, progress: Progress = SILENT) -> list[str]:
    """Hash every file again; gives one line for each that differs from the record."""
    found = differing(folder, record)
    total = sum(file.bytes for file in record.files.values())
    with progress.stage(f"verify {record.model}", total) as advance:
        for name, file in record.files.items():
            path = folder / name
            if path.is_file() and path.stat().st_size == file.bytes:
                digest = sha256_of(path)
                if digest != file.sha256:
                    found.append(f"{path} has SHA-256 {digest}, not {file.sha256}")
            advance(file.bytes)
    return found
