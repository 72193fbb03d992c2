"""What the log of an engine tells of its end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# The last line of a traceback, before which vLLM may print what process and module it is of.
_CAUSE = re.compile(
    r"(?:\(\w+ pid=\d+\) )?(?:[A-Z]+ [\d :.-]+\[[^\]]*\] )?((?:\w+\.)*\w*(?:Error|Exception)\b.*)"
)
_CAUSE_CHARS = 600
_TAIL_BYTES = 1 << 20


def cause(log: Path) -> str:
    """The last exception in a log, in its own words; empty where there is none, or no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    causes = [found[1] for line in lines if (found := _CAUSE.match(line))]
    return causes[-1][:_CAUSE_CHARS] if causes else ""
