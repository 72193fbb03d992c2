"""Weights on this machine: fetched, checked, converted, and only then given a name.

    $OUTCORE_HOME/weights/
        NAME/                   a whole model: safetensors, tokenizer, config, manifest
        FILE.gguf               what `--keep` kept
        .NAME.partial/          one process at a time works here, under its lock
            lock  pieces/  hub/  FILE.gguf  converted/

A folder gets its place among the weights by one rename, after everything in it is on the
disk. Whatever ends a process before that leaves `.NAME.partial`, where the next one goes on.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from outcore.config import home
from outcore.errors import WeightsError
from outcore.models import child, hub, manifest
from outcore.models.faults import (
    NoRoom,
    SourceFailed,
    WrongHash,
    disk_errors,
    full,
    require_room,
    tells_full,
)
from outcore.models.files import missing_files, sync
from outcore.models.local import model_folder, weights_folder
from outcore.models.lock import locked
from outcore.models.model import HubSource, Model
from outcore.models.progress import SILENT, Progress
from outcore.models.sources import Found, describe, download_gguf, local_gguf, nowhere
from outcore.models.units import human

State = Literal["ready", "partial", "damaged", "absent"]

_CONVERT = Path(__file__).with_name("convert.py")
# bf16 over 4-bit weights, with their scales and the vocabulary's finer types, and some air.
_GROWTH = 4
_SPARE = 64 << 20
_LOG = "convert.log"


def _quiet() -> dict[str, str]:
    """Variables for the process that converts."""
    return {
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        # Torch would make a folder in /tmp and leave it there.
        "TORCHINDUCTOR_CACHE_DIR": str(home() / "torchinductor"),
    }


def ensure(model: Model, *, progress: Progress = SILENT, keep: bool = False) -> Path:
    """The folder of a model's weights, fetched and converted if need be.

    Args:
        model: which one.
        progress: told of every stage.
        keep: leave a downloaded GGUF file in `$OUTCORE_HOME/weights` after its conversion.

    Returns:
        A folder with safetensors, tokenizer and config.

    Raises:
        WeightsError: no source has them, a hash is wrong, the disk is full, or a file can't
            be converted.
    """
    if (ready := find(model)) is not None:
        return ready
    target = weights_folder() / model.name
    scratch = _scratch(model)

    def waiting() -> None:
        progress.say(f"another process is fetching {model.name}; waiting for it")

    with disk_errors(weights_folder().parent), locked(scratch, waiting) as lock:
        try:
            if (ready := find(model)) is None:
                _sweep(scratch)
                if model.format == "gguf":
                    whole = _from_gguf(model, scratch, lock, progress, keep=keep)
                else:
                    whole = _from_hub(model, scratch, progress)
                _publish(whole, target)
        except (NoRoom, WrongHash, OSError):
            shutil.rmtree(scratch)
            raise
        except BaseException:
            _sweep(scratch)
            if not any(scratch.glob("*/*")) and not (scratch / model.file).is_file():
                shutil.rmtree(scratch)
            raise
        shutil.rmtree(scratch)
    return ready or target


def find(model: Model) -> Path | None:
    """The folder of a model's weights where they are ready to be used, else None.

    Files are compared by name and length, not by content: see `verify`.
    """
    return model_folder(model)


def state(model: Model) -> State:
    """How far a model is on this machine."""
    if model_folder(model):
        return "ready"
    if (weights_folder() / model.name).is_dir():
        return "damaged"
    return "partial" if _scratch(model).is_dir() else "absent"


def verify(model: Model, *, progress: Progress = SILENT) -> list[str]:
    """Hash all files of a model again and compare them with what was recorded at first.

    Returns:
        One line per file that differs; none when all are as they were.

    Raises:
        WeightsError: there is nothing to verify, or nothing to compare it with.
    """
    folder = model_folder(model) or weights_folder() / model.name
    if not folder.is_dir():
        raise WeightsError(f"{model.name} is not here; run 'outcore models pull {model.name}'")
    record = manifest.read(folder)
    if record is None:
        raise WeightsError(
            f"{folder} has no {manifest.NAME}: outcore did not fetch it and knows no hashes for it"
        )
    found = manifest.verify(folder, record, progress)
    if model.sha256 not in (None, record.source_sha256):
        found.append(
            f"{folder} was made from a file with SHA-256 {record.source_sha256}, "
            f"but the catalog names {model.sha256}"
        )
    return found


def _scratch(model: Model) -> Path:
    return weights_folder() / f".{model.name}.partial"


def _sweep(scratch: Path) -> None:
    """Remove what a stopped process left and no other can go on with."""
    shutil.rmtree(scratch / "converted", ignore_errors=True)
    for path in (scratch / _LOG, *scratch.glob("*.joining")):
        path.unlink(missing_ok=True)


def _publish(whole: Path, target: Path) -> None:
    if target.exists():  # damaged, or it would have been used
        shutil.rmtree(target)
    whole.rename(target)
    sync(target.parent)


def _from_gguf(model: Model, scratch: Path, lock: int, progress: Progress, *, keep: bool) -> Path:
    converted = model.converted_bytes or model.bytes * _GROWTH
    found = local_gguf(model, scratch, progress)
    if found is None:
        have = sum(path.stat().st_size for path in scratch.glob("pieces/*") if path.is_file())
        # The pieces stand beside the joined file, then the joined file beside what it becomes.
        needed = model.bytes + max(model.bytes, converted) - have + _SPARE
        require_room(scratch, needed, model.name)
        found = download_gguf(model, scratch, lock, progress)
        for rest in ("pieces", "hub"):
            shutil.rmtree(scratch / rest, ignore_errors=True)
    require_room(scratch, converted + _SPARE, f"converting {model.file}")
    folder = _convert(model, found, scratch, lock, progress)
    if found.ours and keep:
        found.path.rename(weights_folder() / model.file)
    return folder


def _convert(model: Model, found: Found, scratch: Path, lock: int, progress: Progress) -> Path:
    folder = scratch / "converted"
    folder.mkdir()
    log = scratch / _LOG
    with progress.stage(f"convert {model.file}"):
        process = child.start(
            _CONVERT, [found.path, folder], log=log, env=_quiet(), inherit=(lock,)
        )
        try:
            code = process.wait()
        finally:
            child.stop(process)
    if code != 0:
        text = log.read_text(encoding="utf-8", errors="replace").strip()
        if tells_full(text):
            raise full(scratch, f"converting {model.file}")
        raise WeightsError(_conversion_failed(model, code, text))
    if lacking := missing_files(folder):
        raise WeightsError(f"converting {model.file} gave no {', '.join(lacking)}")
    manifest.write(
        folder,
        model=model.name,
        origin=found.origin,
        source_sha256=found.sha256,
        progress=progress,
    )
    return folder


def _conversion_failed(model: Model, code: int, text: str) -> str:
    if code < 0:
        return (
            f"converting {model.file} was killed by signal {-code}, most likely for lack of "
            f"memory: it takes about {human(_memory(model))}; free some and pull again"
        )
    last = text.splitlines()[-1] if text else "it said nothing"
    return f"{model.file} can't be converted to safetensors: {last}"


def _memory(model: Model) -> int:
    return (model.converted_bytes or model.bytes * _GROWTH) + model.bytes + 1_000_000_000


def _from_hub(model: Model, scratch: Path, progress: Progress) -> Path:
    failed = []
    folder = scratch / "hub"
    for source in model.sources:
        if not isinstance(source, HubSource):
            continue
        try:
            files = hub.listing(source, hub.MODEL_FILES)
            have = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            require_room(scratch, files.bytes - have + _SPARE, model.name)
            hub.download(source, files, folder, progress)
        except SourceFailed as error:
            failed.append(f"{describe(source)}: {error}")
            continue
        if lacking := missing_files(folder):
            shutil.rmtree(folder)
            failed.append(f"{describe(source)}: it lacks {', '.join(lacking)}")
            continue
        shutil.rmtree(folder / ".cache", ignore_errors=True)
        manifest.write(
            folder,
            model=model.name,
            origin=describe(source),
            revision=files.commit,
            known=files.hashes,
            progress=progress,
        )
        return folder
    raise nowhere(model, failed)
