"""Which way decode steps go, on clocks set by hand, and how vLLM's graphs follow."""

from __future__ import annotations

import random
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from record_block_tables import config, spec
from vllm.config import (
    CompilationConfig,
    CompilationMode,
    CUDAGraphMode,
    set_current_vllm_config,
)
from vllm.v1.attention.backend import AttentionCGSupport
from vllm.v1.cudagraph_dispatcher import CudagraphDispatcher
from vllm.v1.worker.gpu import cudagraph_utils

from outcore.kernels import graphs
from outcore.kernels.builder import SharedPrefixBuilder
from outcore.kernels.choice import Choice, Kind, kind_of
from outcore.kernels.looks import Looks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SHARING, OTHER = Kind(8, 0, 20, 7), Kind(6, 0, 17, 7)


class Steps:
    """Runs steps, each of which takes what a rule says."""

    def __init__(self, takes: Callable[[Kind, bool], float]) -> None:
        self.now = 0.0
        self.choice = Choice(lambda: self.now)
        self.takes = takes
        self.ways: list[bool] = []

    def run(self, count: int, kind: Kind = SHARING, *, saves: bool = True) -> list[bool]:
        """The ways that they went."""
        for _ in range(count):
            grouped = self.choice.grouped
            self.choice.step(kind, saves=saves, grouped=grouped)
            self.ways.append(grouped)
            self.now += self.takes(kind, grouped)
        return self.ways[-count:]


def noisy(grouped: float, plain: float) -> Callable[[Kind, bool], float]:
    chance = random.Random(f"{grouped} {plain}")

    def takes(kind: Kind, way: bool) -> float:
        stall = 50.0 if chance.random() < 0.02 else 0.0
        return (grouped if way else plain) * chance.uniform(0.97, 1.03) + stall

    return takes


@pytest.mark.parametrize(
    ("grouped", "plain"), [(0.1, 1.0), (0.6, 1.0), (0.9, 1.0), (1.1, 1.0), (1.5, 1.0), (9.0, 1.0)]
)
def test_the_faster_way_is_taken_nearly_always(grouped: float, plain: float) -> None:
    steps = Steps(noisy(grouped, plain))
    ways = steps.run(20_000)
    right = grouped < plain
    assert Counter(ways)[right] >= 0.98 * len(ways)
    assert Counter(ways[-5_000:])[right] >= 0.99 * 5_000


def test_what_changes_is_found_out() -> None:
    speed = {True: 1.0, False: 2.0}
    steps = Steps(lambda kind, way: speed[way])
    assert all(steps.run(2_000)[-100:])
    speed[True] = 4.0
    assert not any(steps.run(10_000)[-100:])


def test_kinds_are_judged_apart() -> None:
    steps = Steps(lambda kind, way: 2.0 if way == (kind == OTHER) else 1.0)
    for _ in range(30):
        sharing, other = steps.run(40, SHARING), steps.run(40, OTHER)
    # The first step of each was chosen when the other kind was still there.
    assert all(sharing[1:])
    assert not any(other[1:])


def test_kinds_in_turn_are_not_measured_against_one_another() -> None:
    steps = Steps(lambda kind, way: 9.0 if kind == SHARING else 1.0)
    for _ in range(200):
        steps.run(1, SHARING)
        steps.run(1, OTHER)
    assert all(steps.ways[1:])


def test_what_saves_nothing_is_not_tried() -> None:
    steps = Steps(lambda kind, way: 1.0)
    assert not any(steps.run(500, saves=False))


def test_time_without_steps_counts_for_none() -> None:
    steps = Steps(lambda kind, way: 1.0 if way else 2.0)
    for _ in range(60):
        steps.run(20)
        steps.now += 1e6
        steps.choice.idle()
    assert Counter(steps.ways)[True] > 0.9 * len(steps.ways)


def test_a_request_that_is_left_alone_is_run_plainly() -> None:
    steps = Steps(lambda kind, way: 1.0 if way else 2.0)
    assert all(steps.run(40)[-10:])
    steps.choice.idle()
    assert not steps.choice.grouped
    assert all(steps.run(10)[1:])


def test_steps_of_one_kind_are_of_about_the_same_size() -> None:
    assert kind_of(200, 0, 1e6, 9e5) == kind_of(201, 0, 1.01e6, 9.1e5)
    near = kind_of(200, 0, 1e6, 9e5)
    for other in ((20, 0, 1e6, 9e5), (200, 500, 1e6, 9e5), (200, 0, 1e5, 9e4), (200, 0, 1e6, 1e5)):
        assert kind_of(*other) != near
    assert kind_of(2, 0, 0, 0).saving == 0


def looked_at(looks: Looks, requests: list[int], *, found: bool = False) -> list[int]:
    return [at for at, many in enumerate(requests) if looks.due(many, found=found)]


def test_a_batch_that_stays_is_looked_at_less_and_less() -> None:
    assert looked_at(Looks(4), [20] * 200) == [0, 8, 24, 56, 120, 184]


def test_a_batch_that_shares_is_looked_at_as_often_as_ever() -> None:
    assert looked_at(Looks(4), [20] * 30, found=True) == [0, 8, 16, 24]


def test_requests_that_join_are_looked_at_at_once() -> None:
    looks = Looks(4)
    assert looked_at(looks, [20] * 100) == [0, 8, 24, 56]
    # Three have gone before five came.
    assert looked_at(looks, [17, 20, 22, 22, 22]) == [2]
    assert looked_at(looks, [22] * 9) == [5]


def test_too_few_requests_are_not_looked_at() -> None:
    assert looked_at(Looks(4), [3] * 100) == []
    assert looked_at(Looks(4), [1, 2, 3, 4, 5]) == [3]


@pytest.fixture
def made(tmp_path: Path) -> Any:
    found = config(tmp_path)
    found.compilation_config.cudagraph_capture_sizes = [1, 2, 4, 8, 16]
    found.compilation_config.max_cudagraph_capture_size = 16
    found.compilation_config.cudagraph_mode = CUDAGraphMode.FULL_AND_PIECEWISE
    # As on a GPU, where attention runs between the pieces.
    found.compilation_config.mode = CompilationMode.VLLM_COMPILE
    found.compilation_config.splitting_ops = list(CompilationConfig._attention_ops)
    return found


@pytest.fixture
def choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[Choice]:
    for owner, dispatch, *_ in graphs._dispatchers():
        monkeypatch.setattr(owner, "dispatch", dispatch)
    made = Choice()
    graphs.follow(made)
    yield made
    made.grouped = False


def test_the_first_runner_runs_groups_in_pieces(made: Any, choice: Choice) -> None:
    with set_current_vllm_config(made):
        dispatcher = CudagraphDispatcher(made)
        dispatcher.initialize_cudagraph_keys(CUDAGraphMode.FULL_AND_PIECEWISE)

    def mode(**given: Any) -> CUDAGraphMode:
        found, batch = dispatcher.dispatch(7, uniform_decode=True, **given)
        assert batch.num_tokens == 8
        return CUDAGraphMode(found)

    assert mode() is CUDAGraphMode.FULL
    choice.grouped = True
    assert mode() is CUDAGraphMode.PIECEWISE
    assert mode(invalid_modes={CUDAGraphMode.FULL}) is CUDAGraphMode.PIECEWISE
    choice.grouped = False
    assert mode() is CUDAGraphMode.FULL


@pytest.mark.parametrize(
    ("graphs_of", "by_groups"),
    [(CUDAGraphMode.FULL_AND_PIECEWISE, CUDAGraphMode.PIECEWISE),
     (CUDAGraphMode.FULL, CUDAGraphMode.NONE)],
)  # fmt: skip
def test_the_second_runner_runs_groups_in_pieces(
    made: Any, choice: Choice, monkeypatch: pytest.MonkeyPatch,
    graphs_of: CUDAGraphMode, by_groups: CUDAGraphMode,
) -> None:  # fmt: skip
    platform = SimpleNamespace(get_global_graph_pool=lambda: None)
    rank = SimpleNamespace(is_first_rank=True, is_last_rank=True)
    monkeypatch.setattr(cudagraph_utils, "current_platform", platform)
    monkeypatch.setattr(cudagraph_utils, "get_pp_group", lambda: rank)
    manager = cudagraph_utils.CudaGraphManager(made, torch.device("cpu"), graphs_of, 1)
    manager._graphs_captured = True

    def mode() -> CUDAGraphMode:
        found = manager.dispatch(7, 7, 1, num_active_loras=0)
        assert found.num_tokens == (7 if found.cg_mode is CUDAGraphMode.NONE else 8)
        return CUDAGraphMode(found.cg_mode)

    assert mode() is CUDAGraphMode.FULL
    choice.grouped = True
    assert mode() is by_groups
    choice.grouped = False
    assert mode() is CUDAGraphMode.FULL


def test_dispatchers_are_wrapped_once(choice: Choice) -> None:
    before = [dispatch for _, dispatch, *_ in graphs._dispatchers()]
    graphs.follow(Choice())
    assert [dispatch for _, dispatch, *_ in graphs._dispatchers()] == before


def test_an_engine_that_is_gone_is_not_asked(made: Any, choice: Choice) -> None:
    other = Choice()
    other.grouped = True
    graphs.follow(other)
    assert graphs._by_groups()
    del other
    assert not graphs._by_groups()


def test_whole_graphs_are_there_for_one_process(made: Any) -> None:
    theirs = SharedPrefixBuilder.__base__.get_cudagraph_support(made, spec())
    assert SharedPrefixBuilder.get_cudagraph_support(made, spec()) is theirs
    assert theirs is not AttentionCGSupport.NEVER


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [("parallel_config", "world_size", 2), ("parallel_config", "data_parallel_size", 2),
     ("parallel_config", "enable_dbo", True), (None, "speculative_config", SimpleNamespace())],
)  # fmt: skip
def test_graphs_are_in_pieces_where_several_run_a_step(
    made: Any, part: str | None, name: str, value: Any
) -> None:
    owner = made if part is None else getattr(made, part)
    object.__setattr__(owner, name, value)
    support = SharedPrefixBuilder.get_cudagraph_support(made, spec())
    assert support is AttentionCGSupport.NEVER


def test_graphs_are_in_pieces_where_vllm_asks_otherwise(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dispatch(self: Any, tokens: int) -> None: ...

    monkeypatch.setattr(CudagraphDispatcher, "dispatch", dispatch)
    graphs.follow(Choice())
    assert CudagraphDispatcher.dispatch is dispatch
    support = SharedPrefixBuilder.get_cudagraph_support(made, spec())
    assert support is AttentionCGSupport.NEVER
