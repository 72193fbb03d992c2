"""What a context can be given as, and how each kind is written out as documents."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from outcore.engine.context.folder import Found, Skipped, is_utf8, walk
from outcore.engine.context.textfile import Unreadable, read_parts
from outcore.errors import BadContext

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from outcore.engine.context.blob import BlobWriter
    from outcore.kernel_sandbox.inside.staged import Kind

# What a question may be asked of; see `corpus.stage`. Bytes are refused, though a type checker lets
# them pass as a sequence.
Context = str | Path | Sequence[Any] | Mapping[str, Any]

_JSON_LINES = (".jsonl", ".ndjson")
# Characters handed to the writer at once.
_BATCH = 1 << 20
# A larger file is read twice rather than held, since a folder must not end in half a document.
_HELD = 64 << 20
_NAMED_REASONS = 3
_BLANK = " \t\r\n\ufeff"


class Written(NamedTuple):
    """What the writer has to know at the end; see `BlobWriter.finish`."""

    kind: Kind
    names: list[str] | None = None
    title: str = "context"
    skipped: tuple[Skipped, ...] = ()


def write_source(source: Any, writer: BlobWriter, encoding: str | None) -> Written:
    """Write the documents of `source`; see `corpus.stage` for what it may be."""
    if isinstance(source, Path):
        return _write_path(source, writer, encoding)
    if isinstance(source, str):
        _write_text(source, writer)
        return Written("str")
    if isinstance(source, Mapping):
        for key in source:
            if not isinstance(key, str):
                raise BadContext(f"a dict's keys must be text, and {key!r} is {_type(key)}")
            _encodable(key, f"the key {key!r}")
        _write_values(((f"context[{key!r}]", value) for key, value in source.items()), writer)
        return Written("dict", list(source))
    if isinstance(source, Sequence) and not isinstance(source, (bytes, bytearray, memoryview)):
        paths = [one for one in source if isinstance(one, Path)]
        if paths:
            if len(paths) != len(source):
                raise BadContext("a list must hold paths alone, or no path")
            return _write_paths(paths, writer, encoding)
        _write_values(((f"context[{at}]", value) for at, value in enumerate(source)), writer)
        return Written("list")
    hint = "; decode it first" if isinstance(source, (bytes, bytearray, memoryview)) else ""
    raise BadContext(
        f"a context is a str, a list, a dict, or a Path to a file or folder, not "
        f"{_type(source)}{hint}"
    )


def _write_text(text: str, writer: BlobWriter) -> None:
    for start in range(0, len(text), _BATCH):
        part = text[start : start + _BATCH]
        writer.write(_encodable(part, "the context", start))
    writer.end_document()


def _write_values(values: Iterable[tuple[str, Any]], writer: BlobWriter) -> None:
    """Write texts as they are and other values as JSON; each comes with what to call it."""
    batch = _Batch(writer)
    for where, value in values:
        is_text = isinstance(value, str)
        batch.add(where, value if is_text else _as_json(where, value), is_json=not is_text)
    batch.flush()


class _Batch:
    """Collects small documents, since the writer takes many at once much faster."""

    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer
        self._texts: list[str] = []
        self._wheres: list[str] = []
        self._chars = 0
        self._is_json = False

    def add(self, where: str, text: str, *, is_json: bool) -> None:
        if is_json != self._is_json or self._chars + len(text) > _BATCH:
            self.flush()
        self._texts.append(text)
        self._wheres.append(where)
        self._chars += len(text)
        self._is_json = is_json

    def flush(self) -> None:
        if not self._texts:
            return
        try:
            self._writer.add(self._texts, is_json=self._is_json)
        except UnicodeEncodeError:
            for where, text in zip(self._wheres, self._texts, strict=True):
                _encodable(text, where)
            raise
        self._texts, self._wheres, self._chars = [], [], 0


def _as_json(where: str, value: Any) -> str:
    try:
        _check_json(where, value)
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        raise BadContext(f"{where} is nested too deeply, or holds itself") from None
    except ValueError as error:  # a whole number of more digits than Python writes
        raise BadContext(f"{where} can't be written as JSON: {error}") from error


def _check_json(where: str, value: Any) -> None:
    """Raise BadContext unless JSON gives the value back (a tuple comes back as a list)."""
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str):
                raise BadContext(f"{where} has the key {key!r}: JSON knows text as keys alone")
            _check_json(f"{where}[{key!r}]", one)
    elif isinstance(value, (list, tuple)):
        for at, one in enumerate(value):
            _check_json(f"{where}[{at}]", one)
    elif value is not None and not isinstance(value, (str, int, float)):
        raise BadContext(f"{where} is {_type(value)}, which is neither text nor a JSON value")


def _encodable(text: str, where: str, start: int = 0) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadContext(
            f"{where} has a lone surrogate ({text[error.start]!r}) at character "
            f"{start + error.start}, which no text has: read its source again with the right "
            "encoding"
        ) from error


def _write_path(path: Path, writer: BlobWriter, encoding: str | None) -> Written:
    if _is_folder(path):
        return _write_files(walk(path), writer, encoding, str(path))
    if path.suffix.lower() in _JSON_LINES:
        _write_json_lines(path, writer, encoding)
        return Written("list")
    for part in read_parts(path, encoding):
        writer.write(part)
    writer.end_document()
    title = path.name.encode("utf-8", "replace").decode()
    return Written("str", title=title)


def _write_paths(paths: list[Path], writer: BlobWriter, encoding: str | None) -> Written:
    """Several files and folders make a dict, named from the folder they share."""
    if len(paths) == 1:
        return _write_path(paths[0], writer, encoding)
    # abspath, not resolve: the names are those the user gave.
    places = [Path(os.path.abspath(path)) for path in paths]  # noqa: PTH100
    shared = Path(os.path.commonpath([place.parent for place in places]))
    found: dict[str, Found] = {}
    skipped: list[Skipped] = []
    for place in places:
        name = place.relative_to(shared).as_posix()
        if not is_utf8(name):
            raise BadContext(
                f"{str(place)!a} can't be the name of a document, since it is not UTF-8: rename "
                "it, or give a link to it with another name"
            )
        if not _is_folder(place):
            # Named by the user, it must be readable: this raises otherwise.
            next(read_parts(place, encoding), None)
            found[name] = Found(name, str(place))
            continue
        for one in walk(place):
            inside = f"{name}/{one.name}"
            if isinstance(one, Found):
                found[inside] = Found(inside, one.place)
            else:
                skipped.append(Skipped(inside, one.reason))
    return _write_files([*found.values(), *skipped], writer, encoding, "these paths")


def _write_files(
    found: Iterable[Found | Skipped], writer: BlobWriter, encoding: str | None, where: str
) -> Written:
    names: list[str] = []
    skipped: list[Skipped] = []
    for one in sorted(_watched(found, writer), key=attrgetter("name")):
        if isinstance(one, Skipped):
            skipped.append(one)
            continue
        try:
            parts = _checked_parts(one.path, encoding, writer)
        except Unreadable as error:
            skipped.append(Skipped(one.name, error.reason))
            continue
        for part in parts:
            writer.write(part)
        writer.end_document()
        names.append(one.name)
    if not writer.chars:
        reasons = "; ".join(f"{one.name}: {one.reason}" for one in skipped[:_NAMED_REASONS])
        left_out = f" ({len(skipped):,} left out, among them {reasons})" if skipped else ""
        raise BadContext(f"there is no text in {where}{left_out}")
    return Written("dict", names, skipped=tuple(skipped))


def _is_folder(path: Path) -> bool:
    # Path.is_dir raises where a folder above may not be entered, or the name is too long.
    return os.path.isdir(path)  # noqa: PTH112


def _watched(found: Iterable[Found | Skipped], writer: BlobWriter) -> Iterator[Found | Skipped]:
    """What is found, as long as it is wanted: a large folder takes long to walk."""
    for one in found:
        writer.look()
        yield one


def _checked_parts(path: Path, encoding: str | None, writer: BlobWriter) -> Iterable[bytes]:
    """The parts of a file, all of which have been read once without fault."""
    try:
        large = path.stat().st_size > _HELD
    except OSError:
        large = False
    if not large:
        return list(read_parts(path, encoding))
    for _ in read_parts(path, encoding):
        writer.look()
    return read_parts(path, encoding)


def _write_json_lines(path: Path, writer: BlobWriter, encoding: str | None) -> None:
    """A document a line, with its line end; blank lines stay with the line before."""
    batch = _Batch(writer)
    document = ""
    for number, line in enumerate(_lines(read_parts(path, encoding)), start=1):
        if not line.strip(_BLANK):
            document += line
            continue
        where = f"{path}, line {number:,}"
        if document.strip(_BLANK):
            batch.add(where, document, is_json=True)
            document = ""
        document += line
        _parse(line, where)
    if document.strip(_BLANK):
        batch.add(str(path), document, is_json=True)
    batch.flush()


def _lines(parts: Iterable[bytes]) -> Iterator[str]:
    rest: list[bytes] = []
    for part in parts:
        first, *more = part.split(b"\n")
        rest.append(first)
        for line in more:
            yield b"".join(rest).decode() + "\n"
            rest = [line]
    if last := b"".join(rest).decode():
        yield last


def _parse(line: str, where: str) -> None:
    try:
        json.loads(line.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise BadContext(
            f"{where}, is not JSON: {error.msg} at column {error.colno}; to have the file read "
            "as plain text, end its name in .txt"
        ) from error
    except (ValueError, RecursionError) as error:
        raise BadContext(f"{where}, can't be read as JSON: {error}") from error


def _type(value: object) -> str:
    return type(value).__name__
