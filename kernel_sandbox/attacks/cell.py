"""The text of the cell that makes an attack."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outcore.kernel_sandbox.attacks.programs.attack import Aim, Attack

_PROGRAMS = Path(__file__).parent / "programs"
# What the families import, each after what it imports itself.
_SHARED = ("attack", "machine", "line")


def cell(attack: Attack, aim: Aim) -> str:
    """Plain Python that makes `attack` and prints what came of it; it needs nothing else."""
    texts = {name: _text(name) for name in (*_SHARED, attack.family)}
    source = (
        f"{_text('loader')}\n\n"
        f"_one = load({texts!r})\n"
        f"_how = _one['attack']\n"
        f"_how.perform(_one[{attack.family!r}].{attack.name}, _how.Aim(**{asdict(aim)!r}))\n"
    )
    # In a namespace of its own, so that the kernel has no variables of it to keep.
    return f"exec({source!r}, {{'__name__': 'attack'}})"


def _text(name: str) -> str:
    return (_PROGRAMS / f"{name}.py").read_text("utf-8")
