"""Decode attention that reads what requests share once: the Triton kernels.

Each program takes the items of a plan in turn. An item is a stretch of a tile's tokens and one
key-value head; its rows are the tile's requests times the query heads that share that head, all
in one matrix product, so that a key is read once for all of them. Partial results are then
merged, each weighed by the log-sum-exp of its scores. Grids have a fixed size, and all that
depends on the batch is read on the device.
"""

from __future__ import annotations

import triton
import triton.language as tl

# log2(e): scores are kept in powers of two, which the hardware has an instruction for.
LOG2E = 1.4426950408889634


@triton.jit  # type: ignore[untyped-decorator]
def _step(
    q: tl.tensor,
    peak: tl.tensor,
    total: tl.tensor,
    acc: tl.tensor,
    start: tl.tensor,
    stop: tl.tensor,
    source: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    key_block: tl.tensor,
    key_token: tl.tensor,
    value_block: tl.tensor,
    value_token: tl.tensor,
    scale: tl.tensor,
    block: tl.constexpr,
    head: tl.constexpr,
    head_pad: tl.constexpr,
    cols: tl.constexpr,
    masked: tl.constexpr,
    widen: tl.constexpr,
    precision: tl.constexpr,
) -> tl.tensor:
    """Take one more block of `cols` tokens into the running softmax."""
    d = tl.arange(0, head_pad)
    token = start + tl.arange(0, cols)
    inside = token < stop
    fits = d < head
    if masked:
        number = tl.load(source + token // block, mask=inside, other=0).to(tl.int64)
    else:
        number = tl.load(source + token // block).to(tl.int64)
    at_key = keys + number * key_block + (token % block) * key_token
    at_value = values + number * value_block + (token % block) * value_token
    # What lies beyond a request's tokens may be anything, NaN too: zero weight does not undo it.
    if masked or head != head_pad:
        k = tl.load(at_key[None, :] + d[:, None], mask=inside[None, :] & fits[:, None], other=0.0)
        v = tl.load(at_value[:, None] + d[None, :], mask=inside[:, None] & fits[None, :], other=0.0)
    else:
        k = tl.load(at_key[None, :] + d[:, None])
        v = tl.load(at_value[:, None] + d[None, :])
    if widen:
        q, k = q.to(tl.float32), k.to(tl.float32)
    scores = tl.dot(q, k, input_precision=precision) * scale
    if masked:
        scores = tl.where(inside[None, :], scores, float("-inf"))
    higher = tl.maximum(peak, tl.max(scores, 1))
    shrink = tl.exp2(peak - higher)
    weights = tl.exp2(scores - higher[:, None])
    total = total * shrink + tl.sum(weights, 1)
    weights = weights.to(v.dtype)
    if widen:
        weights, v = weights.to(tl.float32), v.to(tl.float32)
    acc = tl.dot(weights, v, acc * shrink[:, None], input_precision=precision)
    return higher, total, acc


# Numbers that differ from batch to batch or from launch to launch must not mean another compile.
@triton.jit(do_not_specialize=("table_row", "tiles", "slot_offset", "programs"))  # type: ignore[untyped-decorator]
def partial_kernel(
    query: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    table: tl.tensor,
    rows: tl.tensor,
    about: tl.tensor,
    tile_of: tl.tensor,
    size: tl.tensor,
    outputs: tl.tensor,
    weights: tl.tensor,
    scale: tl.tensor,
    query_row: tl.tensor,
    query_head: tl.tensor,
    key_block: tl.tensor,
    key_token: tl.tensor,
    key_head: tl.tensor,
    value_block: tl.tensor,
    value_token: tl.tensor,
    value_head: tl.tensor,
    table_row: tl.tensor,
    tiles: tl.tensor,
    slot_offset: tl.tensor,
    programs: tl.tensor,
    kv_heads: tl.constexpr,
    group: tl.constexpr,
    block: tl.constexpr,
    head: tl.constexpr,
    head_pad: tl.constexpr,
    height: tl.constexpr,
    cols: tl.constexpr,
    widen: tl.constexpr,
    precision: tl.constexpr,
) -> None:
    """Attention of tiles of queries to stretches of tokens; `about` is as in `tiles.Tiles`.

    Writes, for each slot and head, the output over the stretch [slots, heads, head] and the
    log-sum-exp of its scores [slots, heads], base 2, both float32. `height` is the number of
    rows of the matrix product, `cols` that of tokens taken at once. With `widen` products are of
    float32, for Triton's interpreter, which can't multiply bfloat16.
    """
    lane = tl.arange(0, height)
    d = tl.arange(0, head_pad)
    member = lane // group
    count = tl.load(size) * kv_heads
    length = tl.load(size + 1)
    for number in range(tl.program_id(0), count, programs):
        kv_head = number % kv_heads
        tile = about + tl.load(tile_of + number // kv_heads)
        first = tl.load(tile)
        many = tl.load(tile + tiles)
        source = tl.load(tile + 2 * tiles)
        begin = tl.load(tile + 3 * tiles)
        end = tl.load(tile + 4 * tiles)
        split = number // kv_heads - tl.load(tile + 5 * tiles)
        row = tl.load(rows + first + member, mask=member < many, other=-1)
        there = (row >= 0) & (lane < (height // group) * group)
        heads = kv_head * group + lane % group
        start = begin + split * length
        stop = tl.minimum(start + length, end)
        at_query = query + row.to(tl.int64) * query_row + heads * query_head
        wanted = there[:, None] & (d < head)[None, :]
        q = tl.load(at_query[:, None] + d[None, :], mask=wanted, other=0.0)
        blocks = table + source.to(tl.int64) * table_row
        at_keys = keys + kv_head * key_head
        at_values = values + kv_head * value_head
        peak = tl.full([height], float("-inf"), tl.float32)
        total = tl.full([height], 0.0, tl.float32)
        acc = tl.full([height, head_pad], 0.0, tl.float32)
        whole = start + (stop - start) // cols * cols
        for at in range(start, whole, cols):
            peak, total, acc = _step(
                q, peak, total, acc, at, stop, blocks, at_keys, at_values,
                key_block, key_token, value_block, value_token, scale,
                block, head, head_pad, cols, False, widen, precision,
            )  # fmt: skip
        if whole < stop:
            peak, total, acc = _step(
                q, peak, total, acc, whole, stop, blocks, at_keys, at_values,
                key_block, key_token, value_block, value_token, scale,
                block, head, head_pad, cols, True, widen, precision,
            )  # fmt: skip
        # Read again, or not before now: the loop needs all registers that there are.
        many = tl.load(tile + tiles)
        slot = tl.load(tile + 6 * tiles) + (number // kv_heads - tl.load(tile + 5 * tiles)) * many
        place = (slot_offset + slot + member).to(tl.int64)
        place = place * (kv_heads * group) + heads
        tl.store(outputs + place[:, None] * head + d[None, :], acc / total[:, None], mask=wanted)
        tl.store(weights + place, peak + tl.log2(total), mask=there)


@triton.jit  # type: ignore[untyped-decorator]
def merge_kernel(
    pieces: tl.tensor,
    outputs: tl.tensor,
    weights: tl.tensor,
    result: tl.tensor,
    result_row: tl.tensor,
    result_head: tl.tensor,
    heads: tl.constexpr,
    head: tl.constexpr,
    head_pad: tl.constexpr,
    height: tl.constexpr,
    stretches: tl.constexpr,
) -> None:
    """Merge the partial results of `height` heads of one request; zeros where it has none."""
    request = tl.program_id(0)
    lane = tl.program_id(1) * height + tl.arange(0, height)
    d = tl.arange(0, head_pad)
    there = lane < heads
    wanted = there[:, None] & (d < head)[None, :]
    peak = tl.full([height], float("-inf"), tl.float32)
    total = tl.full([height], 0.0, tl.float32)
    acc = tl.full([height, head_pad], 0.0, tl.float32)
    for stretch in range(stretches):
        about = pieces + (request * stretches + stretch) * 3
        slot = tl.load(about).to(tl.int64)
        stride = tl.load(about + 1)
        for _ in range(tl.load(about + 2)):
            place = slot * heads + lane
            weight = tl.load(weights + place, mask=there, other=0.0)
            part = tl.load(outputs + place[:, None] * head + d[None, :], mask=wanted, other=0.0)
            higher = tl.maximum(peak, weight)
            shrink = tl.exp2(peak - higher)
            share = tl.exp2(weight - higher)
            total = total * shrink + share
            acc = acc * shrink[:, None] + part * share[:, None]
            peak = higher
            slot += stride
    total = tl.where(total > 0, total, 1.0)
    at = result + request.to(tl.int64) * result_row + lane * result_head
    value = (acc / total[:, None]).to(result.dtype.element_ty)
    tl.store(at[:, None] + d[None, :], value, mask=wanted)
