"""The memo: what it keeps, what it forgets, and that it never fails a question."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from outcore import cli
from outcore.engine.batching import memo_database
from outcore.engine.batching.memo import Memo
from outcore.engine.batching.memo_file import MemoFile
from outcore.models.engine import Generation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def key(number: int) -> bytes:
    return hashlib.sha256(b"%d" % number).digest()


def said(text: str, ids: tuple[int, ...] = (1, 2, 3)) -> Generation:
    return Generation(text, ids, "stop", 100, 64, len(ids))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "memo.db"


@pytest.fixture
def memo(path: Path) -> Iterator[Memo]:
    with contextlib.closing(Memo(path)) as memo:
        yield memo


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Ours: what asyncio says of tasks that another test has left comes at any time."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("outcore")
    ]


async def test_what_was_put_is_found_and_nothing_else(memo: Memo) -> None:
    memo.put(key(1), said("one"))
    found = await memo.get(key(1))
    assert found == replace(said("one"), origin="memo")
    assert await memo.get(key(2)) is None


async def test_a_later_instance_finds_it(path: Path) -> None:
    with contextlib.closing(Memo(path)) as memo:
        memo.put(key(1), said("one"))
    with contextlib.closing(Memo(path)) as memo:
        assert await memo.get(key(1)) == replace(said("one"), origin="memo")


async def test_others_can_not_read_it(path: Path, memo: Memo) -> None:
    memo.put(key(1), said("one"))
    await memo.flush()
    files = [file for file in path.parent.iterdir() if file.name.startswith("memo.db")]
    assert {file.stat().st_mode & 0o077 for file in files if file.suffix != ".lock"} == {0}


async def test_the_last_put_under_a_key_stays(memo: Memo) -> None:
    memo.put(key(1), said("one"))
    await memo.flush()
    memo.put(key(1), said("two"))
    assert (await memo.get(key(1)) or said("")).text == "two"
    assert memo.stats().entries == 1


async def test_every_field_but_the_origin_is_kept(path: Path) -> None:
    whole = Generation(
        text="text",
        ids=(0, 7, 2**32 - 1),
        finish="length",
        tokens_in=11,
        tokens_cached=5,
        tokens_out=3,
        logprobs=(-0.1, float("-inf"), -1e-300),
        origin="merged",
    )
    for field in fields(Generation):
        assert getattr(whole, field.name) not in ((), "", 0, field.default), "cover the new field"
    with contextlib.closing(Memo(path)) as memo:
        memo.put(key(1), whole)
    with contextlib.closing(Memo(path)) as memo:
        assert await memo.get(key(1)) == replace(whole, origin="memo")


@pytest.mark.parametrize(
    "text", ["", "\0", "a\0b, c\0", "\ud800 and \udfff", "\U0001f9ff \u00e9 \u4e2d", "x" * 100_000]
)
async def test_any_text_comes_back_as_it_was(path: Path, text: str) -> None:
    ids = tuple(range(0, 40_000, 7))
    with contextlib.closing(Memo(path)) as memo:
        memo.put(key(1), said(text, ids))
        memo.put(key(2), said(text, ()))
    with contextlib.closing(Memo(path)) as memo:
        first, second = await asyncio.gather(memo.get(key(1)), memo.get(key(2)))
    assert (first, second) == tuple(replace(said(text, n), origin="memo") for n in (ids, ()))


async def test_a_number_no_engine_gives_is_not_kept_and_its_neighbours_are(memo: Memo) -> None:
    memo.put(key(1), replace(said("huge"), tokens_in=2**70))
    memo.put(key(2), said("negative", (-1,)))
    memo.put(key(3), said("true"))
    await memo.flush()
    assert await memo.get(key(1)) is None
    assert await memo.get(key(2)) is None
    assert await memo.get(key(3)) is not None


async def test_gets_that_come_together_are_read_together(
    memo: Memo, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read = MemoFile.read

    def counted(self: MemoFile, keys: Sequence[bytes]) -> dict[bytes, Generation]:
        reads.append(len(keys))
        return read(self, keys)

    monkeypatch.setattr(MemoFile, "read", counted)
    for number in range(0, 10_000, 2):
        memo.put(key(number), said(str(number)))
    found = await asyncio.gather(*(memo.get(key(number)) for number in range(10_000)))
    assert [one.text if one else None for one in found] == [
        None if number % 2 else str(number) for number in range(10_000)
    ]
    assert reads == [10_000]


async def test_a_cancelled_get_leaves_the_others(memo: Memo) -> None:
    memo.put(key(1), said("one"))
    tasks = [asyncio.create_task(memo.get(key(1))) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    first, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(second, asyncio.CancelledError)
    assert first == third == replace(said("one"), origin="memo")


def test_it_serves_one_loop_after_another(memo: Memo) -> None:
    async def abandon() -> None:
        task = asyncio.create_task(memo.get(key(1)))
        await asyncio.sleep(0)
        task.cancel()

    memo.put(key(1), said("one"))
    for _ in range(3):
        asyncio.run(abandon())
        assert asyncio.run(memo.get(key(1))) is not None


async def test_closed_it_remembers_nothing_and_closing_twice_is_fine(memo: Memo) -> None:
    memo.put(key(1), said("one"))
    memo.close()
    memo.close()
    memo.put(key(2), said("two"))
    assert await memo.get(key(1)) is None
    await memo.flush()


def test_nothing_is_made_before_the_first_call(memo: Memo, path: Path) -> None:
    memo.close()
    assert not path.parent.exists()


_WRITER = """
import asyncio, sys
from pathlib import Path
from test_memo import key, said
from outcore.engine.batching.memo import Memo

async def main(path, first, count):
    memo = Memo(Path(path))
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(first, first + count):
        memo.put(key(number), said(str(number)))
        if number % 5 == 0:
            await memo.flush()
            print(number, flush=True)

asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
"""


def writer(path: Path, first: int, count: int) -> subprocess.Popen[str]:
    """A process that puts, tells of every fifth when it is in the file, and never closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(path), str(first), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "PYTHONSAFEPATH": "1"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


async def test_two_processes_write_at_once(path: Path) -> None:
    # The second half of the first is the first half of the second.
    processes = [writer(path, 0, 2001), writer(path, 1000, 2001)]
    for process in processes:
        go(process)
    for process in processes:
        _, told = process.communicate(timeout=60)
        assert (process.returncode, told) == (0, "")
    with contextlib.closing(Memo(path)) as memo:
        found = await asyncio.gather(*(memo.get(key(number)) for number in range(3001)))
        assert [one.text if one else None for one in found] == [str(n) for n in range(3001)]
        assert memo.stats().entries == 3001


async def test_what_was_flushed_survives_a_kill(path: Path) -> None:
    flushed: list[int] = []
    for first in (0, 100_000, 200_000):
        process = writer(path, first, 100_000)
        go(process)
        assert process.stdout is not None
        flushed += [int(process.stdout.readline()) for _ in range(100)]
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=60)
        # The last line may be torn.
        flushed += map(int, rest.splitlines()[:-1])
    with contextlib.closing(Memo(path)) as memo:
        found = await asyncio.gather(*(memo.get(key(number)) for number in flushed))
    assert [one.text if one else None for one in found] == [str(number) for number in flushed]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert not list(path.parent.glob("*.broken-*"))


def test_an_exit_without_closing_is_no_hang(path: Path) -> None:
    process = writer(path, 0, 3)
    go(process)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (0, "")


async def test_the_file_stays_under_its_cap_and_keeps_what_is_used(path: Path) -> None:
    cap = 2_000_000
    long = "x" * 1_000
    with contextlib.closing(Memo(path, cap_bytes=cap)) as memo:
        for number in range(1_000):
            memo.put(key(number), said(long))
        await memo.flush()
        assert memo.stats().entries == 1_000
        for first in range(1_000, 6_000, 100):
            assert await memo.get(key(0)) is not None
            for number in range(first, first + 100):
                memo.put(key(number), said(long))
            await memo.flush()
            assert memo.stats().bytes <= cap
        assert 1_000 < memo.stats().entries < 2_000
        assert await memo.get(key(0)) is not None
        assert await memo.get(key(1)) is None
        assert await memo.get(key(5_999)) is not None
    assert path.stat().st_size <= cap


async def test_a_lower_cap_makes_the_file_smaller(path: Path) -> None:
    with contextlib.closing(Memo(path)) as memo:
        for number in range(1_000):
            memo.put(key(number), said("x" * 1_000))
    assert path.stat().st_size > 1_000_000
    with contextlib.closing(Memo(path, cap_bytes=200_000)) as memo:
        memo.put(key(1_000), said("new"))
        await memo.flush()
        assert await memo.get(key(1_000)) is not None
    assert path.stat().st_size <= 200_000


def _foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.commit()


def _newer(path: Path) -> None:
    with contextlib.closing(Memo(path)) as memo:
        memo.stats()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")


def _torn(path: Path) -> None:
    with contextlib.closing(Memo(path)) as memo:
        for number in range(1_000):
            memo.put(key(number), said(str(number)))
    with path.open("r+b") as file:
        file.truncate(5_000)


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_bytes(b"no database at all" * 500), _foreign, _newer, _torn],
    ids=["garbage", "foreign", "newer", "torn"],
)
async def test_a_file_of_no_use_is_set_aside(
    path: Path, spoil: object, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    assert callable(spoil)
    spoil(path)
    before = path.read_bytes()
    with contextlib.closing(Memo(path)) as memo:
        memo.put(key(1), said("one"))
        await memo.flush()
        assert await memo.get(key(1)) is not None
    (broken,) = (one for one in path.parent.glob("memo.db.broken-*") if one.suffix != ".lock")
    assert broken.read_bytes() == before
    (warning,) = warnings(caplog)
    assert str(broken) in warning
    with contextlib.closing(Memo(path)) as memo:
        assert await memo.get(key(1)) is not None


async def test_damage_within_gives_no_wrong_answer(path: Path) -> None:
    with contextlib.closing(Memo(path)) as memo:
        for number in range(3_000):
            memo.put(key(number), said(str(number) * 20))
    size = path.stat().st_size
    with path.open("r+b") as file:
        for start in range(8_192, size, 16_384):
            file.seek(start + 100)
            file.write(os.urandom(2_000))
    with contextlib.closing(Memo(path)) as memo:
        found = await asyncio.gather(*(memo.get(key(number)) for number in range(3_000)))
        for number, one in enumerate(found):
            assert one is None or one == replace(said(str(number) * 20), origin="memo")
        memo.put(key(1), said("new"))
        await memo.flush()
        assert (await memo.get(key(1)) or said("")).text == "new"


async def test_an_entry_that_was_changed_or_exchanged_is_a_miss(path: Path) -> None:
    with contextlib.closing(Memo(path)) as memo:
        for number in range(4):
            memo.put(key(number), said(f"answer {number}"))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((value,),) = connection.execute("SELECT value FROM entry WHERE key = ?", (key(0),))
        changed = value.replace(b"answer 0", b"answer 9")
        assert changed != value
        for data, number in ((changed, 0), (value, 1), (b"", 2)):
            connection.execute("UPDATE entry SET value = ? WHERE key = ?", (data, key(number)))
        connection.commit()
    with contextlib.closing(Memo(path)) as memo:
        found = await asyncio.gather(*(memo.get(key(number)) for number in range(4)))
    assert found == [None, None, None, replace(said("answer 3"), origin="memo")]


async def test_processes_that_find_damage_at_once_all_end_well(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 500)
    processes = [writer(path, first, 50) for first in (0, 1_000, 2_000, 3_000)]
    for process in processes:
        go(process)
    told = ""
    for process in processes:
        told += process.communicate(timeout=60)[1]
        assert process.returncode == 0
    assert len(list(path.parent.glob("memo.db.broken-*"))) == 1
    assert len(told.splitlines()) == 1
    with contextlib.closing(Memo(path)) as memo:
        for first in (0, 1_000, 2_000, 3_000):
            assert await memo.get(key(first + 45)) is not None


async def test_a_file_taken_away_is_begun_anew(memo: Memo, path: Path) -> None:
    memo.put(key(1), said("one"))
    await memo.flush()
    for file in path.parent.glob("memo.db*"):
        file.unlink()
    memo.put(key(2), said("two"))
    await memo.flush()
    with contextlib.closing(Memo(path)) as other:
        assert await other.get(key(2)) is not None
        assert await other.get(key(1)) is None


async def test_a_home_that_can_not_be_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with contextlib.closing(Memo(tmp_path / "file" / "home" / "memo.db")) as memo:
        for number in range(3):
            memo.put(key(number), said("one"))
            assert await memo.get(key(number)) is None
            await memo.flush()
    (warning,) = warnings(caplog)
    assert "OUTCORE_HOME" in warning


async def test_a_read_only_folder_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    user = os.geteuid()
    if user == 0:  # whom no mode keeps out
        os.seteuid(65_534)
    try:
        with contextlib.closing(Memo(folder / "memo.db")) as memo:
            for number in range(3):
                memo.put(key(number), said("one"))
                assert await memo.get(key(number)) is None
                await memo.flush()
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)
    (warning,) = warnings(caplog)
    assert str(folder) in warning


_FULL = """
import asyncio, resource, sys
from pathlib import Path
from test_memo import key, said
from outcore.engine.batching.memo import Memo

async def main(path):
    memo = Memo(Path(path))
    assert await memo.get(key(0)) is not None
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    for number in range(1, 2_000):
        memo.put(key(number), said("x" * 1000))
        if number % 100 == 0:
            await memo.flush()
    print((await memo.get(key(0))).text, await memo.get(key(1_999)))
    memo.close()

asyncio.run(main(sys.argv[1]))
"""


def test_a_full_disk_is_one_warning_and_what_is_there_is_read(path: Path) -> None:
    with contextlib.closing(Memo(path)) as memo:
        memo.put(key(0), said("before"))
    ran = subprocess.run(
        [sys.executable, "-c", _FULL, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "PYTHONSAFEPATH": "1"},
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "before None\n")
    (warning,) = ran.stderr.splitlines()
    assert "make room" in warning


async def test_a_file_held_for_a_moment_is_written_later(
    memo: Memo, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memo_database, "_PATIENCE_SECONDS", 0.05)
    # However long this test takes for its own part of the moment.
    monkeypatch.setattr("outcore.engine.batching.memo._TRIES", 100)
    assert await memo.get(key(1)) is None
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        memo.put(key(1), said("one"))
        while not memo._tries:
            await asyncio.sleep(0.01)
        assert await memo.get(key(1)) == replace(said("one"), origin="memo")
        other.execute("COMMIT")
    await memo.flush()
    assert memo.stats().entries == 1
    assert warnings(caplog) == []


async def test_a_file_held_for_good_is_one_warning(
    memo: Memo, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(memo_database, "_PATIENCE_SECONDS", 0.05)
    memo.put(key(0), said("before"))
    await memo.flush()
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(1, 4):
            memo.put(key(number), said("one"))
            await memo.flush()
        assert await memo.get(key(0)) is not None
        assert await memo.get(key(1)) is None
    (warning,) = warnings(caplog)
    assert "another process" in warning


async def test_clear_empties_it_while_another_has_it_open(memo: Memo, path: Path) -> None:
    for number in range(2_000):
        memo.put(key(number), said("x" * 1_000))
    await memo.flush()
    with contextlib.closing(Memo(path)) as other:
        assert other.clear() == 2_000
        assert other.stats().bytes < 100_000
    assert await memo.get(key(1)) is None
    memo.put(key(1), said("again"))
    await memo.flush()
    assert memo.stats().entries == 1


def test_the_command(capsys: pytest.CaptureFixture[str], path: Path) -> None:
    with contextlib.closing(Memo(path)) as memo:
        for number in range(1_234):
            memo.put(key(number), said("x"))
    assert cli.main(["memo", "stats"]) == 0
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (told["path"], told["entries"]) == (str(path), "1,234")
    assert told["size"].endswith("kB")
    assert told["cap"] == "4.29 GB"
    assert cli.main(["memo", "clear"]) == 0
    assert capsys.readouterr().out == f"1,234 entries removed from {path}\n"
    assert cli.main(["memo", "clear"]) == 0
    assert capsys.readouterr().out.startswith("0 entries")


def test_the_command_where_no_memo_can_be(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OUTCORE_HOME", str(tmp_path / "file" / "home"))
    for verb in ("stats", "clear"):
        assert cli.main(["memo", verb]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert "OUTCORE_HOME" in captured.err
