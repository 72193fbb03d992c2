"""What `outcore` gives to users: its names, their types, and its own errors for wrong values."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

import outcore
from outcore import RLM, BadContext, Budget, ConfigError, OutcoreError, Settings, errors
from outcore.config import SettingsChanges

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent


@pytest.fixture
def rlm() -> Iterator[RLM]:
    """One that starts no models; as a context manager it would."""
    made = RLM()
    yield made
    made.close()


def test_every_public_name_is_there() -> None:
    for name in outcore.__all__:
        assert getattr(outcore, name) is not None
    assert set(errors.__all__) <= set(outcore.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        outcore.Nonsense  # type: ignore[attr-defined]  # noqa: B018
    assert (Path(outcore.__file__).parent / "py.typed").is_file()


def test_the_engine_is_not_imported_before_it_is_wanted() -> None:
    program = "import sys, outcore; print('jupyter_client' in sys.modules, outcore.RLM.__name__)"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout == "False RLM\n", ran.stderr


def test_the_settings_by_name_are_those_of_settings() -> None:
    hints, taken = get_type_hints(Settings), get_type_hints(SettingsChanges)
    assert hints.keys() == taken.keys() | {"root", "sub"}
    assert [name for name in taken if hints[name] != taken[name]] == ["runs"]
    assert hints["runs"] == Path | None
    assert taken["runs"] == str | Path | None


def test_what_is_plainly_meant_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert Settings(runs="dir").runs == Path("dir")  # type: ignore[arg-type]
    assert Settings(runs=Path("~/dir")).runs == tmp_path / "dir"
    assert Settings(root=Path("model"), sub=Path("~/sub")) == Settings(  # type: ignore[arg-type]
        root=str(tmp_path / "model"), sub=str(tmp_path / "sub")
    )
    made = RLM(Path("model"), runs="dir")
    made.close()
    assert made.settings == Settings(root=str(tmp_path / "model"), runs=Path("dir"))


WRONG: list[tuple[str, object]] = [
    *((name, value) for name in ("root", "sub", "profile") for value in (5, "", b"x", ["x"])),
    *(("encoding", value) for value in (5, "", b"utf-8", "a\0b")),
    *(("runs", value) for value in (5, "", b"dir", "a\0b", "~nosuch-user/x")),
    *(
        (name, value)
        for name in ("root_mode", "direct", "sandbox")
        for value in (5, None, ["auto"])
    ),
    *(
        (name, value)
        for name in ("memo", "speculate", "shared_prefix")
        for value in (1, None, "no")
    ),
    *(
        (name, value)
        for name in ("depth", "kernels", "questions")
        for value in (-1, 1.0, True, "1", None)
    ),
    *(("budget", value) for value in ({"seconds": 3}, 3, None, Budget)),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=repr)
def test_a_setting_of_the_wrong_type_or_value_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        Settings(**{name: value})
    if not (name in ("root", "sub") and value is None):
        with pytest.raises(ConfigError, match=name):
            RLM(**{name: value})


def test_every_setting_has_wrong_values_above() -> None:
    assert {name for name, _ in WRONG} == {field.name for field in fields(Settings)}


def test_settings_that_are_none() -> None:
    with pytest.raises(ConfigError, match="settings is"):
        RLM(settings={"depth": 2})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="no setting 'seconds'"):
        RLM(seconds=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="seconds must be a number with an end"):
        Budget(seconds=10**400)


@pytest.mark.parametrize("question", [5, Path(), b"Who?", ["Who?"], "", " "])
def test_a_question_that_is_no_text_is_refused(rlm: RLM, question: Any) -> None:
    with pytest.raises(ConfigError, match="the question is"):
        rlm.completion("a text", question)


@pytest.mark.parametrize("budget", [{"seconds": 3}, 3, Budget])
async def test_a_budget_that_is_none_is_refused(rlm: RLM, budget: Any) -> None:
    with pytest.raises(ConfigError, match=r"budget=Budget\(seconds=60\)"):
        rlm.completion("a text", "Who?", budget=budget)
    with pytest.raises(ConfigError, match=r"budget=Budget\(seconds=60\)"):
        await rlm.acompletion("a text", "Who?", budget=budget)


@pytest.mark.parametrize(
    "context", [5, None, b"x", "", [], {}, {1: "x"}, [Path("a"), "b"], [object()], Path("nosuch")]
)
def test_a_context_that_is_none_is_refused(context: Any) -> None:
    made = RLM(direct="always")
    try:
        with pytest.raises(BadContext):
            made.completion(context, "Who?")
    finally:
        made.close()


def test_what_is_closed_says_so(rlm: RLM) -> None:
    rlm.close()
    with pytest.raises(OutcoreError, match="closed"):
        rlm.completion("a text", "Who?")
    with pytest.raises(OutcoreError, match="closed"), rlm:
        pass


# As a user's program; what is marked `# wrong` must be refused, and nothing else.
USER = """
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Any, assert_type

    from outcore import (
        RLM, Budget, Citation, Completion, Context, OutcoreError, Settings, SettingsChanges, Usage
    )
    from outcore import Nonsense  # wrong

    def ask(rlm: RLM, context: Context) -> Completion:
        return rlm.completion(context, "Who?", budget=Budget(seconds=3))

    async def later(rlm: RLM, texts: Sequence[str]) -> str:
        return (await rlm.acompletion(texts, "Who?")).answer

    def read(done: Completion) -> None:
        assert_type(done.answer, str)
        assert_type(done.citations, tuple[Citation, ...])
        assert_type(done.usage["sub"], Usage)
        assert_type(done.reason, str | None)
        done.nonsense  # wrong

    records: list[dict[str, Any]] = []
    paths = [Path("a"), Path("b")]
    changes: SettingsChanges = {"depth": 2, "runs": "dir"}
    misspelt: SettingsChanges = {"dept": 2}  # wrong
    with RLM(Path("model"), "sub", runs="dir", depth=2, encoding="latin-1") as rlm:
        for context in ("text", ["a", "b"], {"a": "b"}, records, paths, Path("corpus")):
            read(ask(rlm, context))
        rlm.completion(5, "Who?")  # wrong
        rlm.completion("text", Path())  # wrong
        rlm.completion("text", "Who?", budget={"seconds": 3})  # wrong
        rlm.completion("text", "Who?", seconds=3)  # wrong
    RLM(**changes, settings=Settings(memo=False))
    RLM(seconds=3)  # wrong
    RLM(dept=2)  # wrong
    RLM(depth="2")  # wrong
    RLM(root=5)  # wrong
    RLM(direct="sometimes")  # wrong
    RLM(budget={"seconds": 3})  # wrong
    try:
        RLM(runs=Path("dir"))
    except OutcoreError as error:
        assert_type(error, OutcoreError)
"""


def test_a_type_checker_refuses_what_is_wrong(tmp_path: Path) -> None:
    program = tmp_path / "user.py"
    program.write_text(textwrap.dedent(USER), encoding="utf-8")
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty"),
            *("--config-file", str(ROOT / "pyproject.toml")),
            *("--cache-dir", str(tmp_path / "cache"), str(program)),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT)},
    )
    lines = program.read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, start=1) if line.endswith("# wrong")}
    told = [line for line in ran.stdout.splitlines() if ": error: " in line]
    assert {int(line.split(":")[1]) for line in told} == wrong, ran.stdout + ran.stderr
