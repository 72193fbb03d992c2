"""The backend as vLLM sees it: how it registers, what it refuses, and what it makes of batches."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.metadata import entry_points
from inspect import signature
from typing import TYPE_CHECKING, Any

import pytest
import torch
from paging import one_thread, stretches_of
from record_block_tables import BLOCK, FILE, LONGEST, SLOTS, config, spec
from vllm.config import set_current_vllm_config
from vllm.platforms.interface import DeviceCapability
from vllm.v1.attention.backend import CommonAttentionMetadata
from vllm.v1.attention.backends.flash_attn import FlashAttentionImpl, FlashAttentionMetadata
from vllm.v1.attention.backends.registry import AttentionBackendEnum

from outcore.kernels import plugin
from outcore.kernels.audit import TOLERANCE, Audit
from outcore.kernels.backend import SharedPrefixBackend, SharedPrefixImpl
from outcore.kernels.builder import Grouped, SharedPrefixBuilder
from outcore.kernels.choice import Choice
from outcore.kernels.planner import Planner

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["one_thread"]
CPU = torch.device("cpu")
RECORDED = json.loads(FILE.read_text(encoding="utf-8"))
STEPS: list[dict[str, Any]] = RECORDED["steps"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return config(tmp_path_factory.mktemp("model"))


@pytest.fixture
def builder(made: Any) -> Iterator[SharedPrefixBuilder]:
    with set_current_vllm_config(made):
        yield SharedPrefixBuilder(spec(), ["layer"], made, CPU)


def batch(step: dict[str, Any], padding: int = 0) -> CommonAttentionMetadata:
    """What vLLM's runner hands to the builder for a recorded step; rows end in garbage."""
    queries = torch.tensor(step["queries"] + [0] * padding, dtype=torch.int32)
    starts = torch.cat((torch.zeros(1, dtype=torch.int32), queries.cumsum(0).int()))
    table = torch.randint(1, 2_000, (len(queries), LONGEST // BLOCK), dtype=torch.int32)
    for row, blocks in zip(table, step["tables"], strict=False):
        row[: len(blocks)] = torch.tensor(blocks, dtype=torch.int32)
    lengths = torch.tensor(step["lengths"] + [0] * padding, dtype=torch.int32)
    tokens = int(queries.sum())
    return CommonAttentionMetadata(
        query_start_loc=starts,
        query_start_loc_cpu=starts.clone(),
        seq_lens=lengths,
        seq_lens_cpu_upper_bound=lengths.clone(),
        num_reqs=len(queries),
        num_actual_tokens=tokens,
        max_query_len=int(queries.max()),
        max_seq_len=int(lengths.max()),
        block_table_tensor=table,
        slot_mapping=torch.arange(tokens),
    )


def decodes_of(step: dict[str, Any]) -> int:
    return sum(query == 1 for query in step["queries"])


def grouped(builder: SharedPrefixBuilder, common: CommonAttentionMetadata) -> Any:
    """The metadata of a step that is to go by groups."""
    builder.choice.grouped = True
    return builder.build(0, common)


def test_vllm_finds_the_plugin() -> None:
    [point] = entry_points(group="vllm.general_plugins", name="outcore-shared-prefix")
    register = point.load()
    assert register is plugin.register
    custom = AttentionBackendEnum[plugin.NAME]
    custom.clear_override()
    try:
        register()
        register()
        assert custom.get_class() is SharedPrefixBackend
        assert custom.get_class().get_name() == plugin.NAME
    finally:
        custom.clear_override()


def test_another_backend_of_that_name_stays() -> None:
    from vllm.v1.attention.backends.registry import register_backend

    custom = AttentionBackendEnum[plugin.NAME]
    register_backend(custom, "somebody.elses.Backend")
    try:
        plugin.register()
        assert custom.get_path() == "somebody.elses.Backend"
    finally:
        custom.clear_override()


def reasons(**changed: Any) -> list[str]:
    asked = {
        "head_size": 128,
        "dtype": torch.bfloat16,
        "kv_cache_dtype": "auto",
        "block_size": 16,
        "use_mla": False,
        "has_sink": False,
        "use_sparse": False,
        "use_mm_prefix": False,
        "use_per_head_quant_scales": False,
        "device_capability": DeviceCapability(9, 0),
        "attn_type": "decoder",
    }
    found: list[str] = SharedPrefixBackend.validate_configuration(**(asked | changed))
    return found


@pytest.mark.parametrize(
    "served",
    [{}, {"head_size": 64}, {"dtype": torch.float16}, {"block_size": 128},
     {"device_capability": DeviceCapability(8, 0)}],
)  # fmt: skip
def test_what_is_served(served: dict[str, Any]) -> None:
    assert reasons(**served) == []


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ({"head_size": 512}, "head_size not supported"),
        ({"head_size": 12}, "head_size not supported"),
        ({"dtype": torch.float32}, "dtype not supported"),
        ({"kv_cache_dtype": "fp8"}, "kv_cache_dtype not supported"),
        ({"block_size": 24}, "block_size not supported"),
        ({"use_mla": True}, "MLA not supported"),
        ({"has_sink": True}, "attention sinks not supported"),
        ({"has_sliding_window": True}, "sliding window not supported"),
        ({"use_non_causal": True}, "non-causal attention not supported"),
        ({"use_batch_invariant": True}, "batch invariance not supported"),
        ({"use_adaptive_verification": True}, "device-cpu query lens mismatch not supported"),
        ({"attn_type": "encoder_only"}, "attention type encoder_only not supported"),
        ({"use_pcp": True}, "PCP not supported"),
        ({"use_dcp": True}, "DCP not supported"),
        ({"use_rswa": True}, "R-SWA not supported"),
        ({"device_capability": DeviceCapability(7, 5)}, "compute capability not supported"),
    ],
)
def test_what_is_refused_when_vllm_chooses_the_backend(
    refused: dict[str, Any], reason: str
) -> None:
    known = signature(SharedPrefixBackend.validate_configuration).parameters
    if not refused.keys() <= known.keys():
        pytest.skip("this vLLM does not ask; layers refuse it when they are made")
    assert any(said.startswith(reason) for said in reasons(**refused))


LAYER = {
    "num_heads": 8,
    "head_size": 16,
    "scale": 0.25,
    "num_kv_heads": 2,
    "alibi_slopes": None,
    "sliding_window": None,
    "kv_cache_dtype": "auto",
}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"alibi_slopes": [0.5] * 8}, "ALiBi"),
        ({"sliding_window": 512}, "a sliding window"),
        ({"logits_soft_cap": 30.0}, "soft-capped scores"),
        ({"attn_type": "encoder_only"}, "attention of the type encoder_only"),
        ({"num_heads": 130, "num_kv_heads": 1}, "130 query heads for each key-value head"),
    ],
)
def test_what_is_refused_when_a_layer_is_made(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"can't serve a layer with .*{reason}.*CUSTOM"):
        SharedPrefixImpl(**(LAYER | change))


def test_the_plan_belongs_to_its_table(builder: SharedPrefixBuilder) -> None:
    assert not builder.supports_update_block_table
    assert builder.reorder_batch_threshold == 1


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{len(step['queries'])}")
def test_recorded_batches_are_grouped_by_slice(
    builder: SharedPrefixBuilder, step: dict[str, Any]
) -> None:
    common = batch(step)
    metadata = grouped(builder, common)
    decodes = decodes_of(step)
    members: dict[str, set[int]] = {}
    for row, name in enumerate(step["names"][:decodes]):
        members.setdefault(name.partition("-")[0], set()).add(row)
    wanted = {frozenset(rows) for rows in members.values() if len(rows) >= 4}
    if decodes < 2:
        assert isinstance(metadata, FlashAttentionMetadata)
        return
    assert isinstance(metadata, Grouped)
    found = stretches_of(metadata.plan.shared)
    assert {frozenset(rows) for rows, *_ in found} == wanted
    for rows, _, begin, end in found:
        assert begin == 0
        # A slice has 500 tokens at least, the system prompt 40, and questions differ.
        shortest = min(step["lengths"][row] for row in rows)
        assert 512 <= end < shortest
    assert (metadata.lengths == common.seq_lens[:decodes]).all()
    assert metadata.num_actual_tokens == common.num_actual_tokens


def test_the_rest_of_a_mixed_batch_is_a_batch_of_its_own(builder: SharedPrefixBuilder) -> None:
    mixed = [step for step in STEPS if 2 <= decodes_of(step) < len(step["queries"])]
    assert mixed
    for step in mixed:
        common, decodes = batch(step), decodes_of(step)
        rest = grouped(builder, common).rest
        assert isinstance(rest, FlashAttentionMetadata)
        queries = step["queries"][decodes:]
        assert rest.query_start_loc.tolist() == [
            sum(queries[:at]) for at in range(len(queries) + 1)
        ]
        assert rest.num_actual_tokens == sum(queries)
        assert rest.seq_lens.tolist() == step["lengths"][decodes:]
        assert (rest.block_table == common.block_table_tensor[decodes:]).all()
        assert rest.slot_mapping.tolist() == list(range(decodes, common.num_actual_tokens))


def test_rows_that_fill_up_a_batch_are_left_out(builder: SharedPrefixBuilder) -> None:
    step = next(step for step in STEPS if decodes_of(step) == len(step["queries"]))
    metadata = grouped(builder, batch(step, padding=3))
    assert isinstance(metadata, Grouped)
    assert len(metadata.lengths) == len(step["queries"])
    assert metadata.rest is None


def alone(step: dict[str, Any]) -> dict[str, Any]:
    """The same requests, none of whose blocks are shared."""
    return dict(step, tables=[[7 + row] * len(each) for row, each in enumerate(step["tables"])])


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many requests were planned each time."""
    found = []
    plan = Planner.__call__

    def noted(self: Planner, table: torch.Tensor, lengths: torch.Tensor) -> Any:
        found.append(len(table))
        return plan(self, table, lengths)

    monkeypatch.setattr(Planner, "__call__", noted)
    return found


def test_flash_attention_takes_what_is_not_known_to_share(builder: SharedPrefixBuilder) -> None:
    step = max(STEPS, key=decodes_of)
    kinds = [type(builder.build(0, batch(step))) for _ in range(6)]
    # The first step looks, the second knows, and chooses the way of the third.
    assert kinds == [FlashAttentionMetadata] * 2 + [Grouped] * 4


def test_batches_that_share_nothing_are_looked_at_now_and_then(
    builder: SharedPrefixBuilder, looks: list[int]
) -> None:
    step = alone(max(STEPS, key=decodes_of))
    for _ in range(60):
        assert isinstance(builder.build(0, batch(step)), FlashAttentionMetadata)
    # After 8 batches, 16 more, and 32 more.
    assert len(looks) == 4


def test_batches_that_stop_sharing_go_back(builder: SharedPrefixBuilder) -> None:
    step = max(STEPS, key=decodes_of)
    for _ in range(3):
        builder.build(0, batch(step))
    kinds = [type(builder.build(0, batch(alone(step)))) for _ in range(3)]
    assert kinds == [Grouped, Grouped, FlashAttentionMetadata]


@pytest.mark.parametrize(("grouped_takes", "ends_grouped"), [(1.0, True), (3.0, False)])
def test_the_faster_way_is_found_out(
    builder: SharedPrefixBuilder, grouped_takes: float, ends_grouped: bool
) -> None:
    """Steps of a clock that is set by hand."""
    step, now = batch(max(STEPS, key=decodes_of)), 0.0
    builder.choice = Choice(lambda: now)
    kinds = []
    for _ in range(40):
        kinds.append(isinstance(builder.build(0, step), Grouped))
        now += grouped_takes if kinds[-1] else 2.0
    assert kinds[-10:] == [ends_grouped] * 10


def test_padding_does_not_change_the_kind_of_a_step(
    builder: SharedPrefixBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = []
    monkeypatch.setattr(builder.choice, "step", lambda kind, **_: kinds.append(kind))
    step = next(step for step in STEPS if decodes_of(step) == len(step["queries"]))
    for padding in (0, 0, 5):
        common = batch(step, padding=padding)
        # A whole graph runs all of its rows.
        builder.build(0, replace(common, num_actual_tokens=common.num_actual_tokens + padding))
    assert kinds[1] == kinds[2]


def test_whole_graphs_hold_flash_attention(builder: SharedPrefixBuilder, looks: list[int]) -> None:
    builder.choice.grouped = True
    metadata = builder.build_for_cudagraph_capture(batch(max(STEPS, key=decodes_of)))
    assert isinstance(metadata, FlashAttentionMetadata)
    assert looks == []


@pytest.mark.parametrize("change", [{"causal": False}, {"max_query_len": 4}])
def test_batches_of_another_kind_are_not_grouped(
    builder: SharedPrefixBuilder, change: dict[str, Any]
) -> None:
    builder.choice.grouped = True
    step = max(STEPS, key=decodes_of)
    if "max_query_len" in change:
        step = dict(step, queries=[4] * len(step["queries"]))
    common = replace(batch(step), **change)
    assert isinstance(builder.build(0, common), FlashAttentionMetadata)


def test_a_draft_is_not_grouped(builder: SharedPrefixBuilder) -> None:
    builder.choice.grouped = True
    step = max(STEPS, key=decodes_of)
    assert isinstance(builder.build(0, batch(step), fast_build=True), FlashAttentionMetadata)


def test_the_builder_refuses_what_cannot_be_served(made: Any) -> None:
    with set_current_vllm_config(made), pytest.raises(ValueError, match="head size 12"):
        SharedPrefixBuilder(replace(spec(), head_size=12), ["layer"], made, CPU)


def test_layers_send_each_part_where_it_belongs(
    builder: SharedPrefixBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = next(step for step in STEPS if 2 <= decodes_of(step) < len(step["queries"]))
    common, decodes = batch(step), decodes_of(step)
    metadata = replace(grouped(builder, common), whole=None)
    tokens = common.num_actual_tokens
    query = torch.arange(tokens + 3.0)[:, None, None].expand(-1, 8, 16)
    output = torch.full((tokens + 3, 8, 16), -1.0)
    cache = torch.zeros(10, 2, BLOCK, 32)
    seen: dict[str, Any] = {}

    def by_groups(self: Any, query: Any, cache: Any, plan: Any, scale: float, out: Any) -> Any:
        seen["groups"] = (plan, scale, cache.table, cache.keys.shape)
        return out.copy_(query)

    def by_flash(self: Any, layer: Any, query: Any, key: Any, value: Any, kv_cache: Any,
                 metadata: Any, output: Any, *scales: Any) -> Any:  # fmt: skip
        seen["flash"] = metadata
        return output.copy_(query)

    monkeypatch.setattr(type(builder.decoder), "__call__", by_groups)
    monkeypatch.setattr(FlashAttentionImpl, "forward", by_flash)
    layer = SharedPrefixImpl(**LAYER)
    assert layer.forward(None, query, query, query, cache, metadata, output) is output
    assert (output[:tokens] == query[:tokens]).all()
    assert (output[tokens:] == -1).all()
    plan, scale, table, shape = seen["groups"]
    assert plan is metadata.plan
    assert scale == 0.25
    assert (table == common.block_table_tensor[:decodes, : table.shape[1]]).all()
    assert shape == (10, BLOCK, 2, 16)
    assert seen["flash"] is metadata.rest

    seen.clear()
    layer.forward(None, query, query, query, cache, metadata.rest, output)
    assert list(seen) == ["flash"]
    layer.forward(None, query, query, query, cache, None, output)


@pytest.mark.parametrize("off", [0.0, TOLERANCE / 2, 2 * TOLERANCE, float("nan")])
def test_what_differs_from_flash_attention_ends_the_engine(
    builder: SharedPrefixBuilder, monkeypatch: pytest.MonkeyPatch, off: float
) -> None:
    step = max(STEPS, key=decodes_of)
    common = batch(step)
    query = torch.randn(common.num_actual_tokens, 8, 16)
    cache = torch.zeros(10, 2, BLOCK, 32)
    calls = []

    def by_groups(self: Any, query: Any, cache: Any, plan: Any, scale: float, out: Any) -> Any:
        out.copy_(query)
        out[-1, -1, 0] += off * query[-1, -1].abs().max()
        return out

    def by_flash(self: Any, layer: Any, query: Any, key: Any, value: Any, kv_cache: Any,
                 metadata: Any, output: Any, *scales: Any) -> Any:  # fmt: skip
        calls.append(metadata.num_actual_tokens)
        return output.copy_(query)

    monkeypatch.setattr(type(builder.decoder), "__call__", by_groups)
    monkeypatch.setattr(FlashAttentionImpl, "forward", by_flash)
    layer = SharedPrefixImpl(**LAYER)
    metadata = grouped(builder, common)
    for _ in range(3):  # three layers, of which one is audited
        layer.forward(None, query, query, query, cache, metadata, torch.empty_like(query))
    whole = [calls.pop() for _ in range(calls.count(len(query)))]
    assert whole == [len(query)]
    if off <= TOLERANCE:
        grouped(builder, common)
    else:
        with pytest.raises(RuntimeError, match=r"differed from FlashAttention's .*--no-shared"):
            grouped(builder, common)


def test_audits_become_rare_and_layers_take_turns() -> None:
    audit = Audit(CPU, layers=3)
    audited = []
    for _ in range(2_000):
        due = audit.due()
        turns = [audit.wants() for _ in range(3)]
        assert sum(turns) == due
        if due:
            audited.append(turns.index(True))
    assert audited[:16] == [step % 3 for step in range(16)]
    assert len(audited) == 16 + 2_000 // 512


def test_quantized_output_is_refused(builder: SharedPrefixBuilder) -> None:
    metadata = grouped(builder, batch(max(STEPS, key=decodes_of)))
    layer = SharedPrefixImpl(**LAYER)
    some = torch.zeros(1, 8, 16)
    with pytest.raises(NotImplementedError, match="quantize its output"):
        layer.forward(None, some, some, some, some, metadata, some, torch.ones(1))


def test_recorded_tables_are_of_the_size_they_say() -> None:
    assert RECORDED["block"] == BLOCK
    for step in STEPS:
        assert len(step["queries"]) <= SLOTS
        for length, blocks in zip(step["lengths"], step["tables"], strict=True):
            assert len(blocks) == -(-length // BLOCK)
