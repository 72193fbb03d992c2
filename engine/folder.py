"""The text files under a folder, and what was left out of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Skipped(NamedTuple):
    """A file or folder that was left out, and why in a few words."""

    name: str
    reason: str


class Found(NamedTuple):
    """A file, with its path relative to the folder, `/` between the parts."""

    name: str
    path: Path


def walk(folder: Path) -> Iterator[Found | Skipped]:
    """Everything under `folder`, in no order; folders that are left out are not entered.

    Left out are hidden files and folders, `__pycache__`, links that lead out of the folder or
    to a folder, and names that are not UTF-8. Links to files in the folder are followed.
    """
    yield from _walk(folder, folder.resolve(), "")


def _walk(folder: Path, top: Path, prefix: str) -> Iterator[Found | Skipped]:
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        yield Skipped(prefix or str(folder), f"can't be read: {error.strerror}")
        return
    for entry in entries:
        path = folder / entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        name = f"{prefix}{entry.name}"
        reason = _reason(entry, path, top)
        if reason is not None:
            shown = name.encode("utf-8", "replace").decode()
            yield Skipped(f"{shown}/" if is_folder else shown, reason)
        elif is_folder:
            yield from _walk(path, top, f"{name}/")
        else:
            yield Found(name, path)


def _reason(entry: os.DirEntry[str], path: Path, top: Path) -> str | None:
    if entry.name.startswith("."):
        return "hidden"
    if entry.name == "__pycache__":
        return "compiled Python"
    if entry.name.encode("utf-8", "replace").decode() != entry.name:
        return "its name is not UTF-8"
    if entry.is_symlink():
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
            return "a broken link"
        if not target.is_relative_to(top):
            return "a link out of the folder"
        if target.is_dir():
            return "a link to a folder"
    return None
