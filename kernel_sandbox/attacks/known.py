"""Which attacks a tier lets by, by what it says that it lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outcore.kernel_sandbox.attacks.programs.attack import Attack
    from outcore.kernel_sandbox.tiers import Confinement

# Name of a lack (`kernel_sandbox/lacks.py`): the attacks, or whole families, it explains.
_EXPLAINED: dict[str, frozenset[str]] = {
    "signals": frozenset({"everyone_signalled", "signal_sent", "signal_sent_by_pidfd"}),
    # Counted ten times a second, so that a bomb has gone off before it is put out.
    "same-user": frozenset({"children", "fork_bomb", "threads", "zombies"}),
    "files": frozenset({"files", "secrets", "neighbours", "devices", "persistence"}),
    "network": frozenset({"network"}),
    "processes": frozenset({"processes"}),
    "kernel": frozenset({"interfaces", "namespaces", "foreign"}),
    "disk": frozenset({"memory", "storage", "crowds"}),
}


def lack_of(attack: Attack, confinement: Confinement) -> str:
    """What the tier lacks that lets this attack by; empty where it has to stop it."""
    for lack in confinement.lacks:
        explained = _EXPLAINED.get(lack.name, frozenset())
        if lack.open and (attack.name in explained or attack.family in explained):
            return lack.text
    return ""
