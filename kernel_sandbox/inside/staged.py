"""A staged context: the folder format and its reader, for the host and the sandbox.

Files of the folder, written by `engine/context/blob.py`:

    blob         the documents' texts as UTF-8, one after another, nothing between them
    meta.json    {"format", "kind", "chars", "bytes", "lines", "documents", "memory",
                 "names", "json", "title", "digest"}, see `Meta`
    byte_bounds  where each document starts in the blob, in bytes, and the end: documents + 1
    char_bounds  the same in characters; absent when all is ASCII, where it would be equal
    marks        byte where every 1,024th character stands (0, 1024, ...); absent likewise
    names        the documents' names as UTF-8, one after another; with a dict only
    name_bounds  where each name starts, in bytes, and the end; with a dict only
    name_order   numbers of the documents, sorted by their names' bytes; with a dict only
    json_flags   a byte a document: 1 where its text is JSON to be parsed; absent when none is
    hints.json   settings of the tools, for a kernel that was started before the context was
                 known (`kernel_sandbox/warm.py`); absent elsewhere

Tables are unsigned 64-bit integers in the machine's own byte order; writer and reader share
the machine. The blob is read with `pread`, not mapped: pages of a mapping would count as the
kernel's memory, and reading a large context through would take all of it.
"""

from __future__ import annotations

import json
import mmap
import os
import weakref
from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 1
STRIDE = 1024
HINTS = "hints.json"
TABLE_TYPE: Final = "Q"
_WINDOW = 1 << 20

Kind = Literal["str", "list", "dict"]
Name = str | int


class Meta(NamedTuple):
    """What `meta.json` holds.

    Attributes:
        format: version of the folder format.
        kind: type of the context the root sees.
        chars: characters in all documents.
        bytes: length of the blob.
        lines: line feeds in the blob.
        documents: number of documents.
        memory: estimate of the context's size as Python objects, in bytes.
        names: whether the name tables are there.
        json: whether `json_flags` is there.
        title: name of the document of a plain text.
        digest: SHA-256 over kind, names, bounds, flags and blob, as hex.
    """

    format: int
    kind: Kind
    chars: int
    bytes: int
    lines: int
    documents: int
    memory: int
    names: bool
    json: bool
    title: str
    digest: str


class Staged:
    """Reads one staged folder. Positions are in the whole blob unless a method says else.

    Threads and forked children may share it.

    Raises:
        ValueError: the folder has another format than this reader's.
        OSError: a file is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.meta = Meta(**json.loads((folder / "meta.json").read_text("utf-8")))
        if self.meta.format != FORMAT:
            raise ValueError(f"{folder} has format {self.meta.format}, not {FORMAT}: stage it anew")
        self._ascii = self.meta.chars == self.meta.bytes
        self._byte_bounds = _table(folder / "byte_bounds")
        self._char_bounds = self._byte_bounds if self._ascii else _table(folder / "char_bounds")
        self._marks = None if self._ascii else _table(folder / "marks")
        if self.meta.names:
            self._names = _map(folder / "names")
            self._name_bounds = _table(folder / "name_bounds")
            self._name_order = _table(folder / "name_order")
        self._json = _map(folder / "json_flags") if self.meta.json else None
        self._fd = os.open(folder / "blob", os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)

    def __len__(self) -> int:
        return self.meta.documents

    def name(self, number: int) -> Name:
        """Name of a document: a dict's key, a list's index, or the title of a plain text."""
        if self.meta.names:
            return self._key(number).decode()
        return self.meta.title if self.meta.kind == "str" else number

    def number(self, name: Name) -> int:
        """Number of the document of that name.

        Raises:
            KeyError: there is none.
        """
        if self.meta.kind == "list" and isinstance(name, int) and 0 <= name < len(self):
            return name
        if self.meta.kind == "str" and name == self.meta.title:
            return 0
        if self.meta.kind == "dict" and isinstance(name, str):
            # A lone surrogate, which is in no name, sorts somewhere and is found nowhere.
            key = name.encode("utf-8", "surrogatepass")
            at = bisect_left(self._name_order, key, key=self._key)
            if at < len(self) and self._key(self._name_order[at]) == key:
                return self._name_order[at]
        raise KeyError(name)

    def is_json(self, number: int) -> bool:
        """Whether the document's text is JSON, whose value the root sees."""
        return self._json is not None and self._json[number] == 1

    def bounds(self, number: int) -> tuple[int, int]:
        """First and last-but-one character of a document."""
        return self._char_bounds[number], self._char_bounds[number + 1]

    def byte_bounds(self, number: int) -> tuple[int, int]:
        """First and last-but-one byte of a document."""
        return self._byte_bounds[number], self._byte_bounds[number + 1]

    def document_at(self, byte: int) -> int:
        """Number of the document that holds this byte of the blob."""
        return bisect_right(self._byte_bounds, byte, 0, len(self)) - 1

    def text(self, number: int) -> str:
        """Whole text of a document."""
        return self.raw(*self.byte_bounds(number)).decode()

    def runs(self) -> Iterator[range]:
        """The documents' numbers, in runs that are small to read at once, or of one document."""
        first = 0
        while first < len(self):
            until = bisect_right(self._byte_bounds, self._byte_bounds[first] + _WINDOW) - 1
            run = range(first, max(first + 1, until))
            yield run
            first = run.stop

    def texts(self, run: range) -> Iterator[str]:
        """Texts of a run of documents, with one read."""
        bounds = self._char_bounds[run.start : run.stop + 1].tolist()
        both = self.raw(self._byte_bounds[run.start], self._byte_bounds[run.stop]).decode()
        return (both[low - bounds[0] : high - bounds[0]] for low, high in pairwise(bounds))

    def read(self, start: int, end: int) -> str:
        """Characters `start` to `end` (not included), both within the blob."""
        if start >= end:
            return ""
        if self._marks is None:
            return self.raw(start, end).decode()
        first, last = start // STRIDE, -(-end // STRIDE)
        until = self._marks[last] if last < len(self._marks) else self.meta.bytes
        skipped = first * STRIDE
        return self.raw(self._marks[first], until).decode()[start - skipped : end - skipped]

    def raw(self, start: int, end: int) -> bytes:
        """Bytes `start` to `end` (not included) of the blob."""
        data = os.pread(self._fd, end - start, start)
        if len(data) == end - start:
            return data
        # Linux reads at most 2 GiB at once.
        parts = [data]
        while (start := start + len(parts[-1])) < end:
            parts.append(os.pread(self._fd, end - start, start))
            if not parts[-1]:
                raise OSError(f"the staged context ends at byte {start}, before byte {end}")
        return b"".join(parts)

    def byte_of(self, char: int) -> int:
        """Byte where character `char` stands; the blob's length for the one after the last."""
        if self._marks is None:
            return char
        if char >= self.meta.chars:
            return self.meta.bytes
        first = char // STRIDE
        mark: int = self._marks[first]
        return mark + len(self.read(first * STRIDE, char).encode())

    def char_of(self, byte: int) -> int:
        """Number of the character that starts at this byte."""
        if self._marks is None:
            return byte
        if byte >= self.meta.bytes:
            return self.meta.chars
        first = bisect_right(self._marks, byte) - 1
        return first * STRIDE + len(self.raw(self._marks[first], byte).decode())

    def find(self, needle: bytes, start: int, end: int) -> int:
        """First byte in `start`..`end` where `needle` stands, or -1; it may span documents."""
        overlap = len(needle) - 1
        while start < end:
            found = self.raw(start, min(start + _WINDOW + overlap, end)).find(needle)
            if found >= 0:
                return start + found
            start += _WINDOW
        return -1

    def count(self, needle: bytes, start: int, end: int) -> int:
        """How often `needle`, not empty, stands in bytes `start`..`end` without overlapping."""
        overlap = len(needle) - 1
        total = 0
        while end - start > overlap:
            data = self.raw(start, min(start + _WINDOW + overlap, end))
            *hits, rest = data.split(needle)
            total += len(hits)
            # Of what follows the last hit, the end is looked at again: a hit may begin in it.
            start += len(data) - min(len(rest), overlap)
        return total

    def windows(self, start: int, end: int) -> Iterator[str]:
        """Characters `start` to `end` in parts that are small beside the memory."""
        for at in range(start, end, _WINDOW):
            yield self.read(at, min(at + _WINDOW, end))

    def _key(self, number: int) -> bytes:
        return bytes(self._names[self._name_bounds[number] : self._name_bounds[number + 1]])


def _map(path: Path) -> Any:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _table(path: Path) -> memoryview[int]:
    return memoryview(_map(path)).cast(TABLE_TYPE)
