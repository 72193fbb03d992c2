"""The file of answers of a batch: one JSON object a line, whole or not there, and found again."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from outcore.errors import ConfigError, OutcoreError
from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

State = Literal["answered", "incomplete", "failed"]
# What every line written here begins with: a last line that does and has no end was cut short.
_BEGIN = b'{"id": '


@dataclass(frozen=True, slots=True)
class Record:
    """A line of the file.

    Attributes:
        line: its number, counted from 1.
        key: the id, as it is compared.
        question: what was asked.
        context: of what, as it was named.
        state: what came of it.
    """

    line: int
    key: str
    question: str
    context: tuple[str, ...]
    state: State


class Answers:
    """The file, held by one process at a time. Nothing is changed in it before `start`.

    Of several lines with one id, as another program may have made them, the last holds.

    Attributes:
        path: where it is, links followed.
        records: the lines that are there, by id.

    Raises:
        ConfigError: it can't be opened, another batch holds it, or a line is no answer.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.records: dict[str, Record] = {}
        self._made = not self.path.exists()
        try:
            self._file = _opened(self.path)
        except OSError as error:
            raise ConfigError(f"can't write to {path}: {error.strerror}") from error
        try:
            self._lines, rest = _split(_read(self._file))
            self._keys = [self._take(number, line) for number, line in enumerate(self._lines, 1)]
            self._whole = sum(map(len, self._lines))
            self._rest(rest)
        except BaseException:
            self.close()
            raise

    def start(self, again: AbstractSet[str]) -> None:
        """Take out the lines of the ids that are asked `again`, and a last line that was cut short.

        Raises:
            OutcoreError: there is no room for it; the file is as it was.
        """
        kept = [line for line, key in zip(self._lines, self._keys, strict=True) if key not in again]
        try:
            if len(kept) < len(self._lines):
                self._replace(b"".join(kept))
            else:
                os.ftruncate(self._file, self._whole)
                if self._lines and not self._lines[-1].endswith(b"\n"):
                    os.lseek(self._file, 0, os.SEEK_END)
                    _write(self._file, b"\n")
            os.fsync(self._file)
            _sync_folder(self.path)
        except OSError as error:
            raise self._unwritten(error) from error
        self._lines, self._keys = [], []

    def add(self, row: dict[str, Any]) -> None:
        """Write one line, on the disk when this returns. The row's first field is its id.

        Raises:
            OutcoreError: it can't be written; the file ends with its last whole line.
        """
        try:
            line = json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            line = json.dumps(row).encode()
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            _write(self._file, line + b"\n")
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, end)
            raise self._unwritten(error) from error

    def close(self) -> None:
        """Let go of it; a file made here that got no line is removed. Closing twice is fine."""
        if self._file < 0:
            return
        with contextlib.suppress(OSError):
            if self._made and not os.fstat(self._file).st_size:
                self.path.unlink()
        os.close(self._file)
        self._file = -1

    def _take(self, number: int, line: bytes) -> str:
        record = _record(number, line, self.path)
        self.records[record.key] = record
        return record.key

    def _rest(self, rest: bytes) -> None:
        """What stands behind the last line end: an answer that lacks its own, or half of one."""
        # A machine that lost its power may leave zeros where a line was to come.
        rest = rest.rstrip(b"\0")
        if not rest:
            return
        try:
            self._keys.append(self._take(len(self._lines) + 1, rest))
        except ConfigError:
            if rest.startswith(_BEGIN) or _BEGIN.startswith(rest):
                return
            raise
        self._lines.append(rest)
        self._whole += len(rest)

    def _replace(self, whole: bytes) -> None:
        """Have another file in its place, in one step."""
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}.new")
        reaper().adopt_path(new)
        try:
            file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # Held before it can be found under the name.
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.fchmod(file, stat.S_IMODE(os.fstat(self._file).st_mode))
                _write(file, whole)
                if whole and not whole.endswith(b"\n"):
                    _write(file, b"\n")
                os.fsync(file)
                new.replace(self.path)
            except BaseException:
                os.close(file)
                raise
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        finally:
            reaper().release_path(new)
        os.close(self._file)
        self._file = file

    def _unwritten(self, error: OSError) -> OutcoreError:
        return OutcoreError(
            f"can't write to {self.path}: {error.strerror}; what it holds is whole: make room, and "
            "run the same command again"
        )


def _opened(path: Path) -> int:
    """The file, held; POSIX locks are no forked child's."""
    while True:
        # Without waiting: a pipe would have this wait for its other end.
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise ConfigError(f"{path} is no ordinary file; answers are looked up in it again")
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise ConfigError(
                    f"another batch is writing to {path}; wait for its end, or name another file"
                ) from None
            # Whoever held it may have put another file in its place.
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _read(file: int) -> bytes:
    pieces = []
    at = 0
    while piece := os.pread(file, 1 << 20, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _split(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole lines, and what stands behind the last of them."""
    lines = data.split(b"\n")
    rest = lines.pop()
    return [line + b"\n" for line in lines], rest


def _record(number: int, line: bytes, path: Path) -> Record:
    try:
        row = json.loads(line)
        question, context = row["question"], row["context"]
        if not isinstance(question, str) or not isinstance(context, list):
            raise TypeError("fields of other types")
        if "error" in row:
            state: State = "failed"
        else:
            state = "answered" if row["complete"] else "incomplete"
            str.strip(row["answer"])
        return Record(number, str(row["id"]), question, tuple(map(str, context)), state)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(
            f"{path}, line {number}: it is no answer that a batch has written; name another file "
            "with --out, or take that line out"
        ) from None


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
