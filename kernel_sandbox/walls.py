"""What a kernel may touch by Landlock: all there is where it shares the host's files, and a
second wall behind bubblewrap's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from outcore.kernel_sandbox import seccomp
from outcore.kernel_sandbox.bwrap import ETC, ROOT_LINKS, RUN
from outcore.kernel_sandbox.inside import landlock
from outcore.kernel_sandbox.reach import check_reachable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outcore.kernel_sandbox.bwrap import Box
    from outcore.kernel_sandbox.identity import Identity
    from outcore.kernel_sandbox.interpreter import Interpreter

LIBRARY = Path(__file__).resolve().parent / "inside"

Rule = tuple[str | int, int]

_NULLS = ("null", "zero", "full", "random", "urandom")
# What a kernel may read in /proc: of itself, and of that what is not the host's, as the lists of
# its network and its mounts are. The folders of its threads have those too.
_OF_ITSELF = (
    *("cmdline", "comm", "fd", "fdinfo", "limits", "maps", "smaps", "smaps_rollup", "stat"),
    *("statm", "status"),
)
# Processes of one user that another container hides from the count.
_UNSEEN = 256


def rules(folders: Iterable[Path], files: Iterable[Path], home: Path) -> list[Rule]:
    """Rules for a kernel among the host's files.

    Args:
        folders: what it may read, besides the system's programs and libraries.
        files: the same, single files.
        home: the folder that is its own.
    """
    return [
        *_system(),
        *((str(one), landlock.READ) for one in folders),
        *((str(one), landlock.READ_FILE) for one in files),
        *((f"/proc/self/{name}", landlock.READ) for name in _OF_ITSELF),
        *((f"/dev/{name}", landlock.READ_FILE | landlock.WRITE_FILE) for name in _NULLS),
        (str(home), landlock.writing(landlock.abi())),
    ]


def rules_in(box: Box) -> list[Rule]:
    """Rules for a kernel in bubblewrap's mounts, as they are named there."""
    own = landlock.writing(landlock.abi())
    return [
        *_system(),
        ("/", landlock.LIST),
        ("/proc", landlock.READ),
        ("/dev", landlock.DEVICE),
        (RUN, landlock.READ),
        *((bind.target, landlock.READ) for bind in box.binds),
        ("/tmp", own),  # noqa: S108 - the sandbox's own
        ("/dev/shm", own | landlock.DEVICE),  # noqa: S108
    ]


def _system() -> list[Rule]:
    return [
        ("/usr", landlock.READ),
        *((f"/{name}", landlock.READ) for name in ROOT_LINKS),
        *((f"/etc/{name}", landlock.READ) for name in ETC),
    ]


def open_way(home: Path, identity: Identity) -> None:
    """Give a kernel's folder to its user, who may pass through those above but not list them."""
    for folder in home.parents[:3]:
        folder.chmod(0o711)
    os.chown(home, identity.uid, identity.gid)


def tasks_allowed(most: int) -> int:
    """Limit on the processes and threads of this user that leaves a kernel `most` of its own."""
    own = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if process.stat().st_uid == os.geteuid():
                    own += process.joinpath("task").stat().st_nlink - 2
            except OSError:
                continue
    return own + most + _UNSEEN


def trial(
    interpreter: Interpreter, identity: Identity | None, setpriv: Path | None
) -> tuple[list[str], str]:
    """Command that puts a kernel's walls on itself and fails where they don't hold, and its input.

    Raises:
        SandboxUnavailable: the interpreter is closed to the user it would run as.
    """
    folders = (*interpreter.folders, LIBRARY)
    told = {
        "rules": rules(folders, (), LIBRARY),
        "seccomp": seccomp.program(shared=True).hex(),
        "signals": identity is not None or landlock.abi() >= landlock.SCOPE_ABI,
    }
    code = "import sys; sys.path.append({!r}); from inside import trial; trial.main()"
    line = [str(interpreter.executable), "-I", "-S", "-B", "-X", "utf8"]
    line += ["-c", code.format(str(LIBRARY.parent))]
    if identity is not None:
        check_reachable((interpreter.executable, *folders))
        line = identity.command(str(setpriv), line)
    return line, json.dumps(told)
