"""`outcore ask`: one question over files, from the shell."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from outcore import settings
from outcore.config import Budget, DirectMode, RootMode, Settings, Tier
from outcore.live import LiveLine
from outcore.terminal import commands, shown

if TYPE_CHECKING:
    import argparse

    from outcore.engine.rlm import Completion

ANSWERED, INCOMPLETE = 0, 3
_SHOWN_CHARS = 300


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `ask` to the command line; `args.run(args)` gives the exit code."""
    budget = Budget()
    parser = commands.add_parser(
        "ask",
        help="answer a question over files and folders",
        description="Answer a question over files and folders. The answer goes to stdout, "
        "progress to stderr. Exit code: 0 answered, 1 failed, 2 usage, 3 incomplete.",
    )
    parser.add_argument("question")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
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
    parser.set_defaults(run=ask)


_FLAGS = (
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


def ask(args: argparse.Namespace) -> int:
    """Put the question and print the answer."""
    from outcore.engine.rlm import RLM
    from outcore.models.progress import on_stderr

    chosen = settings.load({name: getattr(args, name) for name in _FLAGS})
    context = args.paths[0] if len(args.paths) == 1 else args.paths
    rlm = RLM(settings=chosen, progress=on_stderr())
    try:
        with LiveLine(lambda: rlm.status):
            completion = rlm.completion(context, args.question)
    finally:
        rlm.close()
    if args.json:
        print(as_json(completion))
    else:
        show(completion)
    return ANSWERED if completion.complete else INCOMPLETE


def as_json(completion: Completion) -> str:
    """The whole result, with \\u escapes where stdout could not be given its characters.

    A terminal is given no control characters.
    """
    values = completion.as_dict()
    text = json.dumps(values, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(values, indent=2)
    # JSON escapes those of ASCII alone.
    if sys.stdout.isatty() and commands(text):
        return json.dumps(values, indent=2).replace("\x7f", "\\u007f")
    return text


def show(completion: Completion) -> None:
    """Print the answer on stdout, and what stands behind it on stderr."""
    print(shown(completion.answer, sys.stdout))
    sys.stdout.flush()
    lines = [""]
    for citation in completion.citations:
        text = " ".join(citation.text.split())
        cut = text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + " ..."
        lines.append(f"{citation.document} @ {citation.offset:,}: {cut}")
    if completion.reason:
        lines.append(f"incomplete: {completion.reason}")
    calls = completion.usage["sub"].calls
    lines.append(
        f"{completion.turns} turns, {calls} sub-calls, {completion.seconds:.0f} s, "
        f"sandbox {completion.sandbox}"
    )
    if completion.sandbox_warning:
        lines.append(f"WARNING: {completion.sandbox_warning}")
    lines.append(f"trajectory: {completion.run_dir}")
    if completion.record_error:
        lines.append(f"the trajectory is not whole: {completion.record_error}")
    print(shown("\n".join(lines), sys.stderr), file=sys.stderr)
