"""Running tests as another user than the one who runs the tests.

Where that is root, the interpreter may lie in a folder that no one else may enter. It is laid
open in a mount namespace of the test's own, and nothing else of that folder is.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = os.geteuid() == 0
CHECKOUT = Path(__file__).resolve().parents[1]
# Set where the tests are run once more.
AGAIN = "OUTCORE_TESTS_AGAIN"
_ORDINARY = "setpriv --reuid=54321 --regid=54321 --clear-groups"


def command(folder: Path, argv: list[str], *, ordinary: bool, tier: str = "auto") -> list[str]:
    """`argv`, run where the interpreter and this checkout are open to all; only root can.

    Args:
        folder: an empty one that all may enter.
        argv: the command.
        ordinary: whether it is run as an ordinary user, not as root.
        tier: isolation that tests take which name none.
    """
    needed = [Path(sys.prefix), Path(sys.base_prefix).resolve(), CHECKOUT]
    script = ["set -e"]
    for number, one in enumerate(needed):
        closed = next((up for up in reversed(one.parents) if not up.stat().st_mode & 1), None)
        if closed is not None:
            script += _show(one, closed, folder / str(number))
    home = shlex.quote(str(folder))
    path = f"{shlex.quote(str(CHECKOUT))}:{shlex.quote(str(CHECKOUT / 'tests'))}"
    user = _ORDINARY if ordinary else ""
    variables = f'PATH="$PATH" HOME={home} OUTCORE_HOME={home}/home PYTHONPATH={path}'
    variables += f" {AGAIN}=1 OUTCORE_TESTS_TIER={tier}"
    script.append(f'exec {user} env -i {variables} "$@"')
    return ["unshare", "--mount", "sh", "-c", "\n".join(script), "sh", *argv]


def _show(one: Path, closed: Path, folder: Path) -> list[str]:
    """Shell commands that lay an open folder, with `one` in it, over the closed one above it."""
    real, held, over = shlex.quote(str(one)), folder, shlex.quote(str(closed))
    return [
        f"mkdir {held} && mount --bind {real} {held}",
        f"[ -e {over}/.open ] || {{ mount -t tmpfs -o mode=755 none {over}; touch {over}/.open; }}",
        f"mkdir -p {real} && mount --bind {held} {real}",
    ]


def run_again(file: str, *, ordinary: bool, tier: str = "auto", only: str = "") -> None:
    """Run the tests of a file once more, as an ordinary user or as root, and see them pass."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="o") as made:
        folder = Path(made)
        folder.chmod(0o777)
        argv = [sys.executable, "-P", "-m", "pytest", file, "-q", "-p", "no:cacheprovider"]
        argv += [f"--basetemp={folder}/t", "--rootdir", str(CHECKOUT)]
        argv += ["-k", only] if only else []
        done = subprocess.run(
            command(folder, argv, ordinary=ordinary, tier=tier),
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
            cwd=CHECKOUT,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
