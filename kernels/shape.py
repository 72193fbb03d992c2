"""What the kernels are given of a model and of a card, and whether they can serve it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

MOST_HEAD = 256


@dataclass(frozen=True, slots=True)
class Tuning:
    """What can be measured on a card and set accordingly. None of it has been measured yet.

    Attributes:
        rows: of one matrix product for shared tokens: requests times query heads per key-value
            head. 64 is what one warp group of a Hopper multiplies at least.
        cols: tokens taken at once.
        own_cols: the same for a request's own tokens.
        warps: of a program.
        stages: of loads under way. Each tile takes two of them, since where keys lie is a load
            too: with 3 or 4 one tile is read when the last has been multiplied, and nothing is
            under way meanwhile; with 5 or 6 the next one is.
        programs_per_core: for shared tokens, that run at once on one multiprocessor.
        own_programs_per_core: the same for a request's own tokens.
        min_members: requests that must share tokens.
        min_tokens: that they must share.
    """

    rows: int = 64
    cols: int = 64
    own_cols: int = 32
    warps: int = 4
    stages: int = 5
    programs_per_core: int = 2
    own_programs_per_core: int = 4
    min_members: int = 4
    min_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Shape:
    """What is fixed for a model on a card.

    Attributes:
        heads: query heads.
        kv_heads: key-value heads.
        head: size of a head.
        block: tokens of a block of the cache.
        requests: most in a step.
        tokens: most of a request.
        dtype: of queries, keys and values.
    """

    heads: int
    kv_heads: int
    head: int
    block: int
    requests: int
    tokens: int
    dtype: torch.dtype

    def unfit(self, tuning: Tuning) -> str | None:
        """Why the kernels can't serve this, in words; None where they can."""
        if self.dtype not in (torch.bfloat16, torch.float16, torch.float32):
            return f"dtype {self.dtype}; bfloat16, float16 and float32 can be served"
        if self.kv_heads < 1 or self.heads % self.kv_heads:
            return f"{self.heads} query heads can't be shared out over {self.kv_heads} of keys"
        if self.heads // self.kv_heads > tuning.rows:
            return (
                f"{self.heads // self.kv_heads} query heads for each key-value head; "
                f"{tuning.rows} at most can be served"
            )
        if self.head % 8 or not 16 <= self.head <= MOST_HEAD:
            return f"head size {self.head}; multiples of 8 from 16 to {MOST_HEAD} can be served"
        if self.block < 1:
            return f"blocks of {self.block} tokens"
        return None
