"""All attacks, family by family."""

from __future__ import annotations

import importlib
import platform
from pathlib import Path

from outcore.kernel_sandbox.attacks.programs.attack import Attack, registered

# In the order in which they are made: those that leave a kernel as it was come first.
FAMILIES = (
    *("files", "secrets", "network", "neighbours", "processes", "interfaces", "namespaces"),
    *("devices", "foreign", "persistence", "bridge", "messages"),
    *("memory", "storage", "crowds", "output", "endless"),
)
# What tries to use all there is of something; the others try to get at something.
EXHAUSTIONS = frozenset({"memory", "storage", "crowds", "output", "endless"})


def suite() -> tuple[Attack, ...]:
    """Every attack there is, in the order of `FAMILIES`."""
    for family in FAMILIES:
        importlib.import_module(f"outcore.kernel_sandbox.attacks.programs.{family}")
    return tuple(sorted(registered(), key=lambda one: FAMILIES.index(one.family)))


def unsuited(attack: Attack) -> str:
    """Why an attack can't be made on this machine at all; empty where it can."""
    if "x86_64" in attack.needs and platform.machine() != "x86_64":
        return f"it is made of instructions of x86_64, and this is {platform.machine()}"
    if "checkout" in attack.needs and _installed():
        return "outcore's code lies among the packages that a kernel needs"
    return ""


def _installed() -> bool:
    from outcore.kernel_sandbox.interpreter import Interpreter

    here = Path(__file__).resolve()
    return any(here.is_relative_to(folder) for folder in Interpreter.current().folders)
