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


# What is raised in a finalizer is lost to those who wait, and what is raised where a class sets its
# names is another exception for them. Both happen where a signal comes while modules are imported.
LOST = """
import os, sys, time
from outcore import cli

class Late:
    def __del__(self):
        os.kill(os.getpid(), {number})

class Named:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), {number})

def finalizer():
    for late in [Late(), Late(), 1]:
        pass
    time.sleep(60)

def names():
    class Owner:
        named = Named()

def command(args):
    {place}()

cli._run = command
sys.argv = ["outcore", "models", "list"]
sys.exit(cli.main())
"""


@pytest.mark.parametrize("place", ["finalizer", "names"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_wherever_it_lands(number: signal.Signals, place: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-P", "-c", LOST.format(number=int(number), place=place)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 128 + number
    # In good order: not by the end that is put to what hangs.
    assert ended.stderr == "\nstopped\n"


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
