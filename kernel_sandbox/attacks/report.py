"""What an attack run came to, as lines and as JSON."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from outcore.kernel_sandbox.attacks.suite import EXHAUSTIONS, FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from outcore.kernel_sandbox.attacks.verdict import Verdict

_SHOWN = 300


def family_line(family: str, verdicts: Sequence[Verdict]) -> str:
    """What came of one family, counted."""
    outcomes = Counter(_outcome(one) for one in verdicts)
    proofs = Counter(one.control.proof for one in verdicts if one.control is not None)
    told = ", ".join(f"{count} {name}" for name, count in outcomes.items())
    good = all(one.held for one in verdicts)
    line = f"{'ok ' if good else 'BAD'}  {family:<12}  {len(verdicts):>3}: {told}"
    works, absent = proofs["works"], proofs["not here"]
    if works or absent:
        line += f"; outside of the sandbox {works} work"
        line += f", {absent} not on this host" if absent else ""
    return line


def failure_lines(verdict: Verdict) -> Iterator[str]:
    """What is to be told of an attack that did not come as it should, or that the tier lets by."""
    if verdict.lack:
        if verdict.outcome == "reached":
            yield f"     open: {verdict.attack.name}: {verdict.lack}"
        return
    if verdict.held:
        return
    control = verdict.control
    if control is not None and control.proof == "fails":
        yield (
            f"     UNPROVEN: {verdict.attack.name} should work outside of the sandbox and does "
            f"not, so that it proves nothing: {control.text[:_SHOWN]}"
        )
        return
    word = "NOT STOPPED" if verdict.outcome == "reached" else "NOT DECIDED"
    yield f"     {word}: {verdict.attack.name}: {verdict.text[:_SHOWN]}"
    yield f"     which means: {verdict.attack.meaning}"


def summary(tier: str, verdicts: Sequence[Verdict], seconds: float) -> str:
    """One line over all."""
    made = [one for one in verdicts if one.outcome != "not run"]
    exhaustions = sum(one.attack.family in EXHAUSTIONS for one in made)
    bad = sum(not one.held for one in verdicts)
    known = sum(one.outcome == "reached" and bool(one.lack) for one in verdicts)
    end = f"{bad} not as they should be" if bad else "all as they should be"
    end += f", {known} of them open in this tier" if known else ""
    return (
        f"{tier}: {len(made) - exhaustions} attempts and {exhaustions} exhaustions in "
        f"{seconds:.0f} s, {end}"
    )


def as_dict(tier: str, verdicts: Iterable[Verdict], seconds: float) -> dict[str, Any]:
    """All of it, as JSON."""
    found = list(verdicts)
    return {
        "tier": tier,
        "held": all(one.held for one in found),
        "seconds": round(seconds, 1),
        "families": {
            family: dict(Counter(_outcome(one) for one in found if one.attack.family == family))
            for family in FAMILIES
        },
        "attacks": [one.as_dict() for one in found],
    }


def _outcome(verdict: Verdict) -> str:
    if verdict.outcome == "reached" and verdict.attack.expected == "allowed":
        return "allowed"
    return verdict.outcome
