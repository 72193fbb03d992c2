"""The folder one kernel's sockets and start files live in, on the host."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from outcore.errors import SandboxError
from outcore.reaper import owner, reaper, remove, sweep

_PREFIX = "k-"
_TRIES = 100
# A unix socket's path is at most 107 bytes.
_LONGEST = 107 - len("/9999/bridge.sock")


@dataclass(frozen=True, slots=True)
class Session:
    """A folder that only this user can enter.

    Its name holds the pid, the start time and the pid namespace of the host process, so that
    a later host can tell a dead one's folder from a living one's.
    """

    folder: Path

    @classmethod
    def create(cls, base: Path | None = None) -> Session:
        """New folder under `base`; those of dead hosts beside it are removed.

        Raises:
            SandboxError: the folder can't be made, or its path is too long for a socket.
        """
        base = sessions_folder() if base is None else base
        folder = base / f"{_PREFIX}{owner()}-{secrets.token_hex(4)}"
        if len(os.fsencode(folder)) > _LONGEST:
            raise SandboxError(
                f"the session folder {folder} is too long for a unix socket; set XDG_RUNTIME_DIR "
                "to a shorter path"
            )
        # Told first: whenever this process is killed from here on, the folder goes.
        reaper().adopt_path(folder)
        try:
            _make(folder)
        except OSError as error:
            reaper().release_path(folder)
            raise SandboxError(
                f"can't make the session folder {folder}: {error.strerror}; set XDG_RUNTIME_DIR "
                "to a folder you can write to"
            ) from error
        return cls(folder)

    def part(self, number: int) -> Path:
        """New folder in it, for kernel process `number` of the session."""
        folder = self.folder / str(number)
        folder.mkdir(mode=0o700)
        return folder

    def remove(self) -> None:
        """Remove the folder and what is in it."""
        remove(self.folder)
        with contextlib.suppress(OSError):
            self.folder.parent.rmdir()  # succeeds for the last one out
        reaper().release_path(self.folder)


def _make(folder: Path) -> None:
    """Make a session's folder, and the one it lies in.

    Raises:
        OSError: it can't be done.
    """
    for tries in reversed(range(_TRIES)):
        try:
            _make_private(folder.parent)
            sweep(folder.parent, _PREFIX)
            folder.mkdir(mode=0o700)
        except (FileNotFoundError, FileExistsError):
            # A host that ends takes an empty base with it, at any moment of this: it may be there
            # for `mkdir`, and no folder for the look after that.
            if not tries:
                raise
        else:
            return


def _make_private(folder: Path) -> None:
    """Make `folder`, or accept one that nobody else can have laid there.

    Raises:
        OSError: it can't be made, or belongs to someone else.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(errno.EPERM, f"{folder} belongs to or is open to other users")


def sessions_folder() -> Path:
    """Where the session folders of this user's hosts are made."""
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return Path("/run/outcore")
    named = os.environ.get("XDG_RUNTIME_DIR")
    if named and os.access(named, os.W_OK):
        return Path(named) / "outcore"
    return Path(tempfile.gettempdir()) / f"outcore-{os.geteuid()}"
