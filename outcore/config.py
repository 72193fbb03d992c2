"""Where outcore keeps things, and the settings of one run.

Settings come from flags, then `OUTCORE_*` variables, then `outcore.toml`; the first that
speaks wins.
"""

from __future__ import annotations

import codecs
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, TypedDict, get_args

from outcore.errors import ConfigError

Tier = Literal["auto", "bwrap", "landlock", "none"]
DirectMode = Literal["auto", "always", "never"]
RootMode = Literal["auto", "code", "plan"]


def home() -> Path:
    """Folder for weights, indexes and runs: `$OUTCORE_HOME`, else `~/.cache/outcore`."""
    named = os.environ.get("OUTCORE_HOME")
    return expanded(named, "OUTCORE_HOME") if named else Path.home() / ".cache" / "outcore"


def private_folder(path: Path) -> None:
    """Make a folder that its owner alone can look into, if it is not there; its parents as usual.

    Raises:
        OSError: it can't be made.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def expanded(path: str | Path, where: str) -> Path:
    """A path with `~` or `~user` at its start replaced by the home folder that it means.

    Raises:
        ConfigError: there is no such user; it names `where` the path was given.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{where}: {str(path)!r} names a home folder that is not known here; write the path "
            "in full"
        ) from error


def check_encoding(encoding: str) -> None:
    """See that Python knows the text encoding of that name.

    Raises:
        ConfigError: it does not.
    """
    try:
        codecs.lookup(encoding)
        " ".encode(encoding)
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"there is no text encoding {encoding!r}; examples are utf-8, latin-1, cp1252, utf-16"
        ) from error


def check_question(text: object) -> None:
    """See that a question can be put.

    Raises:
        ConfigError: it is no text, empty, or holds what UTF-8 can't.
    """
    if not isinstance(text, str):
        raise ConfigError(
            f"the question is a {type(text).__name__}; it must be a str after the context: "
            "completion(context, question)"
        )
    if not text.strip():
        raise ConfigError("the question is empty")
    if not text.isascii() and text.encode("utf-8", "replace").decode() != text:
        raise ConfigError(
            "the question has half of a surrogate pair, or bytes that are not UTF-8: write it "
            "in UTF-8"
        )


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may spend. The root gets one last turn to answer when any of it is spent.

    Child runs spend of it too: each has at most half of the calls and tokens that are left when
    it starts, as many turns as its parent, and the time that the waiting cell has.

    Attributes:
        turns: replies of the root model.
        calls: sub-calls made by its code; a child run is one, and what it asks counts as well.
        tokens: tokens in and out, over root and sub-LM, cached ones not counted.
        seconds: wall clock of the question: reading the context, starting the kernel, turns,
            cells, sub-calls and child runs. Starting and ending the models is not counted, nor
            is waiting for other questions to end (`Settings.questions`). A
            fifth of it, 30 seconds at most, is kept back for the root's last turn, which is cut
            off where that does not do.
        cell_seconds: wall clock of one cell.
    """

    turns: int = 12
    calls: int = 2_000
    tokens: int = 4_000_000
    seconds: float = 3_600.0
    cell_seconds: float = 600.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float)) or not value > 0:
                raise ConfigError(f"budget: {field.name} must be above zero, not {value!r}")
            if isinstance(field.default, int) and type(value) is not int:
                raise ConfigError(f"budget: {field.name} must be a whole number, not {value!r}")
            if isinstance(value, bool) or not _finite(value):
                raise ConfigError(
                    f"budget: {field.name} must be a number with an end, not {value!r}; where it "
                    "is to be no limit, name a large one"
                )


_MODEL = "a catalog name, a folder, a hub id or an http:// address"
_TEXTS = {
    "root": _MODEL,
    "sub": _MODEL,
    "profile": "the name of a prompt profile, such as coder",
    "encoding": "the name of a text encoding, such as utf-8",
}


def check_budget(value: object) -> None:
    """See that a budget is one.

    Raises:
        ConfigError: it is something else, such as a dict.
    """
    if not isinstance(value, Budget):
        raise ConfigError(
            f"budget is {value!r}; it must be a Budget, as in budget=Budget(seconds=60)"
        )


def _check_text(name: str, value: object, meant: str) -> None:
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise ConfigError(f"{name} is {value!r}; it must be {meant}")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number larger than any float
        return False


class SettingsChanges(TypedDict, total=False):
    """The fields of `Settings` that `RLM` takes by name, besides `root` and `sub`."""

    profile: str | None
    root_mode: RootMode
    direct: DirectMode
    sandbox: Tier
    runs: str | Path | None
    memo: bool
    speculate: bool
    shared_prefix: bool
    depth: int
    kernels: int
    questions: int
    encoding: str | None
    budget: Budget


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a run can be told, with its defaults.

    A Path for `root` or `sub` becomes the full path of that folder, a str for `runs` a Path.

    Attributes:
        root: catalog name, folder, hub id or `http(s)://` address of the root model; None
            lets the machine decide.
        sub: the same for the sub-LM.
        profile: name of a prompt profile in `engine/prompts/`; None takes the catalog's.
        root_mode: whether the root writes the first program itself (`code`) or fills in a plan
            from which the engine writes it (`plan`); `auto` is what its profile says.
        direct: whether a context that fits the root's window is answered without a kernel.
        sandbox: isolation of the kernel; `auto` is bwrap, or where that can't be had landlock,
            with a warning, and never means none.
        runs: folder that receives one folder per run.
        memo: whether replies are remembered in `$OUTCORE_HOME/memo.db`, and taken from there.
        speculate: whether a dry run of each cell foresees the sub-calls of its loops.
        shared_prefix: whether the sub-LM's engine, on a GPU and where its model fits, reads a
            slice that many questions share once for all of them, where that is the faster way
            (docs/kernels.md).
        depth: levels of child runs below the root's run; at the last one `rlm_query` asks the
            sub-LM instead.
        kernels: child runs that have a kernel at once, on each level.
        questions: questions that one `RLM` answers at once, each with a kernel of its own; the
            others wait for their turn.
        encoding: of the context's files; None is UTF-8, and refuses files that look binary.
        budget: limits of one run.

    Raises:
        ConfigError: a value has the wrong type, or is none that the setting can have.
    """

    root: str | None = None
    sub: str | None = None
    profile: str | None = None
    root_mode: RootMode = "auto"
    direct: DirectMode = "auto"
    sandbox: Tier = "auto"
    runs: Path | None = None
    memo: bool = True
    speculate: bool = True
    shared_prefix: bool = True
    depth: int = 1
    kernels: int = 4
    questions: int = 8
    encoding: str | None = None
    budget: Budget = Budget()

    def __post_init__(self) -> None:
        for name in ("root", "sub"):
            if isinstance(value := getattr(self, name), Path):
                object.__setattr__(self, name, str(expanded(value, name).absolute()))
        if isinstance(self.runs, (str, Path)):
            _check_text("runs", str(self.runs), "the path of a folder")
            object.__setattr__(self, "runs", expanded(self.runs, "runs"))
        elif self.runs is not None:
            raise ConfigError(f"runs is {self.runs!r}; it must be the path of a folder")
        for name, meant in _TEXTS.items():
            if getattr(self, name) is not None:
                _check_text(name, getattr(self, name), meant)
        check_budget(self.budget)
        for name, allowed in (("root_mode", RootMode), ("direct", DirectMode), ("sandbox", Tier)):
            value = getattr(self, name)
            if value not in get_args(allowed):
                raise ConfigError(
                    f"{name} is {value!r}; it can be one of: {', '.join(get_args(allowed))}"
                )
        for name, least in (("depth", 0), ("kernels", 1), ("questions", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number from {least} on")
        for name in ("memo", "speculate", "shared_prefix"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be True or False")
        if self.encoding is not None:
            check_encoding(self.encoding)

    @property
    def runs_dir(self) -> Path:
        """Folder of the runs, `$OUTCORE_HOME/runs` unless set."""
        return self.runs if self.runs is not None else home() / "runs"
