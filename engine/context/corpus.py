"""The text a question is asked of, staged on disk, as the host reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from outcore.engine.context.blob import BlobWriter
from outcore.engine.context.sources import write_source
from outcore.engine.context.textfile import check_encoding
from outcore.errors import BadContext
from outcore.kernel_sandbox.inside.containers import text_of
from outcore.kernel_sandbox.inside.staged import Kind, Name, Staged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from outcore.engine.context.folder import Skipped
    from outcore.kernel_sandbox.inside.text import Text


class Document(NamedTuple):
    """One text of a corpus.

    Attributes:
        name: key in a dict (the relative path in a folder), index in a list, title otherwise.
        chars: its length in characters.
        bytes: its length as UTF-8.
        is_json: whether it is JSON text whose value the root sees.
    """

    name: Name
    chars: int
    bytes: int
    is_json: bool


class Place(NamedTuple):
    """Where a text stands.

    Attributes:
        document: name of the document.
        offset: first character of it, counted from the start of the document.
        text: the text as it stands there.
    """

    document: Name
    offset: int
    text: str


class Documents(Sequence[Document]):
    """The documents of a corpus, described as they are asked for."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged

    def __len__(self) -> int:
        return len(self._staged)

    @overload
    def __getitem__(self, number: int) -> Document: ...

    @overload
    def __getitem__(self, number: slice) -> list[Document]: ...

    def __getitem__(self, number: int | slice) -> Document | list[Document]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        staged = self._staged
        start, end = staged.bounds(number)
        first, last = staged.byte_bounds(number)
        return Document(staged.name(number), end - start, last - first, staged.is_json(number))

    def __iter__(self) -> Iterator[Document]:
        return (self[number] for number in range(len(self)))


@dataclass(frozen=True, slots=True)
class Corpus:
    """A staged context. Offsets count characters within a document.

    Attributes:
        folder: read-only folder, in the format of `inside/staged.py`.
        kind: type of the context the root sees.
        chars: characters in all documents.
        bytes: their length as UTF-8.
        lines: line feeds in them.
        digest: SHA-256 of texts and names; equal for equal contexts, wherever they are staged.
        skipped: files and folders that were left out.
    """

    folder: Path
    kind: Kind
    chars: int
    bytes: int
    lines: int
    digest: str
    skipped: tuple[Skipped, ...]
    _staged: Staged = field(repr=False, compare=False)

    @classmethod
    def open(cls, folder: Path, skipped: Sequence[Skipped] = ()) -> Corpus:
        """Open a folder written by `engine/stage.py`.

        Raises:
            BadContext: it is none, or has another format.
        """
        try:
            staged = Staged(folder)
        except (OSError, ValueError, TypeError) as error:
            raise BadContext(f"{folder} holds no staged context: {error}") from error
        meta = staged.meta
        return cls(
            folder,
            meta.kind,
            meta.chars,
            meta.bytes,
            meta.lines,
            meta.digest,
            tuple(skipped),
            staged,
        )

    @property
    def documents(self) -> Documents:
        """The documents, in the order they were given."""
        return Documents(self._staged)

    def read(self, document: Name, start: int = 0, end: int | None = None) -> str:
        """Characters `start` to `end` (not included) of a document, sliced like a str.

        Raises:
            BadContext: there is no such document.
        """
        try:
            number = self._staged.number(document)
        except KeyError:
            raise BadContext(f"the context has no document {document!r}") from None
        return self.slice(number, start, end)

    def slice(self, number: int, start: int = 0, end: int | None = None) -> str:
        """The same by the document's number, counted from 0."""
        first, last = self._staged.bounds(number)
        low, high, _ = slice(start, end).indices(last - first)
        return self._staged.read(first + low, first + high)

    def text(self, number: int) -> str | Text:
        """Whole text of a document, by its number; read lazily above 16 million characters."""
        return text_of(self._staged, number)

    def name(self, number: int) -> Name:
        """Name of a document."""
        return self._staged.name(number)

    def find(self, text: str) -> Place | None:
        """First place where `text` stands word for word, or None; see `find_all`."""
        found = self.find_all(text, 1)
        return found[0] if found else None

    def find_all(self, text: str, limit: int = 20) -> list[Place]:
        """The first `limit` places where `text` stands within a document, in order.

        In a JSON document a text is also found as JSON writes it, since the root sees it
        without escapes; the place then holds it as written.
        """
        found = dict(islice(self._places(text, json_only=False), limit))
        for way in _escaped(text):
            found |= dict(islice(self._places(way, json_only=True), limit))
        return [found[at] for at in sorted(found)][:limit]

    def joined(self) -> str:
        """The whole context as one text; documents of a list or dict under their names."""
        if self.kind == "str":
            return self.slice(0)
        return "\n".join(
            f"--- {self._staged.name(number)} ---\n{self._staged.text(number)}"
            for number in range(len(self._staged))
        )

    def samples(self, count: int, chars: int) -> list[str]:
        """At most `count` pieces of `chars` characters, spread evenly over the context."""
        if self.chars <= count * chars:
            return [self._staged.read(0, self.chars)]
        step = (self.chars - chars) / max(1, count - 1)
        starts = (int(number * step) for number in range(count))
        return [self._staged.read(start, start + chars) for start in starts]

    def _places(self, text: str, *, json_only: bool) -> Iterator[tuple[int, Place]]:
        staged = self._staged
        if not text or (json_only and not staged.meta.json):
            return
        try:
            needle = text.encode()
        except UnicodeEncodeError:  # a lone surrogate stands in no text
            return
        at = 0
        while (at := staged.find(needle, at, self.bytes)) >= 0:
            number = staged.document_at(at)
            _, end = staged.byte_bounds(number)
            if at + len(needle) > end or (json_only and not staged.is_json(number)):
                at += 1
                continue
            first, _ = staged.bounds(number)
            yield at, Place(staged.name(number), staged.char_of(at) - first, text)
            at += len(needle)


def stage(
    source: Any, into: Path, encoding: str | None = None, *, stop: Event | None = None
) -> Corpus:
    """Write a context into a folder, faithful to the byte.

    Args:
        source: what the root will see as `context`:
            a str, as it is;
            a list or dict of texts or other JSON values, each a document of its own;
            a Path to a file: its text, also where it is JSON. A `.jsonl` or `.ndjson` file
            gives a list with the value of each line;
            a Path to a folder, or a list of Paths: a dict from relative path to text, without
            what `Corpus.skipped` names.
        into: folder to be made, or an empty one. The caller removes it.
        encoding: encoding of the files, where it is not UTF-8. Naming one also lets files
            pass that look binary.
        stop: ends it early when it is set.

    Raises:
        BadContext: the source is missing, unreadable, binary, in another encoding, no JSON
            value, empty, or changed while it was read; or `into` can't be written to, or it was
            stopped. Nothing is left in `into`.
    """
    check_encoding(encoding)
    with BlobWriter(into, stop) as writer:
        written = write_source(source, writer, encoding)
        if not writer.chars:
            given = f"{source} " if isinstance(source, Path) else ""
            raise BadContext(f"the context {given}is empty: there is nothing to answer from")
        writer.finish(written.kind, names=written.names, title=written.title)
    return Corpus.open(into, written.skipped)


def _escaped(text: str) -> set[str]:
    """The ways JSON may write `text` other than it is, with and without \\u escapes."""
    ways = {json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (False, True)}
    return ways - {text}
