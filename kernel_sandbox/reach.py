"""Whether a user who owns nothing gets at what a kernel needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outcore.errors import SandboxUnavailable

if TYPE_CHECKING:
    from pathlib import Path


def check_readable(paths: tuple[Path, ...]) -> None:
    """See that a user who owns nothing can read these files and folders.

    Raises:
        SandboxUnavailable: one is closed to others; the message holds the fix.
    """
    for path in paths:
        mode = path.stat().st_mode
        wanted = 0o005 if path.is_dir() else 0o004
        if mode & wanted != wanted:
            raise SandboxUnavailable(
                f"{path} can be read by its owner alone, and the sandbox drops root: run "
                f"`chmod -R o+rX {path}`"
            )


def check_reachable(paths: tuple[Path, ...]) -> None:
    """See that such a user can also walk to them; no mount brings them there.

    Raises:
        SandboxUnavailable: one of them, or a folder above it, is closed to others.
    """
    for path in paths:
        for folder in reversed(path.resolve().parents):
            if not folder.stat().st_mode & 0o001:
                raise SandboxUnavailable(
                    f"{folder} can be entered by its owner alone, and the sandbox drops root but "
                    f"needs {path}: run `chmod o+x {folder}`, move what is there elsewhere, or run "
                    "outcore as an ordinary user"
                )
    check_readable(paths)
