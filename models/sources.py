"""From where a GGUF file is fetched, in which order, and what is said when it is nowhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outcore.models import hub, wheels
from outcore.models.faults import NoSource, SourceFailed, WrongHash, disk_errors
from outcore.models.files import sha256_of
from outcore.models.local import gguf_file, model_folders, shelves, weights_folder
from outcore.models.model import FolderSource, HubSource, Model, Source, WheelSource
from outcore.models.units import human

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.models.progress import Progress


@dataclass(frozen=True, slots=True)
class Found:
    """A GGUF file whose hash was checked, where there is one to check.

    Attributes:
        path: where it lies.
        sha256: its hash.
        origin: the source, for people to read.
        ours: whether it may be moved or deleted.
    """

    path: Path
    sha256: str
    origin: str
    ours: bool


def local_gguf(model: Model, scratch: Path, progress: Progress) -> Found | None:
    """The GGUF file, where this machine already has it, or None.

    Raises:
        WrongHash: a folder holds a file of that name with another content; it stays.
    """
    # Checked and named by a process that was killed before it had converted it.
    joined = scratch / model.file
    if joined.is_file():
        digest = _hash(joined, progress)
        if digest == model.sha256:
            return Found(joined, digest, "an earlier download", ours=True)
        joined.unlink()
    path = gguf_file(model)
    if path is None:
        return None
    digest = _hash(path, progress)
    if model.sha256 not in (None, digest):
        raise WrongHash(
            f"{path} has SHA-256 {digest}, but {model.file} was published with {model.sha256}; "
            "replace or remove that file"
        )
    return Found(path, digest, f"file {path}", ours=False)


def download_gguf(model: Model, scratch: Path, lock: int, progress: Progress) -> Found:
    """Fetch the GGUF file into `scratch` from the first source that has it.

    Raises:
        NoSource: none has; it lists them all with their reasons.
        WrongHash: what came has another hash; it is deleted.
        NoRoom: the disk filled up.
    """
    failed = []
    for source in model.sources:
        if isinstance(source, FolderSource):
            continue
        try:
            with disk_errors(scratch):
                path, digest = _fetch(source, model, scratch, lock, progress)
        except SourceFailed as error:
            failed.append(f"{describe(source)}: {error}")
            continue
        if model.sha256 not in (None, digest):
            path.unlink()
            raise WrongHash(
                f"{model.file} from {describe(source)} has SHA-256 {digest}, but was published "
                f"with {model.sha256}; it was deleted, and nothing has read it. Pull again; if "
                "it happens twice, that source can't be trusted"
            )
        return Found(path.rename(scratch / model.file), digest, describe(source), ours=True)
    raise nowhere(model, failed)


def describe(source: Source) -> str:
    """A source in a few words."""
    match source:
        case FolderSource(path):
            return f"folder {path}"
        case HubSource(repo, revision):
            return f"hub {repo}" + (f" at {revision}" if revision else "")
        case WheelSource():
            more = f" to {source.requirement(source.parts)}" if source.parts > 1 else ""
            return f"package index {source.requirement(1)}{more}"


def nowhere(model: Model, failed: list[str]) -> NoSource:
    """The error for a model that no source has."""
    if model.format == "gguf":
        what = f"copy {model.file} ({human(model.bytes)})"
        looked = [shelf / model.file for shelf in shelves()]
    else:
        what = f"copy the model's folder, named {model.name},"
        looked = model_folders(model)
    tried = [f"{path}: it isn't there" for path in looked]
    if not os.environ.get("OUTCORE_WEIGHTS"):
        tried.append("folders of OUTCORE_WEIGHTS: the variable is not set")
    listing = "\n".join(f"  - {line}" for line in [*tried, *failed])
    return NoSource(
        f"no source has the weights of {model.name}:\n{listing}\n"
        f"Without a network, {what} from a machine that has it into a folder here and set "
        f"OUTCORE_WEIGHTS to that folder; or copy {weights_folder() / model.name} from a machine "
        f"where 'outcore models pull {model.name}' has run to the same place here"
    )


def _fetch(
    source: HubSource | WheelSource, model: Model, scratch: Path, lock: int, progress: Progress
) -> tuple[Path, str]:
    if isinstance(source, HubSource):
        files = hub.listing(source, [model.file])
        hub.download(source, files, scratch / "hub", progress)
        path = scratch / "hub" / model.file
        return path, files.hashes.get(model.file) or sha256_of(path)
    path = scratch / f"{model.file}.joining"
    pieces = scratch / "pieces"
    return path, wheels.fetch(source, pieces, path, model.bytes, lock, progress)


def _hash(path: Path, progress: Progress) -> str:
    with progress.stage(f"check {path.name}", path.stat().st_size) as advance:
        digest = sha256_of(path)
        advance(path.stat().st_size)
    return digest
