"""The models known by name, and which of them a machine gets by default."""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast, get_args

from outcore.config import expanded, home
from outcore.errors import ConfigError
from outcore.models.model import FolderSource, Format, HubSource, Model, Role, Source, WheelSource
from outcore.models.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.models.machine import Machine

BUILT_IN = Path(__file__).with_name("catalog.toml")
# One slash at most, between two names, so that it can be told from most paths.
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
# What goes to pip as an argument must not be taken for an option, or for a path.
_PROJECT = re.compile(r"[A-Za-z0-9](?:[\w.-]|\{n\})*", re.ASCII)
_VERSION = re.compile(r"[A-Za-z0-9][\w.!+-]*", re.ASCII)
_REVISION = re.compile(r"\w[\w./-]*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Default:
    """Root and sub-LM, by catalog name, for machines whose largest GPU has `gpu_gib` GiB."""

    gpu_gib: float
    root: str
    sub: str


@dataclass(frozen=True, slots=True)
class Catalog:
    """What one or more catalog files say. `defaults` is ordered from large to small."""

    models: Mapping[str, Model]
    defaults: tuple[Default, ...]


def load(*files: Path) -> Catalog:
    """Read catalog files; a later one adds to those before it and overrides their entries.

    Raises:
        ConfigError: a file is unreadable or holds anything a catalog doesn't; it names the
            file, the entry and the key.
    """
    models: dict[str, Model] = {}
    defaults: tuple[Default, ...] = ()
    for file in files:
        top = Table(file, "top level", _parse(file))
        for name, entry in top.take("models", dict, {}).items():
            models[name] = _model(file, name, entry)
        rows = top.take("defaults", list, [])
        top.end()
        defaults = tuple(_default(file, row, models) for row in rows) or defaults
    ordered = sorted(defaults, key=lambda row: row.gpu_gib, reverse=True)
    return Catalog(MappingProxyType(models), tuple(ordered))


def current() -> Catalog:
    """The catalog in force: the built-in one and `$OUTCORE_HOME/catalog.toml`."""
    own = home() / "catalog.toml"
    try:
        changed = own.stat().st_mtime_ns
    except OSError:
        return _load_once(0, BUILT_IN)
    return _load_once(changed, BUILT_IN, own)


def catalog() -> Mapping[str, Model]:
    """The models of the catalog in force, by name."""
    return current().models


def defaults(machine: Machine, known: Catalog | None = None) -> tuple[Model, Model]:
    """Root model and sub-LM for a machine, decided by the memory of its largest GPU.

    Raises:
        ConfigError: no row of the catalog covers this machine.
    """
    known = known or current()
    largest = max((gpu.total_bytes for gpu in machine.gpus), default=0) / 2**30
    for row in known.defaults:
        if largest >= row.gpu_gib:
            return known.models[row.root], known.models[row.sub]
    raise ConfigError(
        f"the catalog has no default models for a largest GPU of {largest:.0f} GiB; "
        "name a root and a sub-LM, or add a [[defaults]] row with gpu_gib = 0"
    )


@lru_cache(maxsize=4)
def _load_once(_changed: int, *files: Path) -> Catalog:
    return load(*files)


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: can't be read as a catalog: {error}") from error


def _default(file: Path, row: Any, models: Mapping[str, Model]) -> Default:
    table = Table(file, "[[defaults]]", row)
    gpu_gib = table.take("gpu_gib", float)
    if not 0 <= gpu_gib < math.inf:
        table.fail("gpu_gib", f"must not be below zero or without end, but is {gpu_gib}")
    names = {key: table.take(key, str) for key in ("root", "sub")}
    for key, name in names.items():
        if name not in models:
            table.fail(key, f"names {name!r}, which the catalog doesn't hold")
    table.end()
    return Default(gpu_gib, **names)


def _model(file: Path, name: str, entry: Any) -> Model:
    table = Table(file, f'models."{name}"', entry)
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{file}: {table.where}: a model's name has lower-case letters, digits, dots, "
            "dashes and underscores, and begins with a letter or digit"
        )
    form = cast("Format", table.one_of("format", get_args(Format)))
    packed = form == "gguf"
    sha256 = table.take("sha256", str) if packed else None
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        table.fail("sha256", f"must be 64 lower-case hexadecimal digits, not {sha256!r}")
    filename = table.take("file", str) if packed else ""
    if packed and (Path(filename).name != filename or not filename.endswith(".gguf")):
        table.fail("file", f"must be the bare name of a .gguf file, not {filename!r}")
    model = Model(
        name=name,
        role=cast("Role", table.one_of("role", get_args(Role))),
        profile=table.text("profile"),
        licence=table.text("licence"),
        window=table.positive("window"),
        format=form,
        file=filename,
        bytes=table.positive("bytes") if packed else table.positive("bytes", 0),
        converted_bytes=table.positive("converted_bytes", 0) if packed else 0,
        sha256=sha256,
        sources=tuple(
            _source(file, f"{table.where}.sources[{index}]", source, packed)
            for index, source in enumerate(table.take("sources", list, []))
        ),
        judges=table.take("judges", bool, True),
    )
    table.end()
    return model


def _source(file: Path, where: str, value: Any, packed: bool) -> Source:
    table = Table(file, where, value)
    source: Source
    match table.one_of("kind", ("folder", "hub", "pypi")):
        case "folder":
            # A relative path means the same from everywhere: beside the catalog.
            path = table.text("path")
            source = FolderSource(file.parent / expanded(path, f"{file}: {where}: key 'path'"))
        case "hub":
            source = HubSource(table.take("repo", str), table.take("revision", str, "") or None)
            if not HUB_ID.fullmatch(source.repo):
                table.fail("repo", f"must be owner/name, not {source.repo!r}")
            if source.revision is not None and not _REVISION.fullmatch(source.revision):
                table.fail("revision", f"must be a branch, tag or commit, not {source.revision!r}")
        case _:
            if not packed:
                table.fail("kind", "can be 'pypi' only for a model of format gguf")
            source = WheelSource(
                project=table.text("project"),
                version=table.text("version"),
                parts=table.positive("parts"),
                member=table.text("member"),
            )
            if not _PROJECT.fullmatch(source.project):
                table.fail("project", f"must be the name of a project, not {source.project!r}")
            if not _VERSION.fullmatch(source.version):
                table.fail("version", f"must be an exact version, not {source.version!r}")
            if source.parts > 1 and "{n}" not in source.project:
                table.fail("project", "must hold {n}, the part's number, as there are several")
    table.end()
    return source
