"""`outcore doctor --attack`: attacks on the sandbox of this machine, from inside."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from outcore.config import Tier
    from outcore.kernel_sandbox.attacks import Verdict


def attack(tier: Tier, *, as_json: bool) -> int:
    """Make all attacks and print what came of them; 0 if all came as they should, else 1.

    Raises:
        SandboxUnavailable: this machine can't isolate a kernel as asked.
    """
    # What attackers are refused is worth no line of a log here, and there are thousands.
    logging.getLogger("outcore.kernel_sandbox").setLevel(logging.CRITICAL)
    return asyncio.run(_attack(tier, as_json))


async def _attack(tier: Tier, as_json: bool) -> int:
    from outcore.kernel_sandbox import attacks, choose

    confinement = await asyncio.to_thread(choose, tier)
    started = time.monotonic()
    todo = Counter(one.family for one in attacks.suite())
    found: dict[str, list[Verdict]] = {}
    async for verdict in attacks.run(attacks.suite(), confinement.tier):
        family = verdict.attack.family
        found.setdefault(family, []).append(verdict)
        if len(found[family]) == todo[family]:
            # With --json standard output is for that alone.
            _show(family, found[family], sys.stderr if as_json else sys.stdout)
    seconds = time.monotonic() - started
    verdicts = [one for family in found.values() for one in family]
    if as_json:
        print(json.dumps(attacks.as_dict(confinement.tier, verdicts, seconds)))
    else:
        print(attacks.summary(confinement.tier, verdicts, seconds))
    return 0 if all(one.held for one in verdicts) else 1


def _show(family: str, verdicts: list[Verdict], file: TextIO) -> None:
    from outcore.kernel_sandbox import attacks

    print(attacks.family_line(family, verdicts), file=file, flush=True)
    for verdict in verdicts:
        for line in attacks.failure_lines(verdict):
            print(line, file=file, flush=True)
