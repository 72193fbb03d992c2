"""What all tests share: a home of their own, and one pair of real models for the session."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from outcore.engine.rlm import RLM
from outcore.models.progress import on_stderr

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HOME = os.environ.get("OUTCORE_HOME")
# What these see depends on what else the machine has to do.
_ALONE = frozenset(
    {"test_deadlines", "test_landlock", "test_loops", "test_pool", "test_speculation"}
)
# How long an example takes says more of the machine than of the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For --hypothesis-profile=long; see fuzzing.py.
settings.register_profile("long", parent=settings.get_profile("patient"), print_blob=True)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The session's models stay in memory once they are up, and the tests that start others, as
    # a command line does, need that memory first.
    items.sort(key=lambda item: "rlm" in getattr(item, "fixturenames", ()))
    for item in items:
        if "model" in item.keywords or item.path.stem in _ALONE:
            item.add_marker("alone")
        elif item.path.stem == "test_attacks":
            # One after another: what is left of the machine is measured.
            item.add_marker(pytest.mark.xdist_group("attacks"))


@pytest.fixture(autouse=True)
def own_home(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh `$OUTCORE_HOME` for every test that needs no real weights."""
    if "model" not in request.keywords:
        monkeypatch.setenv("OUTCORE_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="session")
def rlm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RLM]:
    """The default models on this machine, fetched where they are missing."""
    runs = tmp_path_factory.mktemp("runs")
    # With the memo of the user who runs the tests, the models would say nothing twice.
    with RLM(progress=on_stderr(), runs=runs, memo=False) as running:
        yield running


@pytest.fixture
def noise() -> str:
    """A megabyte of prose that says nothing a test asks for; always the same."""
    lines = (
        f"On day {day} the caravan crossed {20 + day % 17} dunes, and the guide spoke of "
        f"{('water', 'stars', 'salt', 'camels', 'home')[day % 5]} until evening came."
        for day in range(12_000)
    )
    return "\n".join(lines)
