"""Folders that are slow to make, kept under a key: whole, or not there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from threading import Event
from typing import TYPE_CHECKING

from outcore.config import private_folder
from outcore.errors import ConfigError, OutcoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import IO

_MANIFEST = "manifest.json"
_PARTIAL = ".partial"
_LOCK = "lock"
_LOOK_SECONDS = 0.05


class IndexCache:
    """Keeps at most `limit` bytes; the folders least lately used go first.

    Several processes may share it. A build that is killed leaves a folder that the next one
    removes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit

    def get(self, key: str) -> Path | None:
        """The folder kept under `key`, its files checked against their hashes, or None."""
        folder = self._folder / key
        try:
            expected = json.loads((folder / _MANIFEST).read_text("utf-8"))
            if expected != _hashes(folder):
                return None
            os.utime(folder / _MANIFEST)
        except (OSError, ValueError):
            return None
        return folder

    def put(self, key: str, build: Callable[[Path], None], stop: Event | None = None) -> Path:
        """Have `build` fill a folder and keep it under `key`; one that is whole already stays.

        Args:
            key: what it is found by.
            build: fills a folder.
            stop: ends the wait for another's build when it is set.

        Raises:
            ConfigError: the cache's folder can't be written to.
            OutcoreError: the wait was stopped.
        """
        try:
            with self._locked(stop or Event()):
                return self.get(key) or self._build(key, build)
        except OSError as error:
            raise ConfigError(
                f"can't keep a search index in {self._folder}: {error.strerror or error}; make "
                "room, or set OUTCORE_HOME to another folder"
            ) from error

    def _build(self, key: str, build: Callable[[Path], None]) -> Path:
        folder = self._folder / key
        # Moved first: whoever has the index open may make a file in it while it is removed.
        with contextlib.suppress(FileNotFoundError):
            folder.rename(self._folder / f"{key}-{time.monotonic_ns()}{_PARTIAL}")
        for stale in self._folder.glob(f"*{_PARTIAL}"):
            shutil.rmtree(stale, ignore_errors=True)
        partial = self._folder / f"{key}{_PARTIAL}"
        partial.mkdir(mode=0o700)
        try:
            build(partial)
            (partial / _MANIFEST).write_text(json.dumps(_hashes(partial)), "utf-8")
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        self._prune(folder)
        return folder

    def _prune(self, kept: Path) -> None:
        aged = []
        for folder in self._folder.iterdir():
            if folder.is_dir():
                with contextlib.suppress(OSError):  # a folder without a manifest is no index
                    size = sum(path.stat().st_size for path in folder.iterdir())
                    aged.append(((folder / _MANIFEST).stat().st_mtime, size, folder))
        total = sum(size for _, size, _ in aged)
        for _, size, folder in sorted(aged):
            if total <= self._limit:
                return
            if folder != kept:
                shutil.rmtree(folder, ignore_errors=True)
                total -= size

    @contextlib.contextmanager
    def _locked(self, stop: Event) -> Iterator[None]:
        private_folder(self._folder)
        with (self._folder / _LOCK).open("w") as file:
            # Freed by the system when the holder dies.
            while not _taken(file):
                if stop.wait(_LOOK_SECONDS):
                    raise OutcoreError("the search index was not built: the build was stopped")
            try:
                yield
            finally:
                # A process forked meanwhile has the lock too, and closing would leave it there.
                fcntl.flock(file, fcntl.LOCK_UN)


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for path in folder.iterdir():
        # Files with a dot are tantivy's locks, which opening an index touches.
        if path.name != _MANIFEST and not path.name.startswith("."):
            with path.open("rb") as file:
                hashes[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashes
