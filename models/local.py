"""Weights that this machine already has, used where they lie."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from outcore.config import expanded, home
from outcore.models import hub, manifest
from outcore.models.files import missing_files
from outcore.models.model import FolderSource, HubSource

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.models.model import Model


def weights_folder() -> Path:
    """Where finished weights lie: one folder per model, and GGUF files that were kept."""
    return home() / "weights"


def shelves() -> list[Path]:
    """Folders that may hold any model: `$OUTCORE_WEIGHTS` (split as `$PATH` is) and our own."""
    return [*named_shelves(), weights_folder()]


def named_shelves() -> list[Path]:
    """The folders of `$OUTCORE_WEIGHTS`, existing or not.

    Raises:
        ConfigError: one lies in the home folder of a user that is not known.
    """
    named = os.environ.get("OUTCORE_WEIGHTS", "").split(os.pathsep)
    return [expanded(part, "OUTCORE_WEIGHTS") for part in named if part]


def model_folders(model: Model) -> list[Path]:
    """Where a model's own folder may lie, in the order in which they are tried.

    That is the catalog's folder, then on each shelf one that bears the model's name or, as
    hubs lay it out, its repository's.
    """
    listed = [source.path for source in model.sources if isinstance(source, FolderSource)]
    names = [model.name]
    if model.format == "safetensors":
        names += [source.repo for source in model.sources if isinstance(source, HubSource)]
    return [*listed, *(shelf / name for shelf in shelves() for name in names)]


def model_folder(model: Model) -> Path | None:
    """A folder that holds the model whole, or None.

    A folder that outcore made is known by its manifest, and compared with it by names and
    lengths. Only models of format safetensors are taken without one: what was made of a
    GGUF file can't be told from its files to have come from the right one.
    """
    for folder in model_folders(model):
        if (folder / manifest.NAME).is_file():
            if manifest.intact(folder, model.sha256):
                return folder
        elif model.format == "safetensors" and not missing_files(folder):
            return folder
    if model.format == "safetensors":
        for source in model.sources:
            if isinstance(source, HubSource) and (found := hub.cached(source)):
                return found
    return None


def gguf_file(model: Model) -> Path | None:
    """A file with the name of the model's GGUF file, its content unchecked, or None."""
    listed = [source.path for source in model.sources if isinstance(source, FolderSource)]
    candidates = [path for path in listed if path.suffix == ".gguf"]
    candidates += [folder / model.file for folder in [*listed, *model_folders(model), *shelves()]]
    return next((path for path in candidates if path.is_file()), None)
