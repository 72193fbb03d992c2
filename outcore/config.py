"""Where outcore keeps things, and the settings of one run.

Settings come from flags, then `OUTCORE_*` variables, then `outcore.toml`; the first that
speaks wins.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from outcore.errors import ConfigError

Tier = Literal["auto", "bwrap", "none"]
DirectMode = Literal["auto", "always", "never"]
RootMode = Literal["auto", "code", "plan"]


def home() -> Path:
    """Folder for weights, indexes and runs: `$OUTCORE_HOME`, else `~/.cache/outcore`."""
    named = os.environ.get("OUTCORE_HOME")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "outcore"


@dataclass(frozen=True, slots=True)
class Budget:
    """What one run may spend. The root gets one last turn to answer when any of it is spent.

    Child runs spend of it too: each has at most half of the calls and tokens that are left when
    it starts, as many turns as its parent, and the time that the waiting cell has.

    Attributes:
        turns: replies of the root model.
        calls: sub-calls made by its code; a child run is one, and what it asks counts as well.
        tokens: tokens in and out, over root and sub-LM, cached ones not counted.
        seconds: wall clock, from the first turn on.
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


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything a run can be told, with its defaults.

    Attributes:
        root: catalog name, folder, hub id or `http(s)://` address of the root model; None
            lets the machine decide.
        sub: the same for the sub-LM.
        profile: name of a prompt profile in `engine/prompts/`; None takes the catalog's.
        root_mode: whether the root writes the first program itself (`code`) or fills in a plan
            from which the engine writes it (`plan`); `auto` is what its profile says.
        direct: whether a context that fits the root's window is answered without a kernel.
        sandbox: isolation of the kernel; `auto` never means none.
        runs: folder that receives one folder per run.
        memo: whether replies are remembered in `$OUTCORE_HOME/memo.db`, and taken from there.
        speculate: whether a dry run of each cell foresees the sub-calls of its loops.
        depth: levels of child runs below the root's run; at the last one `rlm_query` asks the
            sub-LM instead.
        kernels: child runs that have a kernel at once, on each level.
        encoding: of the context's files; None is UTF-8, and refuses files that look binary.
        budget: limits of one run.
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
    depth: int = 1
    kernels: int = 4
    encoding: str | None = None
    budget: Budget = Budget()

    def __post_init__(self) -> None:
        for name, allowed in (("root_mode", RootMode), ("direct", DirectMode), ("sandbox", Tier)):
            value = getattr(self, name)
            if value not in get_args(allowed):
                raise ConfigError(
                    f"{name} is {value!r}; it can be one of: {', '.join(get_args(allowed))}"
                )

        for name, least in (("depth", 0), ("kernels", 1)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number from {least} on")
        for name in ("memo", "speculate"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be True or False")

    @property
    def runs_dir(self) -> Path:
        """Folder of the runs, `$OUTCORE_HOME/runs` unless set."""
        return self.runs if self.runs is not None else home() / "runs"
