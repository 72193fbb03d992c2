"""The memo's database: opened by several processes at once, set aside where it is broken."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from typing import TYPE_CHECKING, TypeVar

from outcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")

_APPLICATION = 0x6F75746D
_FORMAT = 1
# `used` counts insertions, not seconds: what an entry has to fear is how many came after it.
_SCHEMA = (
    "CREATE TABLE entry (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, "
    "used INTEGER NOT NULL, value BLOB NOT NULL)",
    "CREATE INDEX entry_used ON entry (used)",
    f"PRAGMA application_id = {_APPLICATION}",
    f"PRAGMA user_version = {_FORMAT}",
)
_COLUMNS = ("id", "key", "used", "value")
# What is asked of it is right, so that a file which takes it for wrong is no memo of ours.
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
# What comes of numbers that are texts, and texts that are bytes.
_ODD = (TypeError, ValueError)
_HELD = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
_PRIMARY = 0xFF
_PATIENCE_SECONDS = 5.0
_WAL_BYTES = 16 * 2**20


class MemoHeld(ConfigError):
    """Another process holds the memo for longer than one should; worth another try."""


class _ForeignError(sqlite3.DatabaseError):
    sqlite_errorcode = sqlite3.SQLITE_NOTADB


class MemoDatabase:
    """An open database; for one thread.

    A file that is damaged, of another program, or of another format is renamed, now or when
    that shows, and a new one begun.

    Raises:
        ConfigError: it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._renewed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._locked():
                self._connect_or_begin_anew()
        except (OSError, sqlite3.Error) as error:
            raise self._explained(error) from error

    def run(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do something with the database; once more in a new one where it proves broken.

        Raises:
            MemoHeld: another process holds it, for seconds.
            ConfigError: it can't be used; what `work` began is undone.
        """
        try:
            try:
                return work(self._connection)
            except (sqlite3.Error, *_ODD) as error:
                self._roll_back()
                # Once: where that does not help, it is the disk.
                if not _is_broken(error) or self._renewed:
                    raise
                self._renewed = True
                self._reopen(error)
                return work(self._connection)
        except (OSError, sqlite3.Error, *_ODD) as error:
            self._roll_back()
            raise self._explained(error) from error

    def follow(self) -> None:
        """Open the file anew where another process has set it aside, or somebody deleted it.

        Raises:
            ConfigError: it can't be opened.
        """
        if not self._is_at_its_path():
            try:
                self._reopen()
            except (OSError, sqlite3.Error) as error:
                raise self._explained(error) from error

    def close(self) -> None:
        """Close it; what was committed stays."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._connection.rollback()

    def _explained(self, error: Exception) -> ConfigError:
        if isinstance(error, TimeoutError) or _code(error) in _HELD:
            return MemoHeld(
                f"can't use the memo {self._path}: another process holds it ({error}); end that "
                "process, or set OUTCORE_HOME to another folder"
            )
        return ConfigError(
            f"can't use the memo {self._path}: {error}; make room, or set OUTCORE_HOME to a folder "
            "that can be written to"
        )

    def _is_at_its_path(self) -> bool:
        try:
            return os.path.samestat(self._path.stat(), self._opened)
        except OSError:
            return False

    def _reopen(self, broken: Exception | None = None) -> None:
        with self._locked():
            self.close()
            if broken is not None and self._is_at_its_path():
                _set_aside(self._path, broken)
            self._connect_or_begin_anew()

    def _connect_or_begin_anew(self) -> None:
        try:
            self._connection = _connect(self._path)
        except (sqlite3.Error, *_ODD) as error:
            if not _is_broken(error):
                raise
            _set_aside(self._path, error)
            self._connection = _connect(self._path)
        self._opened = self._path.stat()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # SQLite orders its users among themselves, but not those who rename its files.
        with self._path.with_name(f"{self._path.name}.lock").open("w") as file:
            deadline = time.monotonic() + _PATIENCE_SECONDS
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TimeoutError("it is being opened") from None
                    time.sleep(0.01)
            try:
                yield
            finally:
                # A process forked meanwhile has the lock too, and closing would leave it there.
                fcntl.flock(file, fcntl.LOCK_UN)


def _connect(path: Path) -> sqlite3.Connection:
    # Made by SQLite itself, others could read what was answered.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=_PATIENCE_SECONDS, isolation_level=None)
    try:
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    application, version, tables = connection.execute(
        "SELECT application_id, user_version, (SELECT count(*) FROM sqlite_master) "
        "FROM pragma_application_id, pragma_user_version"
    ).fetchone()
    fresh = (application, version, tables) == (0, 0, 0)
    if not fresh and application != _APPLICATION:
        raise _ForeignError("it is another program's database")
    if not fresh and version != _FORMAT:
        raise _ForeignError(f"its format is {version}, and this version of outcore has {_FORMAT}")
    if not fresh and set(_COLUMNS) != {
        name for (name,) in connection.execute("SELECT name FROM pragma_table_info('entry')")
    }:
        raise _ForeignError("its table of entries is not as it was made")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    # A killed process loses nothing by it; a power cut may take the last seconds.
    connection.execute("PRAGMA synchronous = NORMAL")
    # Some builds of SQLite overwrite all that is deleted, and evict several times more slowly.
    connection.execute("PRAGMA secure_delete = FAST").fetchall()
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}").fetchall()
    if fresh:
        for statement in ("BEGIN IMMEDIATE", *_SCHEMA, "COMMIT"):
            connection.execute(statement)


def _set_aside(path: Path, why: Exception) -> None:
    broken = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
    while broken.exists():
        broken = broken.with_name(f"{broken.name}-again")
    # The log under its new name too, so that SQLite finds it.
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(broken.with_name(broken.name + suffix))
    _LOG.warning(
        "can't use the memo %s: %s. A new one is begun; the old one is now %s, delete it if you "
        "don't need it.",
        path,
        why,
        broken,
    )


def _is_broken(error: Exception) -> bool:
    return isinstance(error, _ODD) or _code(error) in _BROKEN


def _code(error: Exception) -> int:
    return getattr(error, "sqlite_errorcode", 0) & _PRIMARY
