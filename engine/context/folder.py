"""The text files under a folder, and what was left out of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


class Skipped(NamedTuple):
    """A file or folder that was left out, and why in a few words."""

    name: str
    reason: str


class Found(NamedTuple):
    """A file, with its path relative to the folder, `/` between the parts.

    Attributes:
        name: the relative path.
        place: where it can be opened. Text, since there may be millions of these.
    """

    name: str
    place: str

    @property
    def path(self) -> Path:
        """Where it can be opened."""
        return Path(self.place)


def walk(folder: Path) -> Iterator[Found | Skipped]:
    """Everything under `folder`, in no order; folders that are left out are not entered.

    Left out are hidden files and folders, `__pycache__`, links that lead out of the folder or
    to a folder, names that are not UTF-8, and what is no regular file. Links to files in the
    folder are followed.
    """
    top = folder.resolve()
    waiting = [("", str(folder))]
    # A recursion would end at a depth that file systems go beyond.
    while waiting:
        prefix, place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            yield Skipped(prefix or place, f"can't be read: {error.strerror}")
            continue
        for entry in entries:
            name = f"{prefix}{entry.name}"
            try:
                is_folder = entry.is_dir(follow_symlinks=False)
                reason = _reason(entry, top)
            except OSError as error:
                is_folder, reason = False, f"can't be read: {error.strerror}"
            if reason is not None:
                shown = name.encode("utf-8", "replace").decode()
                yield Skipped(f"{shown}/" if is_folder else shown, reason)
            elif is_folder:
                waiting.append((f"{name}/", entry.path))
            else:
                yield Found(name, entry.path)


def _reason(entry: os.DirEntry[str], top: Path) -> str | None:
    if entry.name.startswith("."):
        return "hidden"
    if entry.name == "__pycache__":
        return "compiled Python"
    if not is_utf8(entry.name):
        return "its name is not UTF-8"
    if entry.is_symlink():
        try:
            target = Path(entry.path).resolve(strict=True)
        except (OSError, RuntimeError):  # RuntimeError: a loop of links, before Python 3.13
            return "a broken link"
        if not target.is_relative_to(top):
            return "a link out of the folder"
        if target.is_dir():
            return "a link to a folder"
    elif entry.is_dir(follow_symlinks=False):
        return None
    # Opening a pipe or a device can do something; so none is opened to find out.
    return None if entry.is_file() else "not a regular file"


def is_utf8(name: str) -> bool:
    """Whether a name from the file system is UTF-8; Python marks other bytes by surrogates."""
    return name.encode("utf-8", "replace").decode() == name
