"""One file read as text, faithful to the byte."""

from __future__ import annotations

import codecs
import os
import stat
from typing import TYPE_CHECKING

from outcore import config
from outcore.errors import BadContext, ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CHUNK = 1 << 20
_HEAD = 8 << 10
_MAGIC = {
    b"%PDF-": "a PDF; extract its text first, for example with pdftotext",
    b"PK\x03\x04": "a zip archive or an office document; extract its text first",
    b"\x1f\x8b": "compressed with gzip; decompress it first",
    b"BZh91AY&SY": "compressed with bzip2; decompress it first",
    b"\xfd7zXZ\x00": "compressed with xz; decompress it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; decompress it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; extract its text first",
    b"\x7fELF": "a program; give its sources instead",
    b"\x89PNG": "an image; only text can be read",
    b"\xff\xd8\xff": "an image; only text can be read",
    b"SQLite format 3\x00": "an SQLite database; export its tables as text first",
}
_MARK = 4
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class Unreadable(BadContext):
    """A file can't be read as text; in a folder it is left out.

    Attributes:
        reason: why, in a few words.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


def check_encoding(encoding: str | None) -> None:
    """Raise BadContext unless Python knows the text encoding of that name."""
    try:
        if encoding is not None:
            config.check_encoding(encoding)
    except ConfigError as error:
        raise BadContext(str(error)) from error


def read_parts(path: Path, encoding: str | None = None) -> Iterator[bytes]:
    """The text of a file as UTF-8, in parts of about a megabyte that hold whole characters.

    Line ends, NULs and byte order marks are kept. Without an encoding the file must be UTF-8,
    and one that looks binary (a known signature, or a NUL in the first 8 KiB) is refused.

    Raises:
        Unreadable: it is missing, not a regular file, binary, or not in that encoding.
        BadContext: it changed while it was read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise _failed(path, error) from error
    except ValueError as error:
        raise Unreadable(f"{str(path)!r} is no path: {error}", reason="no path") from error
    try:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise Unreadable(
                f"{path} is not a regular file; save its content to one first",
                reason="not a regular file",
            )
        yield from _decoded(path, _chunks(path, fd, encoding, before), encoding)
        _refuse_changed(path, before, os.fstat(fd))
    finally:
        os.close(fd)


def _chunks(path: Path, fd: int, encoding: str | None, before: os.stat_result) -> Iterator[bytes]:
    done = 0
    while chunk := _read(path, fd):
        if encoding is None:
            if not done:
                _refuse_binary(path, chunk[:_HEAD])
            if chunk[0] == 0 and chunk.count(0) == _CHUNK:
                raise Unreadable(
                    f"{path} has a megabyte of NULs from byte {done} on, as sparse and "
                    "preallocated files do; cut it there, or say --encoding utf-8 to have them as "
                    "text",
                    reason="binary",
                )
        done += len(chunk)
        # One that grows as fast as it is read has no end. Those of /proc say they are empty.
        if done > before.st_size:
            _refuse_changed(path, before, os.fstat(fd))
        yield chunk


def _refuse_changed(path: Path, before: os.stat_result, now: os.stat_result) -> None:
    if (before.st_size, before.st_mtime_ns) != (now.st_size, now.st_mtime_ns):
        raise BadContext(f"{path} changed while it was read: copy it, and give the copy")


def _read(path: Path, fd: int) -> bytes:
    try:
        return os.read(fd, _CHUNK)
    except OSError as error:
        raise _failed(path, error) from error


def _refuse_binary(path: Path, head: bytes) -> None:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            raise Unreadable(
                f"{path} starts like {encoding}; say so: --encoding {encoding}",
                reason=f"{encoding}, not UTF-8",
            )
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            raise Unreadable(f"{path} is {what}", reason="binary")
    at = head.find(b"\x00")
    if at >= 0:
        raise Unreadable(
            f"{path} looks binary: it has a NUL at byte {at}; if it is text after all, name its "
            "encoding: --encoding utf-8 or --encoding utf-16",
            reason="binary",
        )


def _decoded(path: Path, chunks: Iterator[bytes], encoding: str | None) -> Iterator[bytes]:
    if encoding is not None and codecs.lookup(encoding).name != "utf-8":
        yield from _recoded(path, chunks, encoding)
        return
    rest, offset = b"", 0
    try:
        for chunk in chunks:
            data = rest + chunk
            _, used = codecs.utf_8_decode(data, "strict", False)
            yield data[:used]
            rest = data[used:]
            offset += used
        codecs.utf_8_decode(rest, "strict", True)
    except UnicodeDecodeError as error:
        at = offset + error.start
        bad = error.object[error.start : error.end].hex(" ")
        raise Unreadable(
            f"{path} is not UTF-8: {bad} (hex) at byte {at}; if it has another encoding, name it, "
            "for example --encoding latin-1",
            reason=f"not UTF-8 at byte {at}",
        ) from error


def _recoded(path: Path, chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    name = codecs.lookup(encoding).name
    offset = given = 0
    try:
        for number, chunk in enumerate(chunks):
            if number == 0:
                _refuse_unmarked(path, chunk[:_MARK], name)
            rest = len(decoder.getstate()[0])
            offset -= rest
            given = rest + len(chunk)
            part = decoder.decode(chunk)
            offset += given
            yield part.encode()
        given = len(decoder.getstate()[0])
        offset -= given
        yield decoder.decode(b"", final=True).encode()
    except UnicodeEncodeError as error:
        raise Unreadable(
            f"{path}, read as {encoding}, has half of a surrogate pair "
            f"({error.object[error.start]!a}), which no text has; name another encoding with "
            "--encoding",
            reason=f"half of a surrogate pair in {encoding}",
        ) from error
    except UnicodeDecodeError as error:
        # A mark at the start that was taken off is not in what failed.
        at = offset + max(0, given - len(error.object)) + error.start
        raise Unreadable(
            f"{path} is not {encoding}: it fails at byte {at}; name another encoding with "
            "--encoding",
            reason=f"not {encoding} at byte {at}",
        ) from error


def _refuse_unmarked(path: Path, head: bytes, encoding: str) -> None:
    """Without its mark such a text can't be told from one with its bytes the other way round."""
    marks = [mark for mark, name in _BYTE_ORDER_MARKS.items() if name == encoding]
    if marks and not head.startswith(tuple(marks)):
        raise Unreadable(
            f"{path} has no byte order mark, by which {encoding} tells its two ways apart; say "
            f"--encoding {encoding}-le or --encoding {encoding}-be",
            reason=f"{encoding} without a byte order mark",
        )


def _failed(path: Path, error: OSError) -> Unreadable:
    if isinstance(error, FileNotFoundError):
        return Unreadable(f"there is no file or folder {path}", reason="missing")
    return Unreadable(
        f"can't read {path}: {error.strerror}", reason=f"can't be read: {error.strerror}"
    )
