"""When sharing is worth its cost, and the room there is for it."""

from __future__ import annotations

from dataclasses import dataclass

# Shared stretches that a request may have, and all its stretches: its own tokens are the last.
LEVELS = 2
PIECES = LEVELS + 1


@dataclass(frozen=True, slots=True)
class Limits:
    """When sharing is worth its cost, and the room there is.

    Attributes:
        block: tokens of a block.
        counters: how many blocks can be told apart; with more in the cache some may be counted
            together, which costs time and nothing else.
        kv_heads: key-value heads.
        tile_members: requests that one tile takes.
        programs: that run at once for shared tokens.
        own_programs: the same for own ones.
        shared_slots: room for partial results of shared stretches; at least `LEVELS` times the
            requests.
        own_slots: room for those of the rest; at least the requests.
        min_members: requests that must share a stretch. Not measured yet.
        min_tokens: length that a shared stretch must have. Not measured yet.
    """

    block: int
    counters: int
    kv_heads: int
    tile_members: int
    programs: int
    own_programs: int
    shared_slots: int
    own_slots: int
    min_members: int = 4
    min_tokens: int = 512
