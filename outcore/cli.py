"""The command line: `outcore ask | batch | models | memo | doctor`."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING

from outcore import ask, batch, doctor, memo
from outcore.errors import ConfigError, OutcoreError
from outcore.signals import STOPPED_BY, Signals
from outcore.terminal import shown
from outcore.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED, USAGE = 1, 2
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    0; 1 failed; 2 usage; 3 incomplete answer; 4 some questions of a batch failed. Stopped by a
    signal, the process ends here with 128 and its number.
    """
    args = _parsed(arguments)
    signals = Signals()
    try:
        signals.watch()
        code = _run(args)
        signals.over = True
    except BaseException:
        # `Stopped`, or what Python makes of it in some places, as where a class sets its names.
        if not signals.number:
            raise
        with contextlib.suppress(OSError):
            print("\nstopped", file=sys.stderr, flush=True)
            sys.stdout.flush()
        # A thread that downloads, hashes or indexes can't be interrupted, and Python would wait
        # for it. The reaper takes what is left.
        os._exit(STOPPED_BY + signals.number)
    if arguments is not None:
        # The process is another's and goes on.
        signals.release()
    return code


def _run(args: argparse.Namespace) -> int:
    try:
        code = int(args.run(args))
        sys.stdout.flush()
    except ConfigError as error:
        print(shown(f"outcore: {error}", sys.stderr), file=sys.stderr)
        return USAGE
    except OutcoreError as error:
        print(shown(f"outcore: {error}", sys.stderr), file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain once more while it exits.
        _drop_output()
        return FAILED
    except OSError as error:
        # What is written to by name says so: this is standard output.
        if error.errno not in _FULL or error.filename is not None:
            raise
        print(
            f"outcore: the output can't be written: {error.strerror}; make room where it goes",
            file=sys.stderr,
        )
        _drop_output()
        return FAILED
    return code


def _drop_output() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; where it is wrong, the usage of the command that was meant is shown."""
    from outcore.models import commands as models

    parser = argparse.ArgumentParser(
        prog="outcore",
        description="Questions over text far larger than any context window, answered by models "
        "on this machine.",
    )
    parser.add_argument("--version", action="version", version=f"outcore {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ask.add_parser(commands)
    batch.add_parser(commands)
    models.add_parser(commands)
    memo.add_parser(commands)
    doctor.add_parser(commands)
    args, unknown = parser.parse_known_args(arguments)
    if unknown:
        commands.choices[args.command].error(f"unrecognized arguments: {' '.join(unknown)}")
    return args


if __name__ == "__main__":
    sys.exit(main())
