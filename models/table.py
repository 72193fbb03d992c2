"""A TOML table read strictly: every key is asked for by name and type, none is left over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from outcore.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
_MOST = 1 << 63


class Table:
    """One table of a TOML file, with enough of its address to say where a fault lies.

    Args:
        file: where the table was read from.
        where: its name in that file, e.g. `models."tiny"`.
        value: what the file holds there.

    Raises:
        ConfigError: the value is no table.
    """

    def __init__(self, file: Path, where: str, value: Any) -> None:
        self.file = file
        self.where = where
        if not isinstance(value, dict):
            raise ConfigError(f"{file}: {where} must be a table, not {type(value).__name__}")
        self._left: dict[str, Any] = dict(value)

    def fail(self, key: str, why: str) -> NoReturn:
        """Raise a ConfigError that names the file, the table and the key."""
        raise ConfigError(f"{self.file}: {self.where}: key {key!r} {why}")

    def take(self, key: str, kind: type[T], default: T | None = None) -> T:
        """The value of `key`.

        Raises:
            ConfigError: it is missing and has no default, or is not of `kind`.
        """
        if key not in self._left:
            if default is None:
                self.fail(key, "is missing")
            return default
        value = self._left.pop(key)
        if kind is float and type(value) is int:
            value = float(value)
        # bool is an int to Python, and not to anyone who writes a catalog.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fail(key, f"must be of type {kind.__name__}, not {type(value).__name__}")
        return value

    def text(self, key: str) -> str:
        """The text of `key`, which must have something in it."""
        value = self.take(key, str)
        if not value.strip() or "\0" in value:
            self.fail(key, f"must be text, not {value!r}")
        return value

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        """The value of `key`, which must be one of `allowed`."""
        value = self.take(key, str)
        if value not in allowed:
            self.fail(key, f"is {value!r}; it can be one of: {', '.join(allowed)}")
        return value

    def positive(self, key: str, default: int | None = None) -> int:
        """The whole number of `key`, which must be above zero where it is given."""
        given = key in self._left
        value = self.take(key, int, default)
        if given and not 0 < value < _MOST:
            self.fail(key, f"must be above zero and below 2^63, not {str(value)[:40]}")
        return value

    def end(self) -> None:
        """Refuse what was not asked for, most often a misspelt key."""
        for key in self._left:
            self.fail(key, "is not known here")
