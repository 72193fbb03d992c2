"""Attacks from inside the sandbox, the conformance suite of every tier.

`suite()` are the attacks, `run()` makes them and judges each from the host's side where that
can be told, and from what a system call returned where it can't.
"""

from outcore.kernel_sandbox.attacks.programs.attack import Attack
from outcore.kernel_sandbox.attacks.report import as_dict, failure_lines, family_line, summary
from outcore.kernel_sandbox.attacks.runner import run
from outcore.kernel_sandbox.attacks.suite import EXHAUSTIONS, FAMILIES, suite
from outcore.kernel_sandbox.attacks.verdict import Control, Verdict

__all__ = [
    "EXHAUSTIONS",
    "FAMILIES",
    "Attack",
    "Control",
    "Verdict",
    "as_dict",
    "failure_lines",
    "family_line",
    "run",
    "suite",
    "summary",
]
