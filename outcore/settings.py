"""Where settings come from: flags, then `OUTCORE_*` variables, then `outcore.toml`.

The file is looked for in the working folder, then in `$OUTCORE_HOME`.
"""

from __future__ import annotations

import difflib
import logging
import os
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outcore.config import Budget, Settings, expanded, home
from outcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOG = logging.getLogger(__name__)
_FILE = "outcore.toml"
_PREFIX = "OUTCORE_"
_LIMITS = {field.name: type(getattr(Budget(), field.name)) for field in fields(Budget)}
_SWITCHES = tuple(field.name for field in fields(Settings) if isinstance(field.default, bool))
_COUNTS = tuple(field.name for field in fields(Settings) if type(field.default) is int)
_TEXTS = tuple(
    field.name
    for field in fields(Settings)
    if field.name not in ("runs", "budget", *_SWITCHES, *_COUNTS)
)
_NAMES = (*_TEXTS, *_SWITCHES, *_COUNTS, "runs", *_LIMITS)
# Variables that are no settings of a run.
_OTHERS = ("HOME", "WEIGHTS", "API_KEY", "ROOT_API_KEY", "SUB_API_KEY")
_ALIKE = 0.7
_SHOWN = 40


def load(flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings that hold, from flags (None: not given), environment and file.

    Raises:
        ConfigError: a value can't be used, or a variable's name is misspelt; it names the place
            it came from.
    """
    _check_names(environment)
    given = {name: value for name, value in flags.items() if value is not None}
    for name in _NAMES:
        variable = f"{_PREFIX}{name.upper()}"
        if name not in given and (text := environment.get(variable)):
            given[name] = _read(name, text, variable)
    for name, value in _file().items():
        given.setdefault(name, value)
    limits = {name: given.pop(name) for name in _LIMITS if name in given}
    if "runs" in given:
        given["runs"] = expanded(given["runs"], "--runs")
    return Settings(budget=Budget(**limits), **given)


def _check_names(environment: Mapping[str, str]) -> None:
    """A variable that is nothing of ours is warned of; one much like ours is an error.

    Left unsaid, `OUTCORE_SECOND=60` would let a job run for an hour.
    """
    known = {name.upper() for name in (*_NAMES, *_OTHERS)}
    for variable in sorted(environment):
        name = variable.upper().removeprefix(_PREFIX)
        if not variable.upper().startswith(_PREFIX) or variable.removeprefix(_PREFIX) in known:
            continue
        alike = difflib.get_close_matches(name, known, 1, _ALIKE)
        if alike:
            raise ConfigError(
                f"the variable {variable} is no setting; {_PREFIX}{alike[0]} is: rename it, or "
                f"`unset {variable}`"
            )
        _LOG.warning("the variable %s is no setting of outcore, and is not used", variable)


def _read(name: str, value: Any, where: str) -> Any:
    """One value in its type, as it will hold."""
    value = _typed(name, value, where)
    if name == "runs":
        return expanded(value, where)
    try:
        if name in _LIMITS:
            Budget(**{name: value})
        else:
            Settings(**{name: value})
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return value


def _typed(name: str, value: Any, where: str) -> Any:
    if name in _SWITCHES:
        if str(value).lower() in ("1", "true", "yes", "on"):
            return True
        if str(value).lower() in ("0", "false", "no", "off"):
            return False
        raise ConfigError(f"{where}: {name} must be true or false, not {value!r}")
    wanted = int if name in _COUNTS else _LIMITS.get(name)
    if wanted is None:
        if isinstance(value, str) and value.strip() and "\0" not in value:
            return value
        raise ConfigError(f"{where}: {name} must be text, not {value!r}")
    try:
        if isinstance(value, (bool, float)) and (wanted is int or isinstance(value, bool)):
            raise ValueError("not whole")
        return wanted(value)
    except (TypeError, ValueError) as error:
        told = value if len(str(value)) <= _SHOWN else f"{str(value)[:_SHOWN]}..."
        raise ConfigError(f"{where}: {name} must be a number, not {told!r}") from error


def _file() -> dict[str, Any]:
    for path in (Path(_FILE), home() / _FILE):
        if path.is_file():
            break
    else:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} can't be read as settings: {error}") from error
    if unknown := sorted(set(table) - set(_NAMES)):
        raise ConfigError(
            f"{path}: unknown setting {unknown[0]!r}; there are: {', '.join(sorted(_NAMES))}"
        )
    found = {name: _read(name, value, str(path)) for name, value in table.items()}
    if path == Path(_FILE):
        _refuse_risky(found, path)
    return found


def _refuse_risky(found: Mapping[str, Any], path: Path) -> None:
    """A working folder may be anyone's: its file can't lower the guard or send text away."""
    risky = [name for name in ("root", "sub") if "://" in str(found.get(name, ""))]
    if found.get("sandbox", "auto") not in ("auto", "bwrap"):
        risky.append("sandbox")
    if risky:
        raise ConfigError(
            f"{path.absolute()}: {risky[0]} = {found[risky[0]]!r} is not taken from a working "
            f"folder; give it as --{risky[0]}, or set it in {home() / _FILE}"
        )
