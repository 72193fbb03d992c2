"""Nothing of the host's own reaches the kernel: canaries laid everywhere, sought from inside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from sandboxing import stage

from outcore.config import Tier
from outcore.errors import SandboxUnavailable
from outcore.kernel_sandbox import tiers

HOST = Path(__file__).with_name("secret_host.py")
CANARY = "CANARY-" + "5ec2e7" * 5
ISOLATING = [one for one in get_args(Tier) if one not in ("auto", "none")]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A user's home with a secret in every usual place."""
    folder = tmp_path / "home-of-a-user"
    for name in (
        ".ssh/id_ed25519",
        ".netrc",
        ".aws/credentials",
        ".bash_history",
        ".gitconfig",
        ".config/secret",
        ".cache/outcore/memo.db",
        ".cache/outcore/runs/another/trajectory.jsonl",
        ".jupyter/jupyter_server_config.py",
        ".ipython/profile_default/startup/00.py",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {CANARY}\n")
    return folder


def seen_inside(tier: str, home: Path, folder: Path) -> dict[str, Any]:
    """What the code in a kernel finds, whose host has the canary wherever a host can have it."""
    held = os.open(home / ".netrc", os.O_RDONLY)
    left, right = os.pipe()
    os.write(right, CANARY.encode())
    for fd in (held, left, right):
        os.set_inheritable(fd, True)
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "OUTCORE_HOME": str(home / ".cache/outcore"),
        "OUTCORE_API_KEY": CANARY,
        "OUTCORE_ROOT_API_KEY": CANARY,
        "OUTCORE_SUB_API_KEY": CANARY,
        "AWS_SECRET_ACCESS_KEY": CANARY,
        "LD_LIBRARY_PATH": f"/{CANARY}",
        "PYTHONSTARTUP": f"/{CANARY}",
        "IPYTHONDIR": str(home / ".ipython"),
        "JUPYTER_CONFIG_DIR": str(home / ".jupyter"),
        CANARY.replace("-", "_"): "a name",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(HOST), str(stage(folder / "context")), tier, CANARY],
            env=environment,
            pass_fds=(held, left, right),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    finally:
        for fd in (held, left, right):
            os.close(fd)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("tier", ISOLATING)
def test_no_canary_of_the_host_is_found_from_inside(tier: Tier, home: Path, tmp_path: Path) -> None:
    try:
        tiers.choose(tier)
    except SandboxUnavailable as error:
        pytest.skip(f"this machine lacks it: {error}")
    found = seen_inside(tier, home, tmp_path)
    assert found["tier"] == tier
    # The search itself works: it finds a canary of the cell's own.
    assert found["own"]
    assert found["environment"] == []
    assert found["processes"] == []
    assert found["descriptors"] == []
    assert found["files"] == []
    assert found["memory"] == []
    assert found["working_folder"] == "/tmp"
    assert found["looked"]["files"] > 10
    assert found["looked"]["memory"] > 1 << 20


def test_without_a_sandbox_nothing_is_handed_over_either(home: Path, tmp_path: Path) -> None:
    """`none` keeps no code from looking around; what it is started with is as clean."""
    found = seen_inside("none", home, tmp_path)
    assert found["tier"] == "none"
    assert found["environment"] == []
    assert found["descriptors"] == []
    assert found["memory"] == []
