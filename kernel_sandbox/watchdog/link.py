"""The host's end of the watchdog's process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcore.kernel_sandbox.watchdog.main import Orders

# Its package is found in this folder, and not the package around it, whose imports take long.
_START = "import sys; sys.path.append({!r}); from watchdog import main; main.main()"
_GONE = "killed since its watchdog had ended, and nothing held it to its limits any more"


class Watchdog:
    """Watches one sandbox from `start` to `stop`; either takes a few milliseconds.

    Args:
        orders: what is watched; `hold` stays open until `stop`.
        end: ends the sandbox, from any thread: where the watchdog has, and where it has died.
    """

    def __init__(self, orders: Orders, end: Callable[[], None]) -> None:
        self._orders = orders
        self._end = end
        self._verdict: str | None = None
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._listen, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            OSError: it can't be started.
        """
        self._process = subprocess.Popen(
            [
                sys.executable,
                *("-I", "-S", "-B"),
                *("-c", _START.format(str(Path(__file__).parents[1]))),
                json.dumps(self._orders),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(self._orders.hold,),
            start_new_session=True,
            cwd="/",
        )
        self._thread.start()

    @property
    def pid(self) -> int:
        """The watchdog's own process id; 0 before it was started."""
        return 0 if self._process is None else self._process.pid

    def stop(self) -> str | None:
        """End it, and wait for it: after this nothing is ended any more.

        Returns:
            Why it has ended the sandbox; None where it has not.
        """
        self._stopping = True
        if self._process is not None:
            self._process.kill()
            self._thread.join()
        return self._verdict

    def _listen(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.wait()
        # What there is, and not all up to the end: a process forked elsewhere may hold the pipe.
        os.set_blocking(process.stdout.fileno(), False)
        said = process.stdout.read() or b""
        process.stdin.close()
        process.stdout.close()
        if said:
            self._verdict = said.decode()
        elif not self._stopping:
            self._verdict = _GONE
        if not self._stopping:
            self._end()
