"""The record of a run, written as it happens.

`trajectory.jsonl` holds one event a line: `run`, `turn`, `plan`, `reply`, `cell`, `calls`, `child`,
`answer`, `end`, each with its time in seconds since the run began. A long text is stored once,
under its SHA-256 in `blobs/`, and the event holds `{"blob": digest, "chars": length}` in its
place. Child run number n has a record of the same kind in `children/n/`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from outcore.config import private_folder
from outcore.errors import OutcoreError

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator
    from pathlib import Path

Event = Literal["run", "turn", "plan", "reply", "cell", "calls", "child", "answer", "end"]

_LOG = logging.getLogger(__name__)

_INLINE_CHARS = 2_000
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Trajectory:
    """The open record of one run.

    An answer is worth more than its record: what can't be written any more is left out, with one
    warning for a run and its child runs together. The record then ends with its last whole event.

    Raises:
        OutcoreError: the folder can't be made or written. Nothing has been spent by then.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._started: float | None = None
        self._file: io.FileIO | None = None
        self._above: Trajectory | None = None
        self._loss: str | None = None
        try:
            self._open()
        except OSError as error:
            raise OutcoreError(
                f"can't write the run's record to {folder}: {error.strerror}; choose another "
                "folder with --runs"
            ) from error

    @property
    def loss(self) -> str | None:
        """Why this record, or that of a child run, is not whole; None where all are."""
        return self._loss

    def child(self, number: int) -> Trajectory:
        """The record of a child run; where it can't be made, one that keeps nothing."""
        child = Trajectory.__new__(Trajectory)
        child.folder = self.folder / "children" / str(number)
        child._started = child._file = child._loss = None
        child._above = self
        try:
            child._open()
        except OSError as error:
            child._lose(error)
        return child

    def add(self, event: Event, **fields: Any) -> None:
        """Write one event; texts longer than 2,000 characters go to `blobs/`."""
        now = time.monotonic()
        if self._started is None:
            self._started = now
        if self._file is None:
            return
        row = {"t": round(now - self._started, 3), "event": event}
        whole = self._file.tell()
        try:
            row |= {name: self._stored(value) for name, value in fields.items()}
            line = json.dumps(row, ensure_ascii=False) + "\n"
            _write(self._file, line.encode("utf-8", "surrogatepass"))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(whole)
            self._lose(error)

    def close(self) -> None:
        """Flush to the disk and close. Closing twice is fine."""
        if self._file is None:
            return
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None
        except OSError as error:
            self._lose(error)

    def _open(self) -> None:
        # Whoever may read it reads the text.
        private_folder(self.folder)
        (self.folder / "blobs").mkdir()
        # Without a buffer, which would try what has failed once more when it is closed.
        self._file = (self.folder / "trajectory.jsonl").open("xb", buffering=0)

    def _lose(self, error: OSError) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
        loss = f"the record {self.folder} is not whole: {error.strerror or error}"
        known, one = False, self
        while True:
            known = known or one._loss is not None
            one._loss = one._loss or loss
            if one._above is None:
                break
            one = one._above
        if not known:
            _LOG.warning(
                "%s. The run goes on without it; make room, or choose another folder with --runs.",
                loss,
            )

    def _stored(self, value: Any) -> Any:
        if not isinstance(value, str) or len(value) <= _INLINE_CHARS:
            return value
        data = value.encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(data).hexdigest()
        blob = self.folder / "blobs" / digest
        if not blob.exists():
            try:
                blob.write_bytes(data)
            except OSError:
                # Half of it must not stand under the name of the whole.
                with contextlib.suppress(OSError):
                    blob.unlink(missing_ok=True)
                raise
        return {"blob": digest, "chars": len(value)}


def _write(file: io.FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        # A disk that fills up takes a part first.
        view = view[file.write(view) :]


class Damaged(NamedTuple):
    """A line of a record that is no event.

    Attributes:
        line: its number, from 1 on.
        reason: what is wrong with it.
    """

    line: int
    reason: str


def read(folder: Path, damaged: list[Damaged] | None = None) -> Iterator[dict[str, Any]]:
    """The events of a recorded run, with their texts back in place.

    A last line that a killed process left half written is left out. Any other line that is no
    event, or whose texts are missing or changed, is left out as well, and told of.

    Args:
        folder: of the run.
        damaged: receives the lines left out as damaged; without it they are logged.

    Raises:
        OutcoreError: there is no record in the folder, or it can't be opened.
    """
    path = folder / "trajectory.jsonl"
    try:
        file = path.open("rb")
    except OSError as error:
        raise OutcoreError(
            f"can't read the run's record {path}: {error.strerror}; name the folder of a run, as "
            "a result has it in run_dir"
        ) from error
    with file:
        for number, line in enumerate(file, start=1):
            try:
                event = _event(folder, line)
            except (OSError, ValueError, RecursionError) as error:
                if not line.endswith(b"\n"):
                    return
                reason = str(error) or type(error).__name__
                if damaged is None:
                    _LOG.warning("%s, line %d, is left out: %s", path, number, reason)
                else:
                    damaged.append(Damaged(number, reason))
                continue
            if line.endswith(b"\n"):
                yield event


def _event(folder: Path, line: bytes) -> dict[str, Any]:
    row = json.loads(line.decode("utf-8", "surrogatepass"))
    if not isinstance(row, dict) or not isinstance(row.get("event"), str):
        raise ValueError("it is no event")
    return {name: _restored(folder, value) for name, value in row.items()}


def _restored(folder: Path, value: Any) -> Any:
    if not isinstance(value, dict) or set(value) != {"blob", "chars"}:
        return value
    digest = value["blob"]
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError("it names no text by a digest")
    path = folder / "blobs" / digest
    # Opened without waiting: in a folder of someone else's making this could be a pipe.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        data = file.read()
    if hashlib.sha256(data).hexdigest() != digest:
        raise ValueError(f"{path} holds another text than it was given")
    return data.decode("utf-8", "surrogatepass")
