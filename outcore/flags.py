"""Flags that say how questions are answered, alike for every command that puts some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from outcore.config import Budget, DirectMode, RootMode, Settings, Tier

if TYPE_CHECKING:
    import argparse

_NAMES = (
    "root",
    "sub",
    "profile",
    "root_mode",
    "direct",
    "sandbox",
    "encoding",
    "memo",
    "speculate",
    "shared_prefix",
    "depth",
    "kernels",
    "runs",
    "turns",
    "calls",
    "tokens",
    "seconds",
)


def add(parser: argparse.ArgumentParser) -> None:
    """Add them to a command."""
    budget = Budget()
    parser.add_argument("--root", help="root model: name, folder, hub id or http:// address")
    parser.add_argument("--sub", help="sub-LM: name, folder, hub id or http:// address")
    parser.add_argument("--profile", help="prompt profile of the root")
    parser.add_argument(
        "--root-mode",
        choices=get_args(RootMode),
        help="the root writes code from the start, or fills in a plan first (by its profile)",
    )
    parser.add_argument("--direct", choices=get_args(DirectMode), help="answer without a kernel")
    parser.add_argument("--sandbox", choices=get_args(Tier), help="isolation of the root's code")
    parser.add_argument("--encoding", help="encoding of the files (utf-8)")
    for name, help_text in (
        ("memo", "remember no replies, and use none remembered"),
        ("speculate", "no dry run of cells to foresee their sub-calls"),
    ):
        parser.add_argument(
            f"--no-{name}", dest=name, action="store_const", const=False, help=help_text
        )
    for flag, value, help_text in (
        ("--shared-prefix", True, "on a GPU, read a slice of many questions once for all of them"),
        ("--no-shared-prefix", False, "attend as vLLM does"),
    ):
        parser.add_argument(
            flag, dest="shared_prefix", action="store_const", const=value, help=help_text
        )
    for name, help_text in (
        ("depth", "levels of child runs (rlm_query) below the root's run"),
        ("kernels", "child runs that have a kernel at once, on each level"),
    ):
        default = getattr(Settings(), name)
        parser.add_argument(f"--{name}", type=int, metavar="N", help=f"{help_text} ({default})")
    parser.add_argument("--runs", type=Path, help="folder for the records of runs")
    for name, help_text in (
        ("turns", "most replies of the root"),
        ("calls", "most sub-calls"),
        ("tokens", "most tokens computed"),
        ("seconds", "most seconds"),
    ):
        default = getattr(budget, name)
        parser.add_argument(
            f"--{name}", type=type(default), metavar="N", help=f"{help_text} ({default:,.0f})"
        )


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The settings that flags give, by name; None where one is not given."""
    return {name: getattr(args, name) for name in _NAMES}
