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

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9


def main() -> None:
    """Become the kernel."""
    start = json.loads(Path(sys.argv[1]).read_text())
    del sys.argv[1:]
    if start["parent"]:
        _die_with(start["parent"])
    for name, value in start["rlimits"].items():
        _limit(getattr(resource, f"RLIMIT_{name}"), value)
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
    app.start()


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def _die_with(parent: int) -> None:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
