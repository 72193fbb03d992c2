"""The entries of the memo: read, written, and the least lately used of them evicted."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outcore.engine.batching.memo_database import MemoDatabase
from outcore.engine.batching.memo_entry import KEY_BYTES, decode, encode

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from outcore.models.engine import Generation

_SPAN = (
    "SELECT (SELECT coalesce(min(used), 0) FROM entry), (SELECT coalesce(max(used), 0) FROM entry)"
)
_SIZES = (
    "SELECT page_count, freelist_count, page_size "
    "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)
_FOUND = (
    "SELECT group_concat(id || ' ' || used || ' ' || length(value)), "
    "CAST(group_concat(CAST(key || value AS TEXT), '') AS BLOB) FROM entry WHERE key IN "
)
_AT_ONCE = 250
# Bounds what one transaction evicts, which matters only where the cap was lowered.
_EVICTIONS = 500
# This part of the cap is left free for what is written next, so that the file need not grow.
_SPARE = 64


@dataclass(frozen=True, slots=True)
class MemoStats:
    """What a memo holds.

    Attributes:
        entries: generations in it.
        bytes: size of the database, without the log of up to 16 MiB beside it.
        cap: most bytes that the database may have.
    """

    entries: int
    bytes: int
    cap: int


class MemoFile:
    """An open memo; for one thread. Several processes may have the same file open.

    SQLite lets go of the interpreter's lock for each statement and row, and beside a thread
    that computes, waits five milliseconds to have it back. So one statement does much here, and
    gives one row.

    Raises:
        ConfigError: the file can't be opened; so do all methods where it can't be used.
    """

    def __init__(self, path: Path, cap_bytes: int) -> None:
        self._database = MemoDatabase(path)
        self._cap = cap_bytes
        self._touched: set[int] = set()
        # Of the numbers in `used`: the older half of the entries lies below.
        self._middle = 0
        self._database.run(self._look)

    @property
    def touched(self) -> int:
        """Entries read lately whose use is not in the file yet; the next `write` tells it."""
        return len(self._touched)

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Generation]:
        """What is remembered under these keys."""
        return self._database.run(lambda connection: self._read(connection, keys))

    def write(self, generations: Mapping[bytes, Generation]) -> None:
        """Remember these, all or none; the file then holds at most the cap.

        Raises:
            MemoHeld: another process writes, for seconds.
        """
        rows = []
        for key, generation in generations.items():
            # A server elsewhere gives any numbers it likes.
            with contextlib.suppress(OverflowError, struct.error):
                rows.append((key, encode(key, generation)))
        self._database.follow()
        self._database.run(lambda connection: self._write(connection, rows))

    def stats(self) -> MemoStats:
        """Counts all entries, so it takes a moment where there are millions."""
        return self._database.run(self._stats)

    def clear(self) -> int:
        """Forget all that is here, and give the disk back; returns how many entries went."""
        return self._database.run(self._clear)

    def close(self) -> None:
        """Close the file. Uses not written yet are lost."""
        self._database.close()

    def _look(self, connection: sqlite3.Connection) -> tuple[int, int]:
        oldest, newest = connection.execute(_SPAN).fetchone()
        self._middle = (oldest + newest) // 2
        return oldest, newest

    def _read(
        self, connection: sqlite3.Connection, keys: Sequence[bytes]
    ) -> dict[bytes, Generation]:
        found = {}
        for start in range(0, len(keys), _AT_ONCE):
            chunk = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(chunk))
            rows, blob = connection.execute(f"{_FOUND} ({marks})", chunk).fetchone()
            at = 0
            for row in rows.split(",") if rows else ():
                entry, used, size = map(int, row.split(" "))
                value_at, end = at + KEY_BYTES, at + KEY_BYTES + size
                key = blob[at:value_at]
                generation = decode(key, blob[value_at:end])
                at = end
                if generation is not None:
                    found[key] = generation
                    # The newer half is far from eviction; to touch it would only cost.
                    if used < self._middle:
                        self._touched.add(entry)
        return found

    def _write(self, connection: sqlite3.Connection, rows: Sequence[tuple[bytes, bytes]]) -> None:
        execute = connection.execute
        execute("BEGIN IMMEDIATE")
        _, newest = self._look(connection)
        if self._touched:
            touched = ",".join(map(str, self._touched))
            execute(f"UPDATE entry SET used = {newest} WHERE id IN ({touched})")  # noqa: S608
        for start in range(0, len(rows), _AT_ONCE):
            chunk = rows[start : start + _AT_ONCE]
            values = ",".join([f"({newest} + ?, ?, ?)"] * len(chunk))
            execute(
                f"INSERT OR REPLACE INTO entry (used, key, value) VALUES {values}",  # noqa: S608
                [item for n, row in enumerate(chunk, start + 1) for item in (n, *row)],
            )
        excess = self._evict(connection)
        execute("COMMIT")
        self._touched.clear()
        if excess > 0:
            _vacuum(connection, excess)

    def _evict(self, connection: sqlite3.Connection) -> int:
        """Make room; returns by how many pages, free ones now, the file is still too large."""
        pages, free, page = connection.execute(_SIZES).fetchone()
        most = self._cap // page
        for _ in range(_EVICTIONS):
            if pages - free <= most - most // _SPARE:
                break
            gone = connection.execute(
                "DELETE FROM entry WHERE id IN (SELECT id FROM entry ORDER BY used LIMIT ?)",
                (_AT_ONCE,),
            )
            if gone.rowcount == 0:
                break
            pages, free, _ = connection.execute(_SIZES).fetchone()
        return int(pages - most)

    def _stats(self, connection: sqlite3.Connection) -> MemoStats:
        (entries,) = connection.execute("SELECT count(*) FROM entry").fetchone()
        pages, _, page = connection.execute(_SIZES).fetchone()
        return MemoStats(entries, pages * page, self._cap)

    def _clear(self, connection: sqlite3.Connection) -> int:
        # Without a condition, SQLite lets go of whole pages and looks at no row.
        total = connection.execute("DELETE FROM entry").rowcount
        connection.execute("VACUUM")
        # Gives the disk back; where another process is reading, SQLite does it later.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return total


def _vacuum(connection: sqlite3.Connection, pages: int) -> None:
    # `execute` would give back one page alone.
    connection.executescript(f"PRAGMA incremental_vacuum({pages})")
