from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pytest

from outcore.errors import ConfigError
from outcore.models import manifest
from outcore.models.commands import add_parser

if TYPE_CHECKING:
    from pathlib import Path

CATALOG = """
[models.tiny]
role = "test"
profile = "small"
licence = "MIT"
window = 512
format = "gguf"
file = "tiny.gguf"
bytes = 1234567
sha256 = "{sha}"
""".replace("{sha}", "ab" * 32)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "catalog.toml").write_text(CATALOG)
    monkeypatch.setenv("OUTCORE_HOME", str(home))
    monkeypatch.delenv("OUTCORE_WEIGHTS", raising=False)
    return home


@pytest.fixture
def ready(home: Path) -> Path:
    folder = home / "weights" / "tiny"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    manifest.write(folder, model="tiny", origin="test", source_sha256="ab" * 32)
    return folder


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="outcore")
    add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["models", *arguments])
    code: int = args.run(args)
    return code


def row(text: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith("tiny ")]
    return line.split()


def test_list_tells_state(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    assert row(capsys.readouterr().out) == ["tiny", "test", "1", "MB", "MIT", "absent"]
    (home / "weights" / ".tiny.partial").mkdir(parents=True)
    assert run("list") == 0
    assert row(capsys.readouterr().out)[-1] == "partial"


def test_ready_model(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    assert row(capsys.readouterr().out)[-1] == "ready"
    assert run("path", "tiny") == 0
    assert capsys.readouterr().out == f"{ready}\n"
    assert run("pull", "tiny") == 0
    assert capsys.readouterr().out == f"{ready}\n"
    assert run("verify") == 0
    assert capsys.readouterr().out == "tiny: as it was fetched\n"


def test_changed_file_fails_verify(ready: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (ready / "config.json").write_text("[]")
    assert run("verify", "tiny") == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "config.json has SHA-256" in captured.err


def test_absent_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("path", "tiny") == 1
    assert "tiny is absent here; run 'outcore models pull tiny'" in capsys.readouterr().err
    assert run("verify", "tiny") == 1
    assert "tiny is not here" in capsys.readouterr().err
    assert run("pull", "tiny") == 1
    assert "no source has the weights of tiny" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["pull", "verify", "path"])
def test_unknown_name(verb: str) -> None:
    with pytest.raises(ConfigError, match="Did you mean tiny"):
        run(verb, "tiy")
