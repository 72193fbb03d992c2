"""The host is interrupted, ended and killed at any moment; models are played, all else is real."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fault_host import Script
from leftovers import Command, paths

from outcore.engine.batching.memo_entry import decode
from outcore.engine.trajectory import read
from outcore.kernel_sandbox.session import sessions_folder
from outcore.reaper import owner, remove, sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(600)

SEED = 20_260_731
MOMENTS = 20
# The reaper and bubblewrap do it at once; the rest is for a busy machine.
GONE_SECONDS = 30.0
# Ending takes a fraction of a second; the process sees to it that it is never more than ten.
ENDED_SECONDS = 10.0
QUESTION = "What is the digest of all of it?"
TEXT = "".join(f"Line {n}: nothing happens here, but the keeper waits.\n" for n in range(4_000))
# One passage alone fits the search: of equal ones another index may put others first.
TEXT += "The lighthouse stands on Vardo.\n"
# A search, a plain loop with its dry run, a batch, a child run: a bit of everything.
CELLS = [
    "print(search('lighthouse'))",
    "notes = []\n"
    "for n in range(6):\n"
    "    notes.append(llm_query(f'What of part {n}?', text=context[n * 60 : n * 60 + 60]))\n"
    "print(len(notes))",
    "more = llm_query_batched([f'And {n}?' for n in range(6)])\n"
    "child = rlm_query('What is it about?', context[:500])\n"
    "print(child)",
    "import hashlib\ndone(hashlib.sha256('|'.join([*notes, *more, child]).encode()).hexdigest())",
]


@dataclass(frozen=True)
class Rig:
    """One home, and the one command that is run there."""

    folder: Path
    script: Script

    @classmethod
    def make(cls, folder: Path, **changes: Any) -> Rig:
        folder.mkdir(parents=True)
        (folder / "context.txt").write_text(TEXT, encoding="utf-8")
        settings: dict[str, Any] = {"cells": CELLS, "root_seconds": 0.4, "sub_seconds": 0.2}
        settings |= changes
        script = Script(log=str(folder / "made.jsonl"), **settings)
        script.write(folder / "script.json")
        return cls(folder, script)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start(self, *more: str) -> Command:
        return Command(
            ["ask", QUESTION, str(self.folder / "context.txt"), "--json", *more],
            self.folder / f"tmp-{time.monotonic_ns()}",
            program=(
                str(Path(__file__).with_name("fault_host.py")),
                str(self.folder / "script.json"),
            ),
            home=self.home,
        )

    def answer(self, *more: str) -> dict[str, Any]:
        command = self.start(*more)
        out, err = command.process.communicate(timeout=120)
        assert command.process.returncode == 0, err
        command.nothing_left_within(GONE_SECONDS)
        return dict(json.loads(out))

    def remembered(self) -> set[str]:
        """The replies that are in the memo."""
        path = self.home / "memo.db"
        if not path.exists():
            return set()
        with sqlite3.connect(path) as database:
            try:
                rows = database.execute("SELECT key, value FROM entry").fetchall()
            except sqlite3.OperationalError:  # killed before it had a table
                return set()
            finally:
                database.rollback()
        database.close()
        found = [decode(key, value) for key, value in rows]
        assert None not in found
        return {one.text for one in found if one is not None}

    def ends(self) -> list[dict[str, Any] | None]:
        """The last event of each run's record; None where it is no end."""
        lasts = []
        for folder in sorted((self.home / "runs").glob("*")):
            [*events] = read(folder)
            ended = bool(events) and events[-1]["event"] == "end"
            lasts.append(events[-1] if ended else None)
        return lasts


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str], float]]:
    """The answer of a run that nothing happens to, what was generated for it, and its seconds."""
    rig = Rig.make(tmp_path_factory.mktemp("reference") / "rig")
    began = time.monotonic()
    result = rig.answer()
    assert result["complete"]
    made = rig.script.made()
    assert len(made) == len(set(made)) == len(CELLS) + 13
    yield result["answer"], made, time.monotonic() - began
    shutil.rmtree(rig.folder)


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.exists() else []


def killed_and_asked_again(rig: Rig, moment: float) -> tuple[str, list[str], set[str], int]:
    """Kill a run at a moment, counted in generations, and ask again.

    Returns the second run's answer, what it generated, what the memo held at the kill, and how
    many generations the first run had made.
    """
    command = rig.start()
    log = Path(rig.script.log)
    while command.process.poll() is None and len(lines_of(log)) < int(moment):
        time.sleep(0.005)
    # Between two of them, or between the start and the first.
    time.sleep(moment % 1 * 0.4)
    command.kill()
    command.nothing_left_within(GONE_SECONDS)
    before, held = len(rig.script.made()), rig.remembered()
    answer = rig.answer()["answer"]
    return answer, rig.script.made()[before:], held, before


def test_killed_at_random_moments_it_answers_the_same_and_pays_once(
    tmp_path: Path, reference: tuple[str, list[str], float]
) -> None:
    expected, made, _ = reference
    chance = random.Random(SEED)
    # One in each twentieth of the run, wherever in it.
    moments = [(n + chance.random()) * (len(made) + 1) / MOMENTS for n in range(MOMENTS)]
    rigs = [Rig.make(tmp_path / str(n)) for n in range(MOMENTS)]
    with ThreadPoolExecutor(2) as threads:
        outcomes = list(threads.map(killed_and_asked_again, rigs, moments))
    depths = []
    for moment, (answer, again, held, before) in zip(moments, outcomes, strict=True):
        told = f"killed at {moment:.2f}, {before} generations made, {len(held)} remembered"
        assert answer == expected, told
        # What was remembered is not made again, and nothing is made that was not needed.
        assert not held & set(again), told
        assert held | set(again) == set(made), told
        # A reply is remembered as soon as it is there: of those that were made, what the writing
        # thread had in hand was lost, and no more than one batch of them.
        assert before - len(held) <= 7, told
        depths.append(before)
    # They fell everywhere: before the first generation, among them, and near their end.
    assert min(depths) == 0
    assert len({depth for depth in depths if 0 < depth < len(made)}) >= 3


def test_a_kill_while_the_reaper_is_dead_too_is_cleared_away_by_the_next_start(
    tmp_path: Path,
) -> None:
    rig = Rig.make(tmp_path / "rig", sub_seconds=60)
    command = rig.start()
    command.wait_for("turn 2", 60)
    pid = command.process.pid
    children = [one for one in _below(command) if "reaper.py" in _command_line(one)]
    assert len(children) == 1
    children[0].kill()
    # While it lives: once it is dead, any test that starts a kernel clears the sessions.
    assert paths(rig.home / "staged", f"{pid}-*")
    assert paths(sessions_folder(), f"k-{pid}-*")
    command.kill()
    Script(log=rig.script.log, cells=CELLS).write(rig.folder / "script.json")
    assert rig.answer()["complete"]
    command.nothing_left_within(GONE_SECONDS)


def test_sweep_takes_what_the_dead_have_left_alone(tmp_path: Path) -> None:
    pid, born, space = owner().split("-")
    names = {
        "mine": f"{pid}-{born}-{space}-aa",
        "dead": f"{pid}-{int(born) + 1}-{space}-bb",
        "elsewhere": f"{pid}-{int(born) + 1}-1-cc",
        "other": "not-one-of-ours-at-all",
    }
    for name in names.values():
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    assert sweep(tmp_path) == [tmp_path / names["dead"]]
    assert {one.name for one in tmp_path.iterdir()} == set(names.values()) - {names["dead"]}


def test_removal_gets_through_whatever_a_cell_has_left(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    top = tmp_path / "top"
    top.mkdir()
    at = os.open(top, os.O_RDONLY)
    # Deeper than Python recurses, and longer than any path may be.
    for _ in range(2_000):
        os.symlink(outside, "link", dir_fd=at)
        os.mkdir("shut", 0o000, dir_fd=at)
        os.mkdir("d" * 50, dir_fd=at)
        inner = os.open("d" * 50, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = inner
    os.close(at)
    remove(top)
    assert not top.exists()
    assert (outside / "file").read_text() == "x"
    remove(top)
    remove(outside / "file")
    assert list(outside.iterdir()) == []


def _below(command: Command) -> list[Any]:
    import psutil

    return list(psutil.Process(command.process.pid).children(recursive=True))


def _command_line(process: Any) -> str:
    import psutil

    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # a dry run, say, that has ended
        return ""


# What the run is at, what it says then, and what the script has to be like for it to last.
PLACES: dict[str, tuple[str, dict[str, Any]]] = {
    "the models start": ("", {"start_seconds": 60}),
    "the sandbox starts": ("", {}),
    "the root's turn": ("turn 1", {"root_seconds": 60}),
    "a sub-call": ("turn 2", {"sub_seconds": 60}),
    "a cell that heeds no signal": (
        "turn 1",
        {"cells": ["import signal\nsignal.signal(2, signal.SIG_IGN)\nsum(range(10**12))"]},
    ),
    "a child run": ("turn 1", {"cells": ["rlm_query('x', context[:600])"], "sub_seconds": 60}),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["sigint", "sigterm"])
@pytest.mark.parametrize("place", PLACES)
def test_a_signal_ends_it_in_good_order(tmp_path: Path, place: str, number: signal.Signals) -> None:
    until, changes = PLACES[place]
    rig = Rig.make(tmp_path / "rig", **changes)
    command = rig.start()
    if place == "the models start":
        wait_for_any(rig.home / "runs", "*/trajectory.jsonl")
    elif place == "the sandbox starts":
        wait_for_any(sessions_folder(), f"k-{command.process.pid}-*/1")
    else:
        command.wait_for(until, 60)
        time.sleep(0.5)
    stopped(rig, command, number)


def test_what_another_removes_meanwhile_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host, say, which a signal ends in the middle of it, and its reaper."""
    folder = tmp_path / "staged"
    (folder / "d" / "e").mkdir(parents=True)
    (folder / "d" / "e" / "f").write_text("x")
    plain = os.unlink

    def too_late(name: str, *, dir_fd: int | None = None) -> None:
        plain(name, dir_fd=dir_fd)
        raise FileNotFoundError(name)

    monkeypatch.setattr(os, "unlink", too_late)
    remove(folder)
    assert not folder.exists()


def test_a_signal_while_a_huge_context_is_read(tmp_path: Path) -> None:
    rig = Rig.make(tmp_path / "rig")
    with (rig.folder / "context.txt").open("wb") as file:
        file.truncate(40 << 30)
    command = rig.start("--encoding", "latin-1")
    wait_for_any(rig.home / "staged", "*/context/blob")
    stopped(rig, command, signal.SIGINT)


@pytest.mark.parametrize("share", [round(0.05 + 0.1 * n, 2) for n in range(10)])
def test_signals_at_any_moment_and_again_while_it_ends(
    tmp_path: Path, reference: tuple[str, list[str], float], share: float
) -> None:
    rig = Rig.make(tmp_path / "rig")
    command = rig.start()
    time.sleep(share * reference[2])
    numbers = (signal.SIGINT, signal.SIGTERM)
    first = numbers[int(share * 100) % 2]
    began = time.monotonic()
    for number in (first, *numbers, *numbers):
        if command.process.poll() is None:
            command.process.send_signal(number)
        time.sleep(0.05)
    command.process.communicate(timeout=ENDED_SECONDS + 5)
    assert time.monotonic() - began < ENDED_SECONDS
    # Before Python has come to the command, a signal ends it as it ends any program; after the
    # answer, there was nothing left to stop. Of signals that come before it looks, a process can't
    # tell which was the first.
    assert command.process.returncode in (
        0,
        *(128 + one for one in numbers),
        *(-n for n in numbers),
    )
    command.nothing_left_within(GONE_SECONDS)
    for end in rig.ends():
        assert end is not None


def wait_for_any(folder: Path, pattern: str) -> None:
    """Wait until there is such a file."""
    deadline = time.monotonic() + 60
    while not paths(folder, pattern):
        assert time.monotonic() < deadline, f"no {pattern} in {folder}"
        time.sleep(0.02)


def stopped(rig: Rig, command: Command, number: signal.Signals) -> None:
    """Send a signal, and see that all ends as it should."""
    began = time.monotonic()
    command.process.send_signal(number)
    _, err = command.process.communicate(timeout=ENDED_SECONDS + 5)
    assert time.monotonic() - began < ENDED_SECONDS
    assert command.process.returncode == 128 + number, err
    assert "Traceback" not in err
    command.nothing_left_within(GONE_SECONDS)
    for end in rig.ends():
        assert end is not None
        assert end.get("error") == "interrupted"
    assert not (rig.home / "staged").exists() or not os.listdir(rig.home / "staged")  # noqa: PTH208
