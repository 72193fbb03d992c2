"""The attacks of `outcore doctor --attack`: that the sandbox stops them, as root and as an
ordinary user, and that one which gets through would be seen.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opened import AGAIN, ROOT, run_again

from outcore.kernel_sandbox import choose
from outcore.kernel_sandbox.attacks import (
    EXHAUSTIONS,
    FAMILIES,
    Attack,
    Control,
    Verdict,
    as_dict,
    failure_lines,
    family_line,
    run,
    suite,
    summary,
)
from outcore.kernel_sandbox.attacks import runner as attack_runner
from outcore.kernel_sandbox.inside import landlock

if TYPE_CHECKING:
    from outcore.config import Tier

PROGRAMS = Path(__file__).parents[1] / "kernel_sandbox" / "attacks" / "programs"
# What the host itself refuses, whoever it runs as and whatever the tier: these are made once.
THE_HOSTS = frozenset({"bridge", "messages", "output"})
# For all attacks with their controls, on a machine that is busy with other tests.
SECONDS = 1500


def named(*names: str) -> list[Attack]:
    return [one for one in suite() if one.name in names]


async def made(attacks: list[Attack], tier: Tier, *, controls: bool = False) -> list[Verdict]:
    return [verdict async for verdict in run(attacks, tier, controls=controls)]


def test_there_are_enough_of_them_and_each_is_told() -> None:
    attacks = suite()
    exhaustions = [one for one in attacks if one.family in EXHAUSTIONS]
    assert len(attacks) - len(exhaustions) >= 60
    assert len(exhaustions) >= 20
    assert {one.family for one in attacks} == set(FAMILIES)
    assert [name for name, count in Counter(one.name for one in attacks).items() if count > 1] == []
    for one in attacks:
        assert one.meaning.endswith("."), one.name
        assert one.expected == "contained" or one.family not in EXHAUSTIONS - {"endless"}, one.name


def test_they_need_nothing_that_is_not_there_inside() -> None:
    given = {"ipykernel", "IPython"}
    for file in PROGRAMS.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [str(node.module)]
            for name in names:
                top = name.split(".")[0]
                assert top in sys.stdlib_module_names | given, f"{file.name} imports {name}"


@pytest.mark.timeout(SECONDS)
def test_the_sandbox_stops_them_all(tmp_path: Path) -> None:
    """By the command itself, which a user runs; the controls show that each works elsewhere."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "outcore", "doctor", "--attack", "--json"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"OUTCORE_HOME": str(tmp_path / "home")},
    )
    assert done.stdout, done.stderr[-4000:]
    told: dict[str, Any] = json.loads(done.stdout)
    bad = [
        f"{one['name']}: {one['text']} {one['control']}"
        for one in told["attacks"]
        if not one["held"]
    ]
    assert bad == []
    assert done.returncode == 0
    assert told["tier"] == "bwrap"
    assert told["held"]
    assert len(told["attacks"]) == len(suite())
    assert [one["name"] for one in told["attacks"] if one["lack"]] == []
    proofs = Counter(one["control"]["proof"] for one in told["attacks"] if one["control"])
    if ROOT:
        assert proofs["works"] >= 100
    assert proofs["works"] >= 60


@pytest.mark.timeout(SECONDS)
@pytest.mark.skipif(ROOT and AGAIN not in os.environ, reason="run again below, by another user")
@pytest.mark.parametrize("tier", ["bwrap", "landlock"])
async def test_other_walls_stop_them_but_for_what_is_told(tier: Tier) -> None:
    if tier == "landlock" and not landlock.abi():
        pytest.skip("this Linux has no Landlock")
    lacks = {one.text for one in choose(tier).lacks}
    verdicts = await made([one for one in suite() if one.family not in THE_HOSTS], tier)
    assert [f"{one.attack.name}: {one.text}" for one in verdicts if not one.held] == []
    assert {one.lack for one in verdicts if one.lack} <= lacks


@pytest.mark.timeout(SECONDS)
@pytest.mark.skipif(not ROOT or AGAIN in os.environ, reason="only root can become another user")
@pytest.mark.parametrize(
    ("ordinary", "only"),
    [(True, "other_walls"), (False, "other_walls and landlock")],
    ids=["ordinary user", "root, behind Landlock alone"],
)
def test_other_users_and_walls_are_as_safe(ordinary: bool, only: str) -> None:
    run_again("tests/test_attacks.py", ordinary=ordinary, only=only)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tier `none` that does not say what it lacks, so that attacks are made in it."""
    monkeypatch.setattr(attack_runner, "lack_of", lambda *_: "")


async def test_what_gets_through_is_seen_from_the_host(blind: None) -> None:
    seen = {
        "secret_by_path": "the secret of the file was seen",
        "scratch_overwritten": "scratch was changed",
        "file_made_beside_it": "is left",
        "context_changed": "blob was changed",
        "command_lines": "the secret of the arguments was seen",
        "tcp_over_ipv4": "the host's IPv4 socket was reached",
        "name_server_asked": "the host's UDP socket was reached",
        "abstract_socket_of_the_host": "the host's abstract socket was reached",
        "key_of_another_kernel": "the secret of the second kernel's key was seen",
        "signal_sent": "a process of the host was signalled",
        "memory_read_as_a_file": "the secret of the memory was seen",
        "memory_written": "memory of a process of the host was changed",
        "daemon_left": "is left",
    }
    verdicts = await made(named(*seen), "none")
    assert len(verdicts) == len(seen)
    for verdict in verdicts:
        assert verdict.outcome == "reached", verdict
        assert seen[verdict.attack.name] in verdict.text, verdict
        assert not verdict.held


async def test_an_exhaustion_that_passes_its_bound_is_seen(
    blind: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attack_runner, "BOUND", 64 << 20)
    monkeypatch.setattr(attack_runner, "_TASKS", 1)
    (verdict,) = await made(named("memory_of_many_children"), "bwrap")
    assert verdict.outcome == "reached"
    assert "the bound" in verdict.text
    assert not verdict.held


async def test_an_attack_that_fails_by_itself_proves_nothing() -> None:
    (sound,) = named("secret_by_path")
    verdicts = await made([replace(sound, name="none_of_that_name")], "bwrap")
    assert [one.outcome for one in verdicts] == ["broke"]
    assert not verdicts[0].held


async def test_an_attack_that_works_nowhere_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "outcore.kernel_sandbox.attacks.scene.VARIABLE", "OUTCORE_A_VARIABLE_THAT_IS_NOT_SET"
    )
    (verdict,) = await made(named("environment"), "bwrap", controls=True)
    assert verdict.outcome == "stopped"
    assert verdict.control is not None
    assert verdict.control.proof == "fails"
    assert not verdict.held
    assert "UNPROVEN: environment" in "\n".join(failure_lines(verdict))


async def test_a_tier_without_a_sandbox_says_what_it_lacks() -> None:
    verdicts = await made(named("secret_by_path", "wrong_token", "crash"), "none")
    outcomes = {one.attack.name: one.outcome for one in verdicts}
    assert outcomes == {
        "secret_by_path": "not run",
        "wrong_token": "stopped",
        "crash": "contained",
    }
    assert verdicts[0].lack == "the code can read and write what the user can"


def test_what_is_printed() -> None:
    one, other = named("secret_by_path", "scratch_overwritten")
    good = Verdict(one, "stopped", "ENOENT", control=Control("works", "it was read"))
    bad = Verdict(other, "reached", "it was changed", control=Control("not here", "no root"))
    assert family_line("files", [good]).split() == [
        *("ok", "files", "1:", "1", "stopped;"),
        *("outside", "of", "the", "sandbox", "1", "work"),
    ]
    line = family_line("files", [good, bad])
    assert line.startswith("BAD  files")
    assert line.endswith(
        "2: 1 stopped, 1 reached; outside of the sandbox 1 work, 1 not on this host"
    )
    assert list(failure_lines(good)) == []
    assert list(failure_lines(bad)) == [
        "     NOT STOPPED: scratch_overwritten: it was changed",
        "     which means: Files of the host can be overwritten.",
    ]
    assert summary("bwrap", [good, bad], 2.4) == (
        "bwrap: 2 attempts and 0 exhaustions in 2 s, 1 not as they should be"
    )
    known = replace(bad, lack="a known hole")
    assert known.held
    assert "a known hole" in "\n".join(failure_lines(known))
    told = as_dict("bwrap", [good, bad], 2.4)
    assert not told["held"]
    assert told["families"]["files"] == {"stopped": 1, "reached": 1}
