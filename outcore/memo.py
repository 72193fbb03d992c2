"""`outcore memo stats | clear`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from outcore.config import home
from outcore.engine.batching.memo import Memo
from outcore.models.units import human

if TYPE_CHECKING:
    import argparse


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `memo` to the command line; `args.run(args)` gives the exit code."""
    parser = commands.add_parser("memo", help="answers remembered from earlier runs")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verb = verbs.add_parser("stats", help="print where they are, how many, and their size")
    verb.set_defaults(run=stats)
    verb = verbs.add_parser("clear", help="forget them all")
    verb.set_defaults(run=clear)


def stats(args: argparse.Namespace) -> int:
    """Print the memo's path, entries, size and cap.

    Raises:
        ConfigError: the memo can't be used.
    """
    _ = args
    path = home() / "memo.db"
    with contextlib.closing(Memo(path)) as memo:
        found = memo.stats()
    print(f"path     {path}")
    print(f"entries  {found.entries:,}")
    print(f"size     {human(found.bytes)}")
    print(f"cap      {human(found.cap)}")
    return 0


def clear(args: argparse.Namespace) -> int:
    """Empty the memo, and print how many entries went.

    Raises:
        ConfigError: the memo can't be used.
    """
    _ = args
    path = home() / "memo.db"
    with contextlib.closing(Memo(path)) as memo:
        gone = memo.clear()
    print(f"{gone:,} entries removed from {path}")
    return 0
