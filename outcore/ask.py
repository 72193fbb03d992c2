"""`outcore ask`: one question over files, from the shell."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from outcore import flags, settings
from outcore.live import LiveLine
from outcore.terminal import commands, shown

if TYPE_CHECKING:
    import argparse

    from outcore.engine.rlm import Completion

ANSWERED, INCOMPLETE = 0, 3
_SHOWN_CHARS = 300


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `ask` to the command line; `args.run(args)` gives the exit code."""
    parser = commands.add_parser(
        "ask",
        help="answer a question over files and folders",
        description="Answer a question over files and folders. The answer goes to stdout, "
        "progress to stderr. Exit code: 0 answered, 1 failed, 2 usage, 3 incomplete.",
    )
    parser.add_argument("question")
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument("--json", action="store_true", help="print the whole result as JSON")
    flags.add(parser)
    parser.set_defaults(run=ask)


def ask(args: argparse.Namespace) -> int:
    """Put the question and print the answer."""
    from outcore.engine.rlm import RLM
    from outcore.models.progress import on_stderr

    chosen = settings.load(flags.given(args))
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
