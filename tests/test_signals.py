"""What signals do to a command that has already answered."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# Globals are taken down after Python has given up its handlers of signals.
LATE = """
import os, sys

class Late:
    def __del__(self, kill=os.kill, number={number}, me=os.getpid()):
        kill(me, number)

late = Late()
from outcore.cli import main
sys.argv = ["outcore", "models", "list"]
sys.exit(main())
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_after_the_answer_makes_no_failure_of_it(number: signal.Signals) -> None:
    ended = subprocess.run(
        [sys.executable, "-P", "-c", LATE.format(number=int(number))],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout
