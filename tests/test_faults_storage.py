"""Faults of storage and of the clock: full disks, damaged files, folders that can't be written."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import errno
import hashlib
import json
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scripted import giving
from test_http_engine import completion, server
from test_memo import key, said, warnings
from test_run import ask, cell

from outcore.config import Budget
from outcore.engine.batching import memo as memo_module
from outcore.engine.batching import memo_database
from outcore.engine.batching.memo import Memo
from outcore.engine.batching.memo_file import MemoFile
from outcore.engine.rlm import RLM
from outcore.engine.trajectory import Damaged, Trajectory, read
from outcore.errors import OutcoreError
from outcore.kernel_sandbox import tiers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from outcore.models.engine import Generation

ROOT = Path(__file__).parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "memo.db"


def on_a_small_disk(folder: Path, size: int, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a disk of its own at `folder`, in memory and of so many bytes."""
    folder.mkdir()
    bwrap = str(tiers.choose("bwrap").program)
    return subprocess.run(
        [
            *(bwrap, "--dev-bind", "/", "/", "--size", str(size), "--tmpfs", str(folder)),
            *("--", sys.executable, "-c", script, str(folder)),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "PYTHONSAFEPATH": "1"},
        check=False,
    )


_SETTING = """
import asyncio, contextlib, json, sys
from pathlib import Path
from scripted import giving
from test_run import ask, cell
from outcore.engine.batching.memo import Memo

disk = Path(sys.argv[1])

def fill():
    with open(disk / "filler", "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(512))

def filling(text):
    def reply(request):
        fill()
        return text
    return reply
"""
_MIDWAY = f"""{_SETTING}
async def main():
    memo = Memo(disk / "home" / "memo.db")
    asked = await ask(
        disk / "question",
        cell("print('one')"),
        filling("x" * 50_000 + cell("print('two')")),
        cell("print(llm_query('three'))"),
        cell(giving("42")),
        memory=memo,
        sandbox="none",
    )
    again = await memo.get(bytes(32))
    memo.close()
    print(json.dumps(asked.completion.as_dict()))
    print(json.dumps([event["event"] for event in asked.events]))
    blobs = asked.completion.run_dir / "blobs"
    print(json.dumps({{one.name: one.read_bytes().hex() for one in blobs.iterdir()}}))

asyncio.run(main())
"""


def test_a_disk_that_fills_up_costs_the_record_and_not_the_answer(tmp_path: Path) -> None:
    ran = on_a_small_disk(tmp_path / "disk", 2 << 20, _MIDWAY)
    assert ran.returncode == 0, ran.stderr
    result, events, blobs = map(json.loads, ran.stdout.splitlines())
    assert (result["answer"], result["complete"]) == ("42", True)
    assert "No space left on device" in result["record_error"]
    # What was written before is whole, and nothing half written stands after it.
    assert events == ["run", "turn", "reply", "cell", "turn"]
    for name, data in blobs.items():
        assert hashlib.sha256(bytes.fromhex(data)).hexdigest() == name
    told = ran.stderr.splitlines()
    assert len(told) == 2, ran.stderr
    assert sum("the record" in line and "make room" in line for line in told) == 1
    assert sum("the memo" in line and "make room" in line for line in told) == 1


_BEFORE = f"""{_SETTING}
from outcore.engine.context.corpus import stage
from outcore.engine.trajectory import Trajectory
from outcore.errors import OutcoreError
fill()
for attempt in (
    lambda: stage("text " * 10_000, disk / "context"),
    lambda: Trajectory(disk / "run").add("run", question="?" * 3_000),
):
    try:
        attempt()
    except OutcoreError as error:
        print(type(error).__name__, error)
"""


def test_a_disk_that_is_full_before_the_question_is_told_before_it(tmp_path: Path) -> None:
    ran = on_a_small_disk(tmp_path / "disk", 1 << 20, _BEFORE)
    assert ran.returncode == 0, ran.stderr
    assert "BadContext can't stage into" in ran.stdout
    assert "No space left on device" in ran.stdout


def test_a_folder_for_records_that_can_not_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)

    async def main(runs: Path) -> None:
        async with server(completion("never asked")) as (address, bodies):
            rlm = RLM(root=address, runs=runs, direct="always")
            try:
                with pytest.raises(OutcoreError, match=r"can't write the run's record.*--runs"):
                    await rlm.acompletion("text", "?")
            finally:
                await asyncio.to_thread(rlm.close)
            assert bodies == []
            # It was told before the models were looked for.
            assert rlm._served is None

    try:
        asyncio.run(main(tmp_path / "file" / "runs"))
        if os.geteuid() != 0:  # whom no mode keeps out
            asyncio.run(main(folder / "runs"))
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_the_first_failure_ends_a_record_with_a_whole_event(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record = Trajectory(tmp_path / "run")
    record.add("run", question="?")
    assert record.loss is None
    written = "outcore.engine.trajectory._write"

    def torn(file: Any, data: bytes) -> None:
        file.write(data[:7])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(written, torn)
        record.add("turn", number=1)
    record.add("turn", number=2)
    record.close()
    record.close()
    damaged: list[Damaged] = []
    assert (tmp_path / "run" / "trajectory.jsonl").read_bytes().endswith(b"}\n")
    assert [one["event"] for one in read(tmp_path / "run", damaged)] == ["run"]
    assert damaged == []
    assert os.strerror(number) in str(record.loss)
    (warning,) = warnings(caplog)
    assert str(tmp_path / "run") in warning


def test_a_record_that_can_not_reach_the_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record = Trajectory(tmp_path / "run")
    record.add("run", question="?")

    def fails(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fails)
    record.close()
    assert "Input/output error" in str(record.loss)
    assert len(warnings(caplog)) == 1
    assert [one["event"] for one in read(tmp_path / "run")] == ["run"]


def test_a_child_s_record_that_can_not_be_made_is_missing_from_its_parent_s(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = Trajectory(tmp_path / "run")
    (tmp_path / "run" / "children").write_text("in the way")
    children = [record.child(number) for number in (1, 2)]
    grandchild = children[0].child(1)
    for one in (*children, grandchild):
        one.add("run", question="?")
        one.close()
        assert one.loss is not None
    record.add("end", answer="x")
    record.close()
    assert "children/1" in str(record.loss)
    assert [one["event"] for one in read(tmp_path / "run")] == ["end"]
    assert len(warnings(caplog)) == 1


async def test_a_question_whose_children_leave_no_record_is_answered(tmp_path: Path) -> None:

    def block(_: Any) -> str:
        (tmp_path / "run" / "children").write_text("in the way")
        return cell("print(rlm_query('How many?', 'one two'))")

    # Its window is too small to answer directly, and large enough for what the child is given.
    asked = await ask(tmp_path, block, "2", cell(giving("2")), direct="auto", window=6_000)
    done = asked.completion
    assert (done.answer, done.complete) == ("2", True)
    assert "children/1" in str(done.record_error)


# ---- the memo


def remembered(path: Path, entries: int) -> dict[int, Generation]:
    """Fill a memo; returns what it must say, or nothing."""
    put = {number: said(f"answer {number} " * (number % 40 + 1)) for number in range(entries)}
    with contextlib.closing(Memo(path)) as memo:
        for number, generation in put.items():
            memo.put(key(number), generation)
    return {number: replace(one, origin="memo") for number, one in put.items()}


def _truncated(file: Path, chance: random.Random) -> None:
    os.truncate(file, chance.randrange(file.stat().st_size))


def _overwritten(file: Path, chance: random.Random) -> None:
    with file.open("r+b") as stream:
        for _ in range(chance.randint(1, 8)):
            stream.seek(chance.randrange(file.stat().st_size))
            stream.write(chance.randbytes(chance.randint(1, 5_000)))


def _flipped(file: Path, chance: random.Random) -> None:
    data = bytearray(file.read_bytes())
    for _ in range(chance.choice((1, 2, 4, 200))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def _header(file: Path, chance: random.Random) -> None:
    with file.open("r+b") as stream:
        stream.seek(chance.choice((0, 16, 18, 24, 28, 40, 44, 56, 60, 68)))
        stream.write(chance.randbytes(chance.choice((1, 4, 60))))


def _swapped(file: Path, chance: random.Random) -> None:
    data = file.read_bytes()
    pages = [data[at : at + 4096] for at in range(0, len(data), 4096)]
    tail = pages[1:]
    chance.shuffle(tail)
    file.write_bytes(b"".join((pages[0], *tail)))


def _emptied(file: Path, chance: random.Random) -> None:
    with file.open("r+b") as stream:
        stream.seek(4096 * chance.randint(1, 3))
        stream.write(bytes(4096 * chance.randint(1, 6)))


def _strange_log(file: Path, chance: random.Random) -> None:
    for suffix in ("-wal", "-shm"):
        file.with_name(file.name + suffix).write_bytes(chance.randbytes(40_000))


DAMAGE = (_truncated, _overwritten, _flipped, _header, _swapped, _emptied, _strange_log)


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda one: one.__name__.strip("_"))
async def test_no_damage_to_the_memo_gives_a_wrong_answer_or_fails(
    damage: Callable[[Path, random.Random], None],
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(memo_database, "_PATIENCE_SECONDS", 0.05)
    pristine = path.with_name("pristine.db")
    right = remembered(pristine, 600)
    lost = 0
    for seed in range(25):
        for old in path.parent.glob("memo.db*"):
            old.unlink()
        shutil.copy(pristine, path)
        damage(path, random.Random(seed))
        caplog.clear()
        with contextlib.closing(Memo(path)) as memo:
            found = await asyncio.gather(*(memo.get(key(number)) for number in right))
            for number, one in enumerate(found):
                assert one is None or one == right[number]
            memo.put(key(9_999), said("new"))
            await memo.flush()
            new = await memo.get(key(9_999))
        missing = sum(one is None for one in found)
        lost += missing
        # Either it works, or the user knows that it does not.
        assert new is not None or warnings(caplog)
        assert len(warnings(caplog)) <= 2
    # The damage was damage.
    assert lost > 0 or damage is _strange_log


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE entry DROP COLUMN used",
        "ALTER TABLE entry RENAME TO entries",
        "ALTER TABLE entry ADD COLUMN colour TEXT",
        "PRAGMA user_version = 0",
        "PRAGMA application_id = 7",
    ],
)
async def test_a_memo_of_another_making_is_set_aside(
    change: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remembered(path, 3)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX entry_used")
        connection.execute(change)
        connection.commit()
    with contextlib.closing(Memo(path)) as memo:
        assert await memo.get(key(1)) is None
        memo.put(key(1), said("new"))
        await memo.flush()
    (warning,) = warnings(caplog)
    assert "A new one is begun" in warning
    assert list(path.parent.glob("memo.db.broken-*"))
    with contextlib.closing(Memo(path)) as memo:
        assert (await memo.get(key(1)) or said("")).text == "new"


@pytest.mark.parametrize("thing", ["folder", "pipe", "device", "dangling", "loop"])
async def test_what_is_no_file_is_passed_by(
    thing: str, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    if thing == "folder":
        path.mkdir()
    elif thing == "pipe":
        os.mkfifo(path)
    else:
        there = {"device": "/dev/full", "dangling": "/no/such/place", "loop": str(path)}
        path.symlink_to(there[thing])
    with contextlib.closing(Memo(path)) as memo:
        memo.put(key(1), said("one"))
        await asyncio.wait_for(memo.flush(), 30)
        assert await asyncio.wait_for(memo.get(key(1)), 30) is None
    (warning,) = warnings(caplog)
    assert str(path) in warning
    assert "OUTCORE_HOME" in warning


_HOLDER = """
import fcntl, sqlite3, sys, time
if sys.argv[2] == "lock":
    file = open(sys.argv[1] + ".lock", "w")
    fcntl.flock(file, fcntl.LOCK_EX)
elif sys.argv[2] == "writing":
    base = sqlite3.connect(sys.argv[1], isolation_level=None)
    base.execute("BEGIN IMMEDIATE")
else:
    base = sqlite3.connect(sys.argv[1], isolation_level=None)
    base.execute("PRAGMA locking_mode = EXCLUSIVE")
    base.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
time.sleep(600)
"""


@contextlib.contextmanager
def held(path: Path, how: str) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path), how], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    try:
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize("how", ["lock", "exclusive"])
async def test_a_memo_held_by_a_stuck_process_is_passed_by(
    how: str, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memo_database, "_PATIENCE_SECONDS", 0.05)
    remembered(path, 3)
    with held(path, how):
        with contextlib.closing(Memo(path)) as memo:
            for number in range(5):
                memo.put(key(number + 100), said("one"))
                found = await asyncio.wait_for(memo.get(key(number)), 10)
                assert found is None
        (warning,) = warnings(caplog)
        assert "another process holds it" in warning
    # When it has gone, what was there before is there again.
    with contextlib.closing(Memo(path)) as memo:
        assert await memo.get(key(1)) is not None


async def test_a_memo_that_a_stuck_process_writes_to_is_read_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memo_database, "_PATIENCE_SECONDS", 0.2)
    remembered(path, 3)
    with contextlib.closing(Memo(path)) as memo:
        await memo.get(key(1))
        with held(path, "writing"):
            for number in range(5):
                memo.put(key(number + 100), said("one"))
                # Not together with what is put: the file's thread tries to write in between.
                await asyncio.sleep(0.05)
                assert await asyncio.wait_for(memo.get(key(1)), 10) is not None
        (warning,) = warnings(caplog)
    assert "another process holds it" in warning


async def test_a_disk_that_hangs_keeps_no_question(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memo_module, "_END_SECONDS", 0.1)
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(*_: object) -> dict[bytes, Generation]:
        hangs.set()
        goes_on.wait(60)
        return {}

    monkeypatch.setattr(MemoFile, "read", hang)
    memo = Memo(path)
    first = asyncio.create_task(memo.get(key(1)))
    try:
        assert await asyncio.to_thread(hangs.wait, 20)
        # From here on: opening the file may take longer.
        monkeypatch.setattr(memo_module, "_PATIENCE_SECONDS", 0.3)
        assert await asyncio.wait_for(memo.get(key(1)), 20) is None
        memo.put(key(1), said("one"))
        assert await asyncio.wait_for(memo.get(key(1)), 20) is None
        await asyncio.wait_for(asyncio.to_thread(memo.close), 20)
    finally:
        goes_on.set()
    assert await asyncio.wait_for(first, 20) is None
    late, unclosed = warnings(caplog)
    assert "has not answered" in late
    assert "does not close" in unclosed


async def test_a_disk_that_hung_does_not_keep_the_memo_from_ending(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memo_module, "_PATIENCE_SECONDS", 0.3)
    goes_on = threading.Event()
    read = MemoFile.read

    def hang(self: MemoFile, keys: Sequence[bytes]) -> dict[bytes, Generation]:
        goes_on.wait(60)
        return read(self, keys)

    monkeypatch.setattr(MemoFile, "read", hang)
    memo = Memo(path)
    memo.put(key(1), said("one"))
    assert await asyncio.wait_for(memo.get(key(2)), 20) is None
    goes_on.set()
    await asyncio.wait_for(memo.flush(), 20)
    await asyncio.wait_for(asyncio.to_thread(memo.close), 20)


async def test_a_memo_whose_file_may_not_be_written_is_passed_by(
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = Path(tempfile.mkdtemp())
    path = folder / "memo.db"
    user = os.geteuid()
    try:
        right = remembered(path, 3)
        for file in folder.iterdir():
            file.chmod(0o444)
        folder.chmod(0o555)
        if user == 0:  # whom no mode keeps out
            os.seteuid(65_534)
        with contextlib.closing(Memo(path)) as memo:
            for number in range(3):
                memo.put(key(100 + number), said("one"))
                assert await memo.get(key(number)) in (None, right[number])
                await memo.flush()
    finally:
        os.seteuid(user)
        folder.chmod(0o755)
        shutil.rmtree(folder)
    (warning,) = warnings(caplog)
    assert str(path) in warning


# ---- the clock


class Jumping:
    """A wall clock that jumps ten years, forwards and back, whenever it is looked at."""

    def __init__(self) -> None:
        self.jumps = 0
        self._true = time.time

    def __call__(self) -> float:
        self.jumps += 1
        return self._true() + (3e8 if self.jumps % 2 else -3e8)

    def ns(self) -> int:
        return int(self() * 1e9)


async def test_a_clock_that_jumps_spoils_no_run(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Jumping()
    monkeypatch.setattr(time, "time", clock)
    monkeypatch.setattr(time, "time_ns", clock.ns)
    for turn in range(2):
        time.time()  # so that the second question is in another decade than the first
        with contextlib.closing(Memo(path)) as memo:
            asked = await ask(
                tmp_path / f"{turn}",
                cell("import time; time.sleep(0.2); print(llm_query('one'))"),
                cell(giving("42")),
                memory=memo,
            )
        done = asked.completion
        assert (done.answer, done.complete) == ("42", True)
        assert 0 < done.seconds < 100
        times = [event["t"] for event in asked.events]
        assert times == sorted(times)
        assert 0 <= times[0] <= times[-1] < 100
    # Ages in the memo are no times: what was remembered is found.
    assert done.usage["root"].remembered == 2


@pytest.mark.parametrize("jump", [3e8, -3e8])
async def test_a_run_ends_in_time_whatever_the_clock_says(
    tmp_path: Path, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + jump)
    asked = await ask(tmp_path, "text", seconds=60, direct="always", budget=Budget(seconds=1))
    assert not asked.completion.complete
    assert 0.5 < asked.completion.seconds < 30


def test_nothing_but_names_comes_from_the_wall_clock() -> None:
    """Deadlines, ages and times of events are counted by clocks that can't be set."""
    found = set()
    for room in ("engine", "models", "kernel_sandbox", "outcore"):
        for file in (ROOT / room).glob("**/*.py" if room != "outcore" else "*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    called = f"{node.value.id}.{node.attr}"
                    if called in (
                        *("time.time", "time.time_ns", "time.localtime", "time.gmtime"),
                        *("time.strftime", "datetime.now", "datetime.utcnow", "date.today"),
                    ):
                        found.add((f"{file.relative_to(ROOT)}", called))
    assert found == {
        ("engine/batching/memo_database.py", "time.strftime"),  # the name of a file set aside
        ("engine/rlm.py", "time.strftime"),  # the name of a run's folder
    }


def test_the_table_of_faults_names_tests_that_exist() -> None:
    written = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\btest_\w+", written))
    there = {file.stem: file.read_text(encoding="utf-8") for file in (ROOT / "tests").glob("*.py")}
    functions = {name for text in there.values() for name in re.findall(r"def (test_\w+)", text)}
    assert named > {"test_faults_engine", "test_faults_storage"}
    assert named <= functions | there.keys()
    rows = [line for line in written.splitlines() if line.startswith("| ")]
    assert all("`test_" in row for row in rows[1:])
