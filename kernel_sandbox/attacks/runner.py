"""Makes the attacks, one after another, in kernels of one tier, and judges each."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psutil

from outcore.errors import SandboxError, SandboxUnavailable
from outcore.kernel_sandbox.attacks.canaries import Canaries
from outcore.kernel_sandbox.attacks.cell import cell
from outcore.kernel_sandbox.attacks.control import control
from outcore.kernel_sandbox.attacks.gauge import Gauge
from outcore.kernel_sandbox.attacks.known import lack_of
from outcore.kernel_sandbox.attacks.programs.attack import BROKE, REACHED, STOPPED
from outcore.kernel_sandbox.attacks.scene import Inside, Scene, end, still_running
from outcore.kernel_sandbox.attacks.suite import unsuited
from outcore.kernel_sandbox.attacks.verdict import Verdict
from outcore.kernel_sandbox.kernel import Kernel, KernelSpec
from outcore.kernel_sandbox.limits import MIB, Limits
from outcore.kernel_sandbox.tiers import Confinement, choose
from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from outcore.config import Tier
    from outcore.kernel_sandbox.attacks.programs.attack import Aim, Attack

# Small, so that whatever passes them shows before the machine is in need.
LIMITS = Limits(
    memory=1024 * MIB,
    total=640 * MIB,
    processes=128,
    tmp=64 * MIB,
    shm=32 * MIB,
    flood=4 * MIB,
    frame=4 * MIB,
    calls_bytes=32 * MIB,
    grace_seconds=1.0,
)
# What its processes can fill on a busy machine before the watchdog has looked and killed them.
_ROOM = 2560 * MIB
BOUND = LIMITS.total + _ROOM
# What the host process may grow by while it listens to one kernel.
HOST_BOUND = LIMITS.calls_bytes * 4 + 256 * MIB
# An exhaustion that is not stopped takes this much and no more.
_GOAL = BOUND + 512 * MIB
# bubblewrap has two of its own, and those that end are counted until they are gone.
_TASKS = LIMITS.processes + 32
# How long the host may be kept from its other work at a time, in seconds of its processor.
_STALL_SECONDS = 3.0
_CELL_SECONDS, _ANSWERS = 5.0, 8
# A kernel that is hung is killed, and a fresh one started.
_PATIENCE_SECONDS = 90.0
_LEFT_SECONDS = 5.0
# Their attacks leave a kernel that is not worth going on with.
_SPOILING = frozenset({"messages", "output", "endless"})


class _Host:
    """Answers the calls of attacked kernels, and remembers what it must not be asked."""

    async def __call__(self, op: str, params: dict[str, Any]) -> Any:
        if op == "answer":
            return {"missing": []}
        prompt = params.get("prompt")
        if op != "llm_query" or not isinstance(prompt, str):
            raise SandboxError(f"no such call: {op!r:.100}")
        if prompt.startswith("wait "):
            await asyncio.sleep(0.5)
        if prompt.startswith("sleep "):
            await asyncio.sleep(3)
        return f"re: {prompt}"


@dataclass
class _Stage:
    """The kernel that attacks are made in, replaced when one has spoilt it."""

    spec: KernelSpec
    kernel: Kernel | None = None
    inside: Inside | None = None

    async def ready(self) -> tuple[Kernel, Inside]:
        if self.kernel is None:
            self.kernel = await Kernel.start(self.spec, _Host())
            self.inside = None
        if self.inside is None:
            self.inside = await Inside.of(self.kernel)
        return self.kernel, self.inside

    async def close(self) -> None:
        kernel, self.kernel = self.kernel, None
        if kernel is not None:
            await kernel.close()


async def run(
    attacks: Sequence[Attack], tier: Tier, *, controls: bool = True
) -> AsyncIterator[Verdict]:
    """Make attacks in kernels of a tier; yields a verdict on each as it is reached.

    Args:
        controls: whether each is also made outside of the sandbox, where it is safe.

    Raises:
        SandboxUnavailable: this machine can't isolate a kernel as asked.
        SandboxError: a kernel can't be started any more.
    """
    confinement = await asyncio.to_thread(choose, tier)
    reaper()
    async with _scene(confinement) as scene:
        others = set(psutil.Process().children(recursive=True))
        stage = _Stage(_spec(scene, confinement))
        try:
            for attack in attacks:
                verdict = await _one(attack, stage, scene, confinement, others)
                if controls and verdict.outcome != "not run":
                    verdict = replace(verdict, control=await control(attack, scene.aim(), scene))
                yield verdict
        finally:
            await stage.close()


def _spec(scene: Scene, confinement: Confinement) -> KernelSpec:
    return KernelSpec(
        context=scene.canaries.context,
        tier=confinement.tier,
        limits=LIMITS,
        hints={"speculate": False},
    )


@asynccontextmanager
async def _scene(confinement: Confinement) -> AsyncIterator[Scene]:
    """Canaries, and a second kernel with a secret, a file and a process of its own."""
    canaries = await Canaries.plant()
    try:
        scene = Scene(canaries)
        async with await Kernel.start(_spec(scene, confinement), _Host()) as second:
            told = await second.run(_mate(scene), seconds=20)
            if told.status != "ok":
                raise SandboxError(f"the second kernel can't be set up: {told.error}")
            scene.neighbour(second)
            yield scene
    finally:
        await canaries.remove()


def _mate(scene: Scene) -> str:
    secret = scene.canaries.secrets["mate"]
    return (
        "import os, signal, subprocess, sys\n"
        f"secret = {secret!r}\nsignals = []\n"
        "signal.signal(signal.SIGURG, lambda number, _: signals.append(number))\n"
        f"open(os.environ['TMPDIR'] + '/{scene.mates}', 'w').write(secret)\n"
        f"mate = subprocess.Popen([sys.executable, '-I', '-S', '-c', 'import time; "
        f"time.sleep(3600)', {scene.mates!r}])"
    )


async def _one(
    attack: Attack,
    stage: _Stage,
    scene: Scene,
    confinement: Confinement,
    others: set[psutil.Process],
) -> Verdict:
    started = time.monotonic()
    why = unsuited(attack)
    if why:
        return Verdict(attack, "not run", why)
    lack = lack_of(attack, confinement)
    if lack and confinement.tier == "none":
        return Verdict(attack, "not run", "this tier makes no promise", lack=lack)
    if attack.fresh:
        await stage.close()
    kernel, inside = await stage.ready()
    aim = scene.aim(kernel, inside, _GOAL)
    folder = kernel.folder
    if attack.expected == "contained":
        async with Gauge(others) as gauge:
            said, problems = await _made(attack, aim, stage)
        problems += _overrun(gauge)
    else:
        said, problems = await _made(attack, aim, stage)
    if attack.fresh:
        await stage.close()
        problems += await _left(aim, str(folder))
    problems += [*scene.seen(said), *await scene.canaries.harm(), *scene.left(aim.mark)]
    if attack.family == "neighbours":
        problems += await scene.neighbours_harm()
    verdict = _judged(attack, aim, said, problems)
    if verdict.outcome == "reached" and attack.expected != "allowed":
        verdict = replace(verdict, lack=lack)
    return replace(verdict, seconds=time.monotonic() - started)


async def _made(attack: Attack, aim: Aim, stage: _Stage) -> tuple[str, list[str]]:
    """Run the cell, and see that the kernel or the one after it runs another."""
    assert stage.kernel is not None
    kernel = stage.kernel
    try:
        async with asyncio.timeout(attack.seconds + _PATIENCE_SECONDS):
            result = await kernel.run(cell(attack, aim), seconds=attack.seconds)
            said = f"{result.output}\n[{result.status}: {result.error or 'no error'}]"
            problems = await _answers(kernel)
    except TimeoutError:
        await stage.close()
        return "", [f"the host did not get the kernel back in {_PATIENCE_SECONDS:g} s"]
    except (SandboxError, SandboxUnavailable) as error:
        await stage.close()
        return "", [f"no kernel can be started after it: {error}"]
    if f"{aim.mark} reached the next kernel" in said:
        problems.append("the next kernel ran what was left")
    if attack.family in _SPOILING and result.status != "killed":
        await stage.close()
    stage.inside = None
    return said, problems


async def _answers(kernel: Kernel) -> list[str]:
    """Ask the kernel until it answers as it should: what was forged for the next cells is gone
    after a few.
    """
    for number in range(_ANSWERS):
        word = os.urandom(8).hex()
        result = await kernel.run(f"print({word!r})", seconds=_CELL_SECONDS)
        if word in result.output:
            return []
        if number:
            await asyncio.sleep(0.2)
    return [f"no cell after it was answered, of {_ANSWERS}"]


async def _left(aim: Aim, folder: str) -> list[str]:
    until = time.monotonic() + _LEFT_SECONDS
    running = still_running(aim.mark)
    while running and time.monotonic() < until:
        await asyncio.sleep(0.1)
        running = still_running(aim.mark)
    found = end(running)
    if os.path.exists(folder):  # noqa: ASYNC240, PTH110 - one look
        found.append(f"{folder} is left")
    return found


def _overrun(gauge: Gauge) -> list[str]:
    found = []
    if gauge.kernel > BOUND:
        found.append(f"the kernel took {_mib(gauge.kernel)}; {_mib(BOUND)} is the bound")
    elif gauge.linux > BOUND:
        found.append(f"Linux' own memory grew by {_mib(gauge.linux)}; {_mib(BOUND)} is the bound")
    if gauge.tasks > _TASKS:
        found.append(f"it had {gauge.tasks} processes and threads; {_TASKS} is the bound")
    if gauge.host > HOST_BOUND:
        found.append(f"the host grew by {_mib(gauge.host)}; {_mib(HOST_BOUND)} is the bound")
    if gauge.stall > _STALL_SECONDS:
        found.append(f"the host did nothing else for {gauge.stall:.1f} s")
    return found


def _mib(size: int) -> str:
    return f"{size // MIB:,} MiB"


def _judged(attack: Attack, aim: Aim, said: str, problems: Iterable[str]) -> Verdict:
    seen = "; ".join(problems)
    line = next((one for one in said.splitlines() if one.startswith(aim.mark)), "")
    told = line.removeprefix(f"{aim.mark} ").strip()
    ending = said.rpartition("\n")[2][:300]
    if seen:
        return Verdict(attack, "reached", f"{seen} ({told or ending})")
    if told.startswith(BROKE):
        return Verdict(attack, "broke", told)
    if attack.expected == "contained":
        return Verdict(attack, "contained", f"{told} {ending}".strip())
    if told.startswith(REACHED):
        return Verdict(attack, "reached", told)
    if told.startswith(STOPPED):
        return Verdict(attack, "stopped", told.removeprefix(STOPPED).strip())
    if "[killed" in ending:
        return Verdict(attack, "stopped", ending)
    return Verdict(attack, "broke", ending)
