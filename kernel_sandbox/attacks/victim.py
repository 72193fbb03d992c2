"""A process of the host that attacks are aimed at.

python victim.py MARK SECRET, with a JSON line {"memory": secret, "file": secret, "folder": path}
on its standard input. Prints where its secrets lie, as JSON, then answers each further line
with what has been done to it.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

_PR_SET_PTRACER = 0x59616D61
_SCRATCH = b"untouched"


def main() -> None:
    """Lie there until standard input ends."""
    told = json.loads(sys.stdin.readline())
    signals: list[int] = []
    signal.signal(signal.SIGURG, lambda number, _: signals.append(number))
    # Where Yama lets parents alone trace their children, this one may be traced by all.
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    secret = ctypes.create_string_buffer(told["memory"].encode())
    scratch = ctypes.create_string_buffer(_SCRATCH)
    path = f"{told['folder']}/removed"
    fd = os.open(path, os.O_CREAT | os.O_RDWR | os.O_EXCL, 0o600)
    os.write(fd, told["file"].encode())
    os.unlink(path)  # noqa: PTH108 - pathlib takes longer to import than all the rest
    where = {
        "secret": ctypes.addressof(secret),
        "size": len(told["memory"]),
        "scratch": ctypes.addressof(scratch),
        "fd": fd,
    }
    print(json.dumps(where), flush=True)
    for _ in sys.stdin:
        state = {"signals": len(signals), "changed": scratch.value != _SCRATCH}
        print(json.dumps(state), flush=True)


if __name__ == "__main__":
    main()
