"""The model hub: what a repository holds, and its files."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outcore.models.faults import SourceFailed, WrongHash, disk_errors, full, tells_full
from outcore.models.files import git_sha1_of, missing_files, sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from outcore.models.model import HubSource
    from outcore.models.progress import Advance, Progress

# What an engine reads. Repositories also hold the same weights in other formats, and pictures.
MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "tokenizer.model")
_UNWANTED = ("original/*", "consolidated*", "onnx/*")
_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file as the hub lists it: `sha256` for large files, git's own name for small ones."""

    name: str
    bytes: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True, slots=True)
class Listing:
    """Files of a repository at one commit."""

    commit: str
    files: tuple[HubFile, ...]

    @property
    def bytes(self) -> int:
        """Length of all files together."""
        return sum(file.bytes for file in self.files)

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 by file name, for the files whose SHA-256 the hub tells."""
        return {file.name: file.sha256 for file in self.files if file.sha256}


def listing(source: HubSource, patterns: Sequence[str]) -> Listing:
    """Ask the hub which files of a repository match `patterns`, and for their hashes.

    Raises:
        SourceFailed: the hub can't be reached, or has no such repository or files.
    """
    from huggingface_hub.utils import filter_repo_objects

    with _failures(source):
        info = _api().model_info(
            source.repo, revision=source.revision, files_metadata=True, timeout=_TIMEOUT_SECONDS
        )
    wanted = filter_repo_objects(
        info.siblings or (),
        allow_patterns=list(patterns),
        ignore_patterns=list(_UNWANTED),
        key=lambda file: file.rfilename,
    )
    files = tuple(
        HubFile(
            name=file.rfilename,
            bytes=file.size or 0,
            sha256=file.lfs.sha256 if file.lfs else None,
            git_sha1=None if file.lfs else file.blob_id,
        )
        for file in wanted
    )
    if not files:
        raise SourceFailed(f"the repository holds no {' or '.join(patterns)}")
    return Listing(info.sha, files)


def download(source: HubSource, files: Listing, folder: Path, progress: Progress) -> None:
    """Download the listed files into `folder` and check each against the hub's own hash.

    What an earlier try left in `folder` is used again, as far as it got.

    Raises:
        SourceFailed: the hub can't be reached.
        WrongHash: a file differs from what the hub lists; it is deleted.
        NoRoom: the disk filled up.
    """
    with (
        progress.stage(f"download {source.repo}", files.bytes) as advance,
        disk_errors(folder),
        _failures(source, folder),
    ):
        for file in files.files:
            _api().hf_hub_download(
                source.repo,
                file.name,
                revision=files.commit,
                local_dir=folder,
                etag_timeout=_TIMEOUT_SECONDS,
                tqdm_class=_bar(advance),
            )
    with progress.stage(f"check {source.repo}", files.bytes) as advance:
        for file in files.files:
            _check(source, file, folder / file.name)
            advance(file.bytes)


def cached(source: HubSource) -> Path | None:
    """The repository in the hub client's own cache, where another tool put it whole."""
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = _api().snapshot_download(
            source.repo, revision=source.revision, local_files_only=True
        )
    except (LocalEntryNotFoundError, HFValidationError):
        return None
    return None if missing_files(Path(found)) else Path(found)


def _check(source: HubSource, file: HubFile, path: Path) -> None:
    large = file.sha256 is not None
    kind = "SHA-256" if large else "git hash"
    expected = file.sha256 if large else file.git_sha1
    found = sha256_of(path) if large else git_sha1_of(path)
    if found != expected:
        path.unlink()
        raise WrongHash(
            f"{file.name} from hub {source.repo} has {kind} {found}, but the hub lists "
            f"{expected}; it was deleted. Pull again; if it happens twice, something between "
            "here and the hub changes files"
        )


def _api() -> Any:
    from huggingface_hub import HfApi

    return HfApi()


def _bar(advance: Advance) -> Callable[..., Any]:
    """A bar for the hub's client that draws nothing and passes on what it is told."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **{**options, "disable": True})
            advance(int(options.get("initial") or 0))

        def update(self, n: float | None = 1) -> bool | None:
            advance(int(n or 0))
            return None

    return Bar


@contextmanager
def _failures(source: HubSource, folder: Path | None = None) -> Iterator[None]:
    """Whatever the hub's client raises, for the reason it gives, but for a full disk."""
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError as error:
        raise SourceFailed(
            "its owner must grant access first: accept the terms on its page and set HF_TOKEN"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        at = f" at revision {source.revision}" if source.revision else ""
        raise SourceFailed(f"there is no such repository{at}, or it is private") from error
    except Exception as error:
        text = str(error.__cause__ or error).strip() or type(error).__name__
        if folder is not None and tells_full(text):
            raise full(folder, text) from error
        raise SourceFailed(text.splitlines()[0]) from error
