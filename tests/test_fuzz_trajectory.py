"""A run's record, cut and spoilt: its good lines are read, its bad ones named."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import pytest
from fuzzing import examples, mutated, rounds
from hypothesis import given
from hypothesis import strategies as st

from outcore.engine.trajectory import Damaged, Trajectory, read
from outcore.errors import OutcoreError

if TYPE_CHECKING:
    from pathlib import Path

LONG_TEXT = "\u00e9\u2028\r\n" * 1_000
TEXTS = st.text(max_size=40) | st.just("\ud800 half") | st.just(LONG_TEXT)


def recorded(folder: Path, texts: list[str]) -> list[dict[str, Any]]:
    record = Trajectory(folder)
    record.add("run", question="Who?")
    for text in texts:
        record.add("cell", output=text, number=1.5)
    record.add("end", answer="x")
    record.close()
    return list(read(folder))


@given(st.lists(TEXTS, max_size=6))
@examples(40)
def test_events_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    events = recorded(tmp_path_factory.mktemp("run") / "run", texts)
    assert [one["output"] for one in events[1:-1]] == texts
    assert [one["event"] for one in events] == ["run", *["cell"] * len(texts), "end"]


def test_a_record_cut_anywhere_gives_its_whole_lines(tmp_path: Path) -> None:
    events = recorded(tmp_path / "run", ["one", LONG_TEXT, "\ud800", "two"])
    path = tmp_path / "run" / "trajectory.jsonl"
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        path.write_bytes(whole[:end])
        damaged: list[Damaged] = []
        assert list(read(tmp_path / "run", damaged)) == events[: whole[:end].count(b"\n")]
        assert damaged == []


def test_of_a_spoilt_record_every_line_is_read_or_named(tmp_path: Path) -> None:
    events = recorded(tmp_path / "run", [f"line {n}" for n in range(6)] + [LONG_TEXT])
    path = tmp_path / "run" / "trajectory.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    for chance in rounds(300):
        at = chance.randrange(len(lines))
        spoilt = mutated(chance, lines[at][:-1]) + b"\n"
        path.write_bytes(b"".join([*lines[:at], spoilt, *lines[at + 1 :]]))
        damaged: list[Damaged] = []
        found = list(read(tmp_path / "run", damaged))
        added = spoilt.count(b"\n")
        assert found[:at] == events[:at]
        assert found[len(found) - (len(events) - at - 1) :] == events[at + 1 :]
        assert {one.line for one in damaged} <= set(range(at + 1, at + 1 + added))
        assert len(found) + len(damaged) == len(events) - 1 + added
        assert all(one.reason for one in damaged)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"[1]", "no event"),
        (b'{"t": 1}', "no event"),
        (b'{"event": "cell", "output": "\xff"}', "utf-8"),
        (b"[" * 100_000, "recursion"),
        (b'{"event": ' + b"9" * 5_000 + b"}", "digits"),
        (b'{"event": "cell", "output": {"blob": "../../secret", "chars": 1}}', "digest"),
        (b'{"event": "cell", "output": {"blob": 7, "chars": 1}}', "digest"),
        (
            b'{"event": "cell", "output": {"blob": "' + b"0" * 64 + b'", "chars": 1}}',
            "No such file",
        ),
    ],
)
def test_why_a_line_is_left_out(tmp_path: Path, line: bytes, reason: str) -> None:
    recorded(tmp_path / "run", ["a"])
    path = tmp_path / "run" / "trajectory.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, line + b"\n", *rest]))
    damaged: list[Damaged] = []
    assert [one["event"] for one in read(tmp_path / "run", damaged)] == ["run", "cell", "end"]
    assert [one.line for one in damaged] == [2]
    assert reason in damaged[0].reason


def test_texts_that_were_changed_or_exchanged_are_told(tmp_path: Path) -> None:
    recorded(tmp_path / "run", [LONG_TEXT])
    [blob] = (tmp_path / "run" / "blobs").iterdir()
    for spoilt in ("another", "nothing", "a folder", "a pipe"):
        if blob.exists():
            blob.rmdir() if blob.is_dir() else blob.unlink()
        if spoilt == "another":
            blob.write_bytes(b"another")
        elif spoilt == "a folder":
            blob.mkdir()
        elif spoilt == "a pipe":
            os.mkfifo(blob)
        damaged: list[Damaged] = []
        assert [one["event"] for one in read(tmp_path / "run", damaged)] == ["run", "end"]
        assert [one.line for one in damaged] == [2]


def test_without_a_list_they_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorded(tmp_path / "run", ["a"])
    path = tmp_path / "run" / "trajectory.jsonl"
    path.write_bytes(b"{\n" + path.read_bytes())
    with caplog.at_level(logging.WARNING):
        assert len(list(read(tmp_path / "run"))) == 3
    assert f"{path}, line 1, is left out" in caplog.text


def test_no_record_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(OutcoreError, match=r"trajectory\.jsonl.*No such file.*run_dir"):
        list(read(tmp_path))


def test_a_record_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        recorded(tmp_path / "runs" / "run", [LONG_TEXT])
    finally:
        os.umask(before)
    assert (tmp_path / "runs" / "run").stat().st_mode & 0o077 == 0
