"""The command line where no model is needed: help, bad input, doctor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from outcore import cli


def outcore(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "outcore", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | environment,
        check=False,
    )


def test_missing_file(tmp_path: Path) -> None:
    ran = outcore("ask", "Who?", str(tmp_path / "absent.txt"))
    assert ran.returncode == 1
    assert "absent.txt" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"\x7fELF\x02\x01\x01\x00\x00\x00", "is a program"),
        (b"good\nbad \xff byte\n", "byte 9"),
    ],
)
def test_context_that_is_no_text(tmp_path: Path, data: bytes, told: str) -> None:
    path = tmp_path / "context.txt"
    path.write_bytes(data)
    ran = outcore("ask", "Who?", str(path))
    assert ran.returncode == 1
    assert "context.txt" in ran.stderr
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--root", "qwen2.5-coder-1.5"], "qwen2.5-coder-1.5b"),
        (["--root", "ftp://models"], "http://"),
        (["--root-mode", "guess"], "'auto', 'code', 'plan'"),
        (["--turns", "0"], "turns must be above zero"),
        (["--profile", "grand"], "no profile 'grand'"),
        (["--root", "http://127.0.0.1:port"], "no address"),
    ],
)
def test_settings_that_can_not_be_used(tmp_path: Path, flags: list[str], told: str) -> None:
    path = tmp_path / "context.txt"
    path.write_text("text", encoding="utf-8")
    ran = outcore("ask", "Who?", str(path), *flags)
    assert ran.returncode == 2
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_failure_leaves_its_record_alone(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    path = tmp_path / "context.txt"
    path.write_text("text", encoding="utf-8")
    ran = outcore(
        "ask", "Who?", str(path), "--root", "http://127.0.0.1:9", TMPDIR=str(tmp_path / "tmp")
    )
    assert ran.returncode == 1
    assert list((tmp_path / "tmp").iterdir()) == []
    (record,) = [one for one in (tmp_path / "home").rglob("*") if one.is_file()]
    *_, end = record.read_text(encoding="utf-8").splitlines()
    assert json.loads(end)["event"] == "end"
    assert "127.0.0.1:9" in json.loads(end)["error"]
    assert list((tmp_path / "home" / "staged").iterdir()) == []


def test_empty_question(tmp_path: Path) -> None:
    path = tmp_path / "context.txt"
    path.write_text("text", encoding="utf-8")
    ran = outcore("ask", "  ", str(path))
    assert ran.returncode == 2
    assert "question is empty" in ran.stderr


def test_root_that_nothing_serves(tmp_path: Path) -> None:
    path = tmp_path / "context.txt"
    path.write_text("text", encoding="utf-8")
    ran = outcore("ask", "Who?", str(path), "--root", "http://127.0.0.1:9")
    assert ran.returncode == 1
    assert "nothing serves models at http://127.0.0.1:9" in ran.stderr


def test_home_that_can_not_be_written(tmp_path: Path) -> None:
    path = tmp_path / "context.txt"
    path.write_text("text", encoding="utf-8")
    ran = outcore("ask", "Who?", str(path), OUTCORE_HOME=str(path / "below"))
    assert ran.returncode in (1, 2)
    assert "OUTCORE_HOME" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_usage_is_exit_code_two() -> None:
    assert outcore("ask").returncode == 2
    assert outcore("sing").returncode == 2


def test_a_mistyped_option_shows_the_usage_of_its_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["ask", "Who?", "text.txt", "--profil", "small", "--secnds", "3"])
    told = capsys.readouterr().err
    assert told.startswith("usage: outcore ask ")
    assert "unrecognized arguments: --secnds 3" in told


def test_doctor_tells_every_part(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["doctor"])
    told = capsys.readouterr().out
    for subject in ("python", "vllm", "gpu", "machine", "storage", "weights", "sandbox"):
        assert subject in told
    assert "fix:" in told or code == 0
    assert "outcore models pull" in told


def test_doctor_tells_programs_too(capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert {"python", "vllm", "machine", "storage", "sandbox"} <= {one["subject"] for one in found}
    assert all(set(one) == {"subject", "good", "text", "fix"} for one in found)
    assert code == (0 if all(one["good"] for one in found) else 1)


def test_doctor_refuses_a_tier_that_nothing_is_done_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["doctor", "--sandbox", "landlock"]) == 2
    assert "--attack --sandbox" in capsys.readouterr().err


def test_doctor_without_bubblewrap_tells_the_fix(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from outcore.kernel_sandbox import tiers

    monkeypatch.setattr(tiers, "candidates", lambda _: [])
    tiers._bwrap.cache_clear()
    try:
        assert cli.main(["doctor"]) == 1
    finally:
        tiers._bwrap.cache_clear()
    told = capsys.readouterr().out
    assert "BAD  sandbox" in told
    assert "apt install bubblewrap" in told


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_finds_no_room(unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, "-P", "-m", "outcore", "memo", "stats"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr == (
        "outcore: the output can't be written: No space left on device; make room where it goes\n"
    )
