"""Which requests share what, found from block tables alone."""

from __future__ import annotations

import random
from dataclasses import fields

import torch
from hypothesis import given
from hypothesis import strategies as st
from paging import Requests, Tables, covered, limits_of, one_thread, stretches_of, tables
from torch._subclasses.fake_tensor import FakeTensorMode

from outcore.kernels.groups import Plan, find
from outcore.kernels.tiles import SHORTEST, Tiles, ladder

__all__ = ["one_thread"]
CPU = torch.device("cpu")


def plan_of(batch: Tables, *, block: int = 16, longest: int = 8_192, **limits: int) -> Plan:
    return find(
        batch.table, batch.lengths, ladder(longest, CPU), limits_of(batch, block=block, **limits)
    )


def whole(plan: Plan, batch: Tables, block: int = 16) -> None:
    """Every token of every request is read exactly once, and from blocks that are its own."""
    for spans, length in zip(covered(plan, len(batch.table)), batch.lengths.tolist(), strict=True):
        at = 0
        for begin, end in spans:
            assert begin == at
            at = end
        assert at == length
    for members, source, begin, end in stretches_of(plan.shared):
        columns = slice(begin // block, end // block)
        for member in members:
            assert (batch.table[member, columns] == batch.table[source, columns]).all()


def items_fit(tiles: Tiles, slots: int) -> None:
    """Items and partial results: each has a place of its own, and together they are all."""
    count, length = tiles.size.tolist()
    places = []
    items = []
    for tile in range(len(tiles.first)):
        tokens = int(tiles.end[tile] - tiles.begin[tile])
        splits = -(-tokens // length)
        assert int(tiles.splits[tile]) == splits
        members, slot = int(tiles.members[tile]), int(tiles.slot[tile])
        items += [(int(tiles.item[tile]) + split, tile) for split in range(splits)]
        places += [slot + at for at in range(splits * members)]
    assert [number for number, _ in items] == list(range(count))
    assert tiles.tile_of[:count].tolist() == [tile for _, tile in items]
    assert sorted(places) == list(range(len(places)))
    assert len(places) <= slots


def test_groups_are_found_in_any_order() -> None:
    batch = tables(
        [Requests(20, ("a",)), Requests(9, ("b",)), Requests(3, ("c",)), Requests(5)],
        {"a": 40, "b": 25, "c": 60},
        block=16,
    )
    plan = plan_of(batch)
    whole(plan, batch)
    found = {(end, len(members)) for members, _, _, end in stretches_of(plan.shared)}
    # 20 members take two tiles of 16; three are too few.
    assert found == {(640, 16), (640, 4), (400, 9)}
    saved = 19 * 640 + 8 * 400
    assert plan.tokens.tolist() == [int(batch.lengths.sum()), saved]


def test_questions_that_begin_alike_stay_one_group() -> None:
    batch = tables(
        [Requests(4, ("slice", word)) for word in ("who", "what", "when", "where")],
        {"slice": 100, "who": 1, "what": 1, "when": 2, "where": 1},
        block=16,
    )
    plan = plan_of(batch)
    whole(plan, batch)
    assert [(len(members), end) for members, _, _, end in stretches_of(plan.shared)] == [(16, 1600)]


def test_what_all_share_is_read_once_and_what_some_share_once_for_them() -> None:
    batch = tables(
        [Requests(8, ("system", name)) for name in "abcd"],
        {"system": 64, **dict.fromkeys("abcd", 80)},
        block=16,
    )
    plan = plan_of(batch, tile_members=32)
    whole(plan, batch)
    shape = sorted(
        (len(members), begin, end) for members, _, begin, end in stretches_of(plan.shared)
    )
    assert shape == [(8, 1024, 2304)] * 4 + [(32, 0, 1024)]


def test_a_few_that_share_more_do_not_leave_the_rest() -> None:
    batch = tables(
        [Requests(24, ("slice",)), Requests(8, ("slice", "more"))],
        {"slice": 50, "more": 50},
        block=16,
    )
    plan = plan_of(batch, tile_members=32)
    whole(plan, batch)
    shape = sorted(
        (len(members), begin, end) for members, _, begin, end in stretches_of(plan.shared)
    )
    assert shape == [(8, 800, 1600), (32, 0, 800)]


def test_too_short_or_too_few_is_not_shared() -> None:
    batch = tables(
        [Requests(3, ("long",)), Requests(30, ("short",))], {"long": 50, "short": 3}, block=16
    )
    plan = plan_of(batch, min_members=4, min_tokens=64)
    whole(plan, batch)
    assert stretches_of(plan.shared) == []
    assert float(plan.tokens[1]) == 0


def test_one_request() -> None:
    batch = tables([Requests(1)], {}, block=16)
    plan = plan_of(batch)
    whole(plan, batch)
    assert stretches_of(plan.shared) == []


def test_requests_that_are_not_there_read_nothing() -> None:
    batch = tables([Requests(8, ("a",))], {"a": 10}, block=16, shuffle=False)
    batch.lengths[6:] = 0
    plan = plan_of(batch)
    whole(plan, batch)
    assert [sorted(members) for members, *_ in stretches_of(plan.shared)] == [list(range(6))]
    assert plan.pieces[6:, :, 2].sum() == 0


def test_the_block_being_written_is_never_shared() -> None:
    batch = tables([Requests(6, ("a",))], {"a": 10}, block=16, shuffle=False, own=(1, 1))
    batch.table[:, 10] = batch.table[0, 10]
    batch.lengths[:] = 160
    whole(plan_of(batch), batch)
    assert {end for *_, end in stretches_of(plan_of(batch).shared)} == {144}


def test_a_later_block_in_common_is_not_a_prefix_in_common() -> None:
    batch = tables([Requests(8, ("a",))], {"a": 20}, block=16, shuffle=False)
    batch.table[5, 3] = batch.table[5, 22] + 1 if batch.table[5, 22] + 1 < batch.blocks else 1
    plan = plan_of(batch)
    whole(plan, batch)
    assert covered(plan, 8)[5] == [(0, int(batch.lengths[5]))]
    assert len(covered(plan, 8)[4]) == 2


def test_thousands_of_members() -> None:
    batch = tables(
        [Requests(2_500, ("a",)), Requests(1_500, ("b",)), Requests(96)],
        {"a": 33, "b": 35},
        block=16,
    )
    plan = plan_of(batch)
    whole(plan, batch)
    items_fit(plan.shared, 2 * 4_096 + 512)
    items_fit(plan.own, 4_096 + 32)
    assert sum(len(members) for members, *_ in stretches_of(plan.shared)) == 4_000


@given(st.integers(0, 2**32), st.sampled_from([1, 16, 48, 128]))
def test_any_batch_is_read_whole(seed: int, block: int) -> None:
    chance = random.Random(seed)
    names = {name: chance.randint(1, 12) for name in "abcdef"}
    groups = [
        Requests(chance.randint(1, 9), tuple(chance.sample(sorted(names), chance.randint(0, 3))))
        for _ in range(chance.randint(1, 8))
    ]
    batch = tables(groups, names, block=block, seed=seed, own=(1, 3 * block))
    if chance.random() < 0.5:
        # Blocks no cache would hand out so: any column may equal any other.
        batch.table[:, : chance.randint(1, 4)] = chance.randrange(1, batch.blocks)
        noise = torch.rand(batch.table.shape, generator=torch.Generator().manual_seed(seed)) < 0.05
        batch.table[noise] = 1
    plan = plan_of(
        batch,
        block=block,
        min_members=chance.randint(1, 5),
        min_tokens=chance.randint(1, 6 * block),
        tile_members=chance.randint(1, 20),
        programs=chance.randint(1, 300),
        shared_slots=2 * len(batch.table) + chance.randint(0, 600),
        own_slots=len(batch.table) + chance.randint(0, 100),
    )
    whole(plan, batch, block)
    items_fit(plan.shared, len(plan.shared.tile_of))
    items_fit(plan.own, len(plan.own.tile_of))


def test_work_is_split_so_that_programs_end_together() -> None:
    batch = tables([Requests(32, (name,)) for name in "abcdefgh"], dict.fromkeys("abcdefgh", 512),
                   block=16)  # fmt: skip
    plan = plan_of(batch, kv_heads=8, tile_members=32, programs=264, longest=40_960,
                   shared_slots=4_096)  # fmt: skip
    count, length = plan.shared.size.tolist()
    # 8 slices x 8 heads: four parts each come nearest to 264 programs from below.
    assert (count * 8, length) == (256, 2_048)


def test_ladder_reaches_the_longest_request() -> None:
    for longest in (1, 128, 129, 1_000, 40_960, 262_144):
        steps = ladder(longest, CPU).tolist()
        assert steps == sorted(set(steps))
        assert steps[-1] >= longest
        assert all(step % SHORTEST == 0 for step in steps)


def test_room_for_more_requests_and_blocks_changes_nothing() -> None:
    batch = tables([Requests(20, ("a",)), Requests(5, ("b",)), Requests(2)], {"a": 40, "b": 33},
                   block=16)  # fmt: skip
    # As on a GPU, where a plan is always made for the largest batch; rows begin with another's.
    requests = len(batch.table)
    table = batch.table[torch.arange(requests + 6) % requests]
    table = torch.cat((table, table[:, :7]), dim=1)
    lengths = torch.cat((batch.lengths, batch.lengths.new_zeros(6)))
    limits = limits_of(batch, block=16)
    wanted = plan_of(batch)
    plan = find(table, lengths, ladder(8_192, CPU), limits)
    there = wanted.pieces[..., 2] > 0
    assert (plan.pieces[:requests, :, 2] == wanted.pieces[..., 2]).all()
    assert (plan.pieces[:requests][there] == wanted.pieces[there]).all()
    assert (plan.pieces[requests:, :, 2] == 0).all()
    assert (plan.shared.size == wanted.shared.size).all()
    assert (plan.own.size == wanted.own.size).all()
    assert (plan.tokens == wanted.tokens).all()


def test_nothing_waits_for_the_device() -> None:
    batch = tables([Requests(20, ("a",)), Requests(5)], {"a": 40}, block=16)
    limits = limits_of(batch, block=16)
    # Fake tensors have no values: whatever would read one on the host raises, and so does
    # whatever would make a tensor whose size depends on one.
    with FakeTensorMode() as mode:
        table, lengths = mode.from_tensor(batch.table), mode.from_tensor(batch.lengths)
        plan = find(table, lengths, ladder(8_192, CPU), limits)
    real = plan_of(batch)
    for name in ("shared", "own"):
        for field in fields(Tiles):
            fake, true = (getattr(getattr(each, name), field.name) for each in (plan, real))
            assert (fake.shape, fake.dtype) == (true.shape, torch.int32)
    assert plan.pieces.shape == (25, 3, 3)
