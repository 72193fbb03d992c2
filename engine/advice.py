"""What a root is told of its sub-LM: how much to put into a call, and how many to make."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from outcore.models.engine import Engine

# Of a window, what text may take beside the question and the reply.
_SHARE = 0.6
# From this many tokens of text a call, many items are packed into one. Models with such windows
# still read best well below them.
_LONG_TOKENS = 40_000
_PACKED_TOKENS = 50_000
# Rounds of calls that a run has time for.
_ROUNDS = 20


def advice(sub: Engine, chars_per_token: float, *, small: bool) -> str:
    """Two sentences for the root.

    Args:
        sub: the sub-LM. One whose cache is not known runs behind an address.
        chars_per_token: of the context, by its tokenizer.
        small: whether its weights are too few to be trusted with much.
    """
    return f"{_size(int(sub.window * _SHARE), chars_per_token, small=small)} {_number(sub)}"


def _size(room: int, chars_per_token: float, *, small: bool) -> str:
    if small:
        return (
            "The sub-LM is small: give it one short piece and one short, exact question a call, "
            "and let it choose (choices=, llm_classify) or fill in fields (schema=) rather than "
            "write."
        )
    if room < _LONG_TOKENS:
        return (
            "Give the sub-LM one piece, a slice at most, and one short, exact question a call; "
            "where it can, let it choose (choices=, llm_classify) or fill in fields (schema=)."
        )
    packed = _rounded(int(min(room, _PACKED_TOKENS) * chars_per_token))
    return (
        "The sub-LM reads far more than a slice: number short items, pack many of them into one "
        f"call (up to about {packed:,} characters) and ask for the answers as one list (schema=), "
        "rather than one call an item."
    )


def _number(sub: Engine) -> str:
    together = sub.in_flight * sub.replicas
    if sub.capacity is None:
        return (
            f"It runs on a server: at most {together:,} calls are under way at once, and each "
            "costs time there, so make hundreds rather than thousands."
        )
    return (
        f"It works on {together:,} calls at once, so send them as one batch; up to about "
        f"{_rounded(together * _ROUNDS):,} calls are fine."
    )


def _rounded(number: int) -> int:
    """To one digit, down: all of this is rough."""
    digits = str(number)
    return int(digits[0].ljust(len(digits), "0"))
