"""The host's log, as far as one kernel may fill it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

_MOST = 5
_CHARS = 300


class BoundedLog:
    """Logs the first few messages of each kind and counts the others.

    What comes of the kernel is shown in one line, short, and without control characters: a log
    may be read in a terminal.

    Args:
        logger: where they go.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._seen: Counter[str] = Counter()

    def warning(self, kind: str, *about: object) -> None:
        """Log a warning.

        Args:
            kind: the message, with `%s` where something of `about` belongs.
            about: what it is about.
        """
        self._log(kind, about, trace=False)

    def exception(self, kind: str, *about: object) -> None:
        """Log an error with the traceback of the exception being handled."""
        self._log(kind, about, trace=True)

    def close(self) -> None:
        """Say how many were not shown."""
        for kind, count in self._seen.items():
            if count > _MOST:
                self._logger.warning("%d more like: %s", count - _MOST, kind)
        self._seen.clear()

    def _log(self, kind: str, about: tuple[object, ...], *, trace: bool) -> None:
        self._seen[kind] += 1
        if self._seen[kind] > _MOST:
            return
        text = kind % tuple(_shown(one) for one in about)
        if self._seen[kind] == _MOST:
            text += " (the next ones like this are counted only)"
        if trace:
            self._logger.exception("%s", text)
        else:
            self._logger.warning("%s", text)


def _shown(one: object) -> str:
    text = str(one)
    if len(text) > _CHARS:
        text = text[:_CHARS] + "..."
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
