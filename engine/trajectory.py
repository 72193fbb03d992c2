"""The record of a run, written as it happens.

`trajectory.jsonl` holds one event a line: `run`, `turn`, `plan`, `reply`, `cell`, `calls`, `child`,
`answer`, `end`, each with its time in seconds since the run began. A long text is stored once,
under its SHA-256 in `blobs/`, and the event holds `{"blob": digest, "chars": length}` in its
place. Child run number n has a record of the same kind in `children/n/`.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from outcore.errors import OutcoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

Event = Literal["run", "turn", "plan", "reply", "cell", "calls", "child", "answer", "end"]

_INLINE_CHARS = 2_000


class Trajectory:
    """The open record of one run.

    Raises:
        OutcoreError: the folder can't be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started = time.monotonic()
        try:
            (folder / "blobs").mkdir(parents=True)
            self._file = (folder / "trajectory.jsonl").open(
                "x", encoding="utf-8", errors="surrogatepass"
            )
        except OSError as error:
            raise OutcoreError(
                f"can't write the run's record to {folder}: {error.strerror}; choose another "
                "folder with --runs"
            ) from error

    def add(self, event: Event, **fields: Any) -> None:
        """Write one event; texts longer than 2,000 characters go to `blobs/`."""
        row = {"t": round(time.monotonic() - self._started, 3), "event": event}
        try:
            row |= {name: self._stored(value) for name, value in fields.items()}
            self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise OutcoreError(
                f"can't write to {self._file.name}: {error.strerror}; free space there, or choose "
                "another folder with --runs"
            ) from error

    def close(self) -> None:
        """Flush to the disk and close."""
        if not self._file.closed:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()

    def _stored(self, value: Any) -> Any:
        if not isinstance(value, str) or len(value) <= _INLINE_CHARS:
            return value
        data = value.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(data).hexdigest()
        blob = self.folder / "blobs" / digest
        if not blob.exists():
            blob.write_bytes(data)
        return {"blob": digest, "chars": len(value)}


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """The events of a recorded run, with their texts back in place.

    A last line that a killed process left half written is left out.
    """
    path = folder / "trajectory.jsonl"
    with path.open(encoding="utf-8", errors="surrogatepass") as file:
        for line in file:
            if not line.endswith("\n"):
                return
            yield {name: _restored(folder, value) for name, value in json.loads(line).items()}


def _restored(folder: Path, value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"blob", "chars"}:
        data = (folder / "blobs" / Path(value["blob"]).name).read_bytes()
        return data.decode("utf-8", "surrogatepass")
    return value
