"""Writes the folder of a staged context, whose format `inside/staged.py` describes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from array import array
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from outcore.errors import BadContext
from outcore.kernel_sandbox.inside.staged import FORMAT, STRIDE, TABLE_TYPE, Kind, Meta

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from threading import Event

    import numpy.typing as npt

_STR_HEADER = 50
# How much larger than its text as a str a parsed JSON record is: measured 1.3 (one long text
# in it) to 6.7 (short and nested values).
_JSON_GROWTH = 7


class BlobWriter:
    """Takes the documents' texts in order; a context manager.

    Leaving it without `finish`, as by an exception, removes what was written.

    Args:
        folder: an empty folder, or one to be made.
        stop: once it is set, nothing more is taken.

    Raises:
        BadContext: the folder holds files, or can't be written to.
    """

    def __init__(self, folder: Path, stop: Event | None = None) -> None:
        self._stop = stop
        try:
            self._made = not folder.exists()
            folder.mkdir(parents=True, exist_ok=True)
            if any(folder.iterdir()):
                raise BadContext(f"{folder} holds files already: stage into an empty folder")
            self._blob = (folder / "blob").open("wb")
        except OSError as error:
            raise BadContext(f"can't stage into {folder}: {error.strerror}") from error
        self._folder = folder
        self._digest = hashlib.sha256()
        self._bounds = array(TABLE_TYPE, [0])
        self._char_bounds = array(TABLE_TYPE, [0])
        self._marks: list[npt.NDArray[np.uint64]] = []
        self._flags = bytearray()
        self._bytes = self._chars = self._lines = self._memory = 0
        self._widest = 1
        self._finished = False

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            # Closing flushes; a disk that is full has been told of already.
            with contextlib.suppress(OSError):
                self._blob.close()
            for path in self._folder.iterdir():
                path.unlink()
            if self._made:
                self._folder.rmdir()

    @property
    def documents(self) -> int:
        """Documents closed so far."""
        return len(self._flags)

    @property
    def chars(self) -> int:
        """Characters written so far."""
        return self._chars

    def look(self) -> None:
        """See whether anything is still wanted.

        Raises:
            BadContext: the staging was stopped.
        """
        if self._stop is not None and self._stop.is_set():
            raise BadContext("the context was not read to its end: the reading was stopped")

    def write(self, data: bytes) -> None:
        """Add a part of the current document: whole characters, as UTF-8.

        Raises:
            BadContext: the disk is full, or fails otherwise; or the staging was stopped.
        """
        self.look()
        first = -self._chars % STRIDE
        if data.isascii():
            chars = len(data)
            marks = np.arange(first, chars, STRIDE)
        else:
            # As signed numbers, the bytes that continue a character are the lowest 64.
            starts = np.flatnonzero(np.frombuffer(data, np.int8) >= -64)
            chars = len(starts)
            marks = starts[first::STRIDE]
            lead = int(np.frombuffer(data, np.uint8).max())
            self._widest = max(self._widest, 4 if lead >= 0xF0 else 2 if lead >= 0xC4 else 1)
        self._marks.append((marks + self._bytes).astype(np.uint64))
        try:
            self._blob.write(data)
        except OSError as error:
            raise BadContext(f"can't stage into {self._folder}: {error.strerror}") from error
        self._digest.update(data)
        self._lines += data.count(b"\n")
        self._bytes += len(data)
        self._chars += chars

    def end_document(self, *, is_json: bool = False) -> None:
        """Close the current document."""
        memory = _STR_HEADER + (self._chars - self._char_bounds[-1]) * self._widest
        self._bounds.append(self._bytes)
        self._char_bounds.append(self._chars)
        self._flags.append(is_json)
        self._memory += memory * (_JSON_GROWTH if is_json else 1)
        self._widest = 1

    def add(self, texts: Sequence[str], *, is_json: bool = False) -> None:
        """Add small documents at once, which for many is much faster than one by one.

        Raises:
            UnicodeEncodeError: one holds a lone surrogate; nothing was added.
        """
        data = "".join(texts).encode()
        lengths = list(map(len, texts))
        sizes = lengths if data.isascii() else [len(text.encode()) for text in texts]
        self._bounds.extend(accumulate(sizes, initial=self._bytes))
        self._char_bounds.extend(accumulate(lengths, initial=self._chars))
        # Each run starts with the bound that stands there already.
        self._bounds.pop(-len(texts) - 1)
        self._char_bounds.pop(-len(texts) - 1)
        self._flags.extend(bytes([is_json]) * len(texts))
        self._memory += sum(map(sys.getsizeof, texts)) * (_JSON_GROWTH if is_json else 1)
        self.write(data)
        self._widest = 1

    def finish(self, kind: Kind, *, names: Sequence[str] | None = None, title: str = "") -> Meta:
        """Write the tables; the folder is whole with `meta.json`, the last of them.

        Args:
            kind: type of the context the root sees.
            names: the documents' names, for a dict.
            title: name of the document of a plain text.
        """
        ascii_only = self._bytes == self._chars
        tables: dict[str, bytes] = {"byte_bounds": self._bounds.tobytes()}
        if not ascii_only:
            tables["char_bounds"] = self._char_bounds.tobytes()
            tables["marks"] = np.concatenate(self._marks).tobytes()
        if names is not None:
            tables |= _name_tables(names)
        if any(self._flags):
            tables["json_flags"] = bytes(self._flags)
        self._digest.update(f"{FORMAT} {kind}".encode())
        for table in ("byte_bounds", "json_flags", "name_bounds", "names"):
            self._digest.update(tables.get(table, b""))
        meta = Meta(
            format=FORMAT,
            kind=kind,
            chars=self._chars,
            bytes=self._bytes,
            lines=self._lines,
            documents=self.documents,
            memory=self._memory,
            names=names is not None,
            json="json_flags" in tables,
            title=title,
            digest=self._digest.hexdigest(),
        )
        tables["meta.json"] = json.dumps(meta._asdict()).encode()
        try:
            self._blob.close()
            for name, data in tables.items():
                (self._folder / name).write_bytes(data)
            for path in self._folder.iterdir():
                path.chmod(0o444)
            self._folder.chmod(0o755)
        except OSError as error:
            raise BadContext(f"can't stage into {self._folder}: {error.strerror}") from error
        self._finished = True
        return meta


def _name_tables(names: Sequence[str]) -> dict[str, bytes]:
    keys = [name.encode() for name in names]
    return {
        "names": b"".join(keys),
        "name_bounds": array(TABLE_TYPE, accumulate(map(len, keys), initial=0)).tobytes(),
        "name_order": array(TABLE_TYPE, sorted(range(len(keys)), key=keys.__getitem__)).tobytes(),
    }
