"""The command line with the default weights, as a user runs it: answers, stops, is killed."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest
from leftovers import Command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

NEEDLE = "The name of the guide's youngest camel is Zephyrine."
QUESTION = "What is the name of the guide's youngest camel?"
# A root that writes its first program itself takes seconds for its first turn; a plan for such a
# question takes none.
CODE = ("--root-mode", "code")
# Fetching the default weights, converting them and starting both models, all of it slow.
UP_SECONDS = 600


@pytest.fixture
def haystack(tmp_path: Path, noise: str) -> Path:
    path = tmp_path / "caravan.txt"
    middle = noise.index("\n", len(noise) // 2) + 1
    path.write_text(f"{noise[:middle]}{NEEDLE}\n{noise[middle:]}\n", encoding="utf-8")
    assert path.stat().st_size > 1_000_000
    return path


def test_needle_in_a_megabyte(tmp_path: Path, haystack: Path) -> None:
    runs = tmp_path / "runs"
    command = Command(
        ["ask", QUESTION, str(haystack), "--json", "--no-memo", "--runs", str(runs), *CODE],
        tmp_path / "tmp",
    )
    out, err = command.process.communicate(timeout=UP_SECONDS)
    assert command.process.returncode == 0, err
    result = json.loads(out)
    assert "Zephyrine" in result["answer"]
    assert result["complete"] is True
    [citation] = result["citations"]
    assert citation["document"] == "caravan.txt"
    assert citation["text"] == NEEDLE
    assert haystack.read_text(encoding="utf-8")[citation["offset"] :].startswith(NEEDLE)
    for role in ("root", "sub"):
        assert set(result["usage"][role]) >= {"calls", "tokens_in", "tokens_cached", "tokens_out"}
    assert result["usage"]["root"]["calls"] >= result["turns"] > 0
    assert result["usage"]["root"]["tokens_cached"] > 0
    assert result["seconds"] > 0
    assert result["run_dir"].startswith(str(runs))
    assert result["sandbox"] == "bwrap"
    assert "turn 1" in err
    command.nothing_left_within(3)


def test_interrupt_ends_everything_within_two_seconds(tmp_path: Path, haystack: Path) -> None:
    command = Command(["ask", QUESTION, str(haystack), "--no-memo", *CODE], tmp_path / "tmp")
    command.wait_for("working · turn 1", UP_SECONDS)
    asked = time.monotonic()
    command.process.send_signal(signal.SIGINT)
    command.process.communicate(timeout=10)
    assert time.monotonic() - asked < 2
    assert command.process.returncode == 128 + signal.SIGINT
    command.nothing_left_within(1)


def test_interrupt_while_the_models_start(tmp_path: Path, haystack: Path) -> None:
    command = Command(["ask", QUESTION, str(haystack), "--no-memo"], tmp_path / "tmp")
    command.wait_for("starting qwen", UP_SECONDS)
    time.sleep(3)
    command.process.send_signal(signal.SIGTERM)
    command.process.communicate(timeout=10)
    assert command.process.returncode == 128 + signal.SIGTERM
    command.nothing_left_within(2)


def test_kill_of_the_host_leaves_nothing(tmp_path: Path, haystack: Path) -> None:
    command = Command(["ask", QUESTION, str(haystack), "--no-memo", *CODE], tmp_path / "tmp")
    command.wait_for("working · turn 1", UP_SECONDS)
    command.process.kill()
    command.process.communicate(timeout=10)
    command.nothing_left_within(5)
