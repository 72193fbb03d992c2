"""A whole engine that attends by groups answers what one without answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Once for all of them.
pytestmark = [pytest.mark.xdist_group("an engine by groups"), pytest.mark.timeout(600)]
SCRIPT = Path(__file__).with_name("engine_by_groups.py")


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """What `engine_by_groups.py` tells."""
    run = subprocess.run(
        [sys.executable, "-P", SCRIPT],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(SCRIPT.parent), *sys.path))},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-5_000:] + run.stderr[-5_000:]
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told


def test_both_answer_the_same(found: dict[str, Any]) -> None:
    assert len(found["plain"]) == len(found["by_groups"]) == 14
    for (tokens, sure), (same, as_sure) in zip(found["plain"], found["by_groups"], strict=True):
        assert len(set(tokens)) > 1
        assert same == tokens
        assert as_sure == pytest.approx(sure, abs=1e-3)


def test_steps_of_all_kinds_were_taken(found: dict[str, Any]) -> None:
    assert 0 < found["grouped"] < found["steps"]
    assert found["mixed"] > 0
    assert found["audited"] == found["grouped"]
    assert found["saved"] > 0.5


def test_an_engine_whose_kernels_are_wrong_ends(found: dict[str, Any]) -> None:
    assert "differed from FlashAttention's" in found["wrong"]
