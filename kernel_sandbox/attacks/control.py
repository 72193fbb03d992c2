"""Attacks outside of any sandbox, as the host's own user: there they have to work.

Nothing of it harms the machine: what would be written is written to stand-ins, what would
restart or reset something is asked for with arguments that can't succeed, and what can't be
tried without harm isn't.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING

from outcore.kernel_sandbox.attacks.cell import cell
from outcore.kernel_sandbox.attacks.programs.attack import REACHED, STOPPED
from outcore.kernel_sandbox.attacks.scene import end, still_running
from outcore.kernel_sandbox.attacks.verdict import Control

if TYPE_CHECKING:
    from outcore.kernel_sandbox.attacks.programs.attack import Aim, Attack
    from outcore.kernel_sandbox.attacks.scene import Scene

_SECONDS = 20.0


async def control(attack: Attack, aim: Aim, scene: Scene) -> Control:
    """Make an attack in a plain process, and see what it does there."""
    if attack.control or "kernel" in attack.needs:
        return Control("not run", attack.control or "it works in a kernel alone")
    said = await _run(cell(attack, aim))
    found = [*scene.seen(said), *await scene.canaries.harm()]
    if attack.fresh:
        found += end(still_running(aim.mark))
    found += scene.left(aim.mark)
    if found:
        return Control("works", "; ".join(found))
    line = next((one for one in said.splitlines() if one.startswith(aim.mark)), said[-300:])
    told = line.removeprefix(f"{aim.mark} ")
    if told.startswith(REACHED):
        return Control("works", told)
    if told.startswith(STOPPED):
        if "root" in attack.needs and os.geteuid() != 0:
            return Control("not here", f"{told}: it takes root")
        if attack.doubt:
            return Control("not here", f"{told}: {attack.doubt}")
    return Control("fails", told)


async def _run(code: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", "import sys; exec(sys.stdin.read())"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        cwd="/",
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(code.encode()), _SECONDS)
        return said.decode("utf-8", "replace")
    except TimeoutError:
        return f"nothing within {_SECONDS:g} s"
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
