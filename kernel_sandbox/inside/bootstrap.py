"""First code to run in the sandbox: limits, the names of the cells, then ipykernel.

Started as `python -I -S -c "...; bootstrap.main()" START` where START is a JSON file:

    path        list[str], what to put on sys.path
    bridge      path of the host's socket
    token       secret of this kernel
    frame       most bytes of one call
    context     folder of the staged context
    late        whether the context comes later: by the first cell it is there, and settings
                that go with it in `hints.json` beside it
    connection  Jupyter's connection file
    sockets     {port: file descriptor}
    rlimits     {name of the limit without RLIMIT_: value}
    hints       settings of the tools
    parent      pid whose death ends this process, 0 inside a pid namespace
    rules       [[path or file descriptor, rights]], what Landlock leaves this process; where the
                list is empty, or the kernel has no Landlock and bubblewrap is there, it is not used
    seccomp     a filter in hex, for a kernel that shares the host's namespaces; else ""
"""

from __future__ import annotations

import _sitebuiltins
import builtins
import ctypes
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

from . import confine, landlock

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9


def main() -> None:
    """Become the kernel."""
    start = json.loads(Path(sys.argv[1]).read_text())
    del sys.argv[1:]
    if start["parent"]:
        _die_with(start["parent"])
    # Where the machine's memory runs out, this is to go first.
    Path("/proc/self/oom_score_adj").write_text("1000")
    for name, value in start["rlimits"].items():
        _limit(getattr(resource, f"RLIMIT_{name}"), value)
    held = _confine(start)
    sys.path.extend(start["path"])
    # Python without `site`, which would run the host's .pth files, lacks help().
    builtins.help = _sitebuiltins._Helper()
    # ipykernel copies what it captures to the stdout it was born with.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)

    # debugpy opens TCP sockets at import, and libzmq aborts where it may not; jedi is slow.
    hidden: Any = sys.modules
    hidden["debugpy"] = hidden["jedi"] = None
    from . import shell
    from .repl import Repl

    repl = Repl(start)
    app, interactive = shell.start(start["connection"], start["sockets"], repl.names)
    repl.attach(interactive)
    if start["seccomp"]:
        # The last step: what came before needed calls that no cell is to have.
        confine.put_on(bytes.fromhex(start["seccomp"]), all_threads=True)
    app.start()
    del held


def _confine(start: dict[str, Any]) -> list[int]:
    """Put Landlock on, while there is one thread; returns what has to stay open for it."""
    held: list[int] = []
    if not start["rules"] or (not start["seccomp"] and not landlock.abi()):
        return held
    rules: list[tuple[str | int, int]] = []
    if start["seccomp"]:
        libc: Any = ctypes.CDLL(None, use_errno=True)
        # Those whose parent has ended stay below this process, where the host looks for them.
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    for path, rights in start["rules"]:
        kept = path
        if isinstance(path, str) and path.startswith("/proc/self/"):
            # A rule is for a file as it is in memory, and those of /proc are made anew unless
            # someone holds them.
            try:
                kept = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # an older Linux has fewer
            held.append(kept)
        rules.append((kept, rights))
    landlock.restrict(rules)
    return held


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _die_with(parent: int) -> None:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
