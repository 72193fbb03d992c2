"""The command line: `outcore ask | models | memo | doctor`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING

from outcore import ask, doctor, memo
from outcore.errors import ConfigError, OutcoreError
from outcore.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

FAILED, USAGE = 1, 2
_STOPPED_BY = 128


class _Stopped(BaseException):
    """The process was asked to end; carries the signal."""

    def __init__(self, number: int) -> None:
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1 failed, 2 usage, 3 incomplete answer."""
    args = _parser().parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup ignores SIGHUP for us, and a shell SIGINT for what it runs in the background.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        return int(args.run(args))
    except _Stopped as stopped:
        print("\nstopped", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        # A thread that downloads, hashes or indexes can't be interrupted, and Python would wait
        # for it. The reaper takes what is left.
        os._exit(_STOPPED_BY + stopped.number)
    except ConfigError as error:
        print(f"outcore: {error}", file=sys.stderr)
        return USAGE
    except OutcoreError as error:
        print(f"outcore: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _stop(number: int, frame: FrameType | None) -> None:
    del frame
    # What ends the run must not be interrupted in its turn.
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped(number)


def _parser() -> argparse.ArgumentParser:
    from outcore.models import commands as models

    parser = argparse.ArgumentParser(
        prog="outcore",
        description="Questions over text far larger than any context window, answered by models "
        "on this machine.",
    )
    parser.add_argument("--version", action="version", version=f"outcore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ask.add_parser(commands)
    models.add_parser(commands)
    memo.add_parser(commands)
    doctor.add_parser(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
