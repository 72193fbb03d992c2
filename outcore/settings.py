"""Where settings come from: flags, then `OUTCORE_*` variables, then `outcore.toml`.

The file is looked for in the working folder, then in `$OUTCORE_HOME`.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outcore.config import Budget, Settings, home
from outcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = "outcore.toml"
_LIMITS = {field.name: type(getattr(Budget(), field.name)) for field in fields(Budget)}
_SWITCHES = tuple(field.name for field in fields(Settings) if isinstance(field.default, bool))
_COUNTS = tuple(field.name for field in fields(Settings) if type(field.default) is int)
_TEXTS = tuple(
    field.name
    for field in fields(Settings)
    if field.name not in ("runs", "budget", *_SWITCHES, *_COUNTS)
)
_NAMES = (*_TEXTS, *_SWITCHES, *_COUNTS, "runs", *_LIMITS)


def load(flags: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings that hold, from flags (None: not given), environment and file.

    Raises:
        ConfigError: a value can't be used; it names the place it came from.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    for name in _NAMES:
        if name not in given and (text := environment.get(f"OUTCORE_{name.upper()}")):
            given[name] = _read(name, text, f"OUTCORE_{name.upper()}")
    for name, value in _file().items():
        given.setdefault(name, value)
    limits = {name: given.pop(name) for name in _LIMITS if name in given}
    if "runs" in given:
        given["runs"] = Path(given["runs"]).expanduser()
    return Settings(budget=Budget(**limits), **given)


def _read(name: str, value: Any, where: str) -> Any:
    if name in _SWITCHES:
        if str(value).lower() in ("1", "true", "yes", "on"):
            return True
        if str(value).lower() in ("0", "false", "no", "off"):
            return False
        raise ConfigError(f"{where}: {name} must be true or false, not {value!r}")
    wanted = int if name in _COUNTS else _LIMITS.get(name)
    if wanted is None:
        if isinstance(value, str):
            return value
        raise ConfigError(f"{where}: {name} must be text, not {value!r}")
    try:
        if isinstance(value, (bool, float)) and (wanted is int or isinstance(value, bool)):
            raise ValueError("not whole")
        return wanted(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {name} must be a number, not {value!r}") from error


def _file() -> dict[str, Any]:
    for path in (Path(_FILE), home() / _FILE):
        if path.is_file():
            break
    else:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from error
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
    if found.get("sandbox") == "none":
        risky.append("sandbox")
    if risky:
        raise ConfigError(
            f"{path.absolute()}: {risky[0]} = {found[risky[0]]!r} is not taken from a working "
            f"folder; give it as --{risky[0]}, or set it in {home() / _FILE}"
        )
