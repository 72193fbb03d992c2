"""Budget, trajectory, settings: the small parts of a run, each alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from outcore import settings
from outcore.config import Budget, Settings
from outcore.engine.budget import Spending
from outcore.engine.trajectory import Trajectory, read
from outcore.errors import BudgetExceeded, ConfigError, OutcoreError


def test_spending_tells_which_limit_is_reached() -> None:
    assert Spending(Budget()).spent() is None
    account = Spending(Budget(turns=2))
    account.turns = 2
    assert account.spent() == "2 turns"
    account = Spending(Budget(tokens=100))
    account.sub.tokens_in, account.sub.tokens_cached, account.sub.tokens_out = 300, 250, 49
    assert account.spent() is None
    account.sub.tokens_out = 50
    assert account.spent() == "100 tokens"
    account = Spending(Budget(seconds=10))
    account.started -= 9
    assert account.spent() == "10 seconds"


def test_calls_are_charged_until_the_budget_ends() -> None:
    account = Spending(Budget(calls=2))
    account.charge_call()
    account.charge_call()
    with pytest.raises(BudgetExceeded, match="2 sub-calls"):
        account.charge_call()


def test_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="turns must be above zero"):
        Budget(turns=0)


def test_trajectory_survives_a_torn_last_line(tmp_path: Path) -> None:
    record = Trajectory(tmp_path / "run")
    record.add("run", question="\u00e9" * 3000)
    record.add("end", answer="x")
    record.close()
    path = tmp_path / "run" / "trajectory.jsonl"
    whole = path.read_text(encoding="utf-8")
    path.write_text(whole[:-5], encoding="utf-8")
    events = list(read(tmp_path / "run"))
    assert [event["event"] for event in events] == ["run"]
    assert events[0]["question"] == "\u00e9" * 3000


def test_trajectory_folder_that_exists_is_an_error(tmp_path: Path) -> None:
    Trajectory(tmp_path / "run").close()
    with pytest.raises(OutcoreError, match="--runs"):
        Trajectory(tmp_path / "run")


def test_flags_win_over_environment_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("outcore.toml").write_text('root = "file"\nsub = "file"\nturns = 3\n', encoding="utf-8")
    environment = {"OUTCORE_SUB": "environment", "OUTCORE_SECONDS": "7.5"}
    found = settings.load({"root": "flag", "sub": None}, environment)
    assert (found.root, found.sub) == ("flag", "environment")
    assert (found.budget.turns, found.budget.seconds) == (3, 7.5)


def test_switches_and_counts_come_from_the_same_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (settings.load({}, {}).memo, settings.load({}, {}).speculate) == (True, True)
    Path("outcore.toml").write_text("memo = false\ndepth = 2\n", encoding="utf-8")
    found = settings.load({"speculate": False}, {"OUTCORE_KERNELS": "3"})
    assert (found.memo, found.speculate, found.depth, found.kernels) == (False, False, 2, 3)
    assert settings.load({}, {"OUTCORE_MEMO": "yes"}).memo is True
    with pytest.raises(ConfigError, match="OUTCORE_MEMO: memo must be true or false"):
        settings.load({}, {"OUTCORE_MEMO": "perhaps"})
    with pytest.raises(ConfigError, match="OUTCORE_DEPTH: depth must be a number"):
        settings.load({}, {"OUTCORE_DEPTH": "deep"})


def test_the_mode_of_the_root_comes_like_any_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert settings.load({}, {}).root_mode == "auto"
    (tmp_path / "outcore.toml").write_text('root_mode = "code"\n', encoding="utf-8")
    assert settings.load({}, {}).root_mode == "code"
    assert settings.load({}, {"OUTCORE_ROOT_MODE": "plan"}).root_mode == "plan"
    assert settings.load({"root_mode": "code"}, {"OUTCORE_ROOT_MODE": "plan"}).root_mode == "code"
    with pytest.raises(ConfigError, match="root_mode is 'both'; it can be one of"):
        settings.load({}, {"OUTCORE_ROOT_MODE": "both"})


def test_a_working_folder_can_not_lower_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in ('sandbox = "none"', 'root = "http://elsewhere"'):
        Path("outcore.toml").write_text(line + "\n", encoding="utf-8")
        with pytest.raises(ConfigError, match="working folder"):
            settings.load({}, {})


def test_bad_settings_name_their_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="OUTCORE_TURNS"):
        settings.load({}, {"OUTCORE_TURNS": "many"})
    Path("outcore.toml").write_text("turn = 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"outcore\.toml: unknown setting 'turn'"):
        settings.load({}, {})
    with pytest.raises(ConfigError, match="auto, bwrap, landlock, none"):
        Settings(sandbox="strong")  # type: ignore[arg-type]
