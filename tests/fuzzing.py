"""How long the fuzz tests run, and how they spoil what was well formed.

Left alone they take the same examples every time, few enough for every run of the tests:

    pytest tests/test_fuzz_*.py --hypothesis-profile=long    # other examples, 50 times as many
"""

from __future__ import annotations

import random
import secrets
from typing import TYPE_CHECKING

from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = settings.get_current_profile_name() == "long"
_LONGER = 50
_SEED = 20251224


def examples(number: int) -> settings:
    """Settings of a property test that takes so many examples in a common run."""
    return settings(max_examples=number * _LONGER if LONG else number, derandomize=not LONG)


def rounds(number: int) -> Iterator[random.Random]:
    """A source of chance for each round of a fuzz loop; a failure is told by its seed."""
    first = secrets.randbits(48) if LONG else _SEED
    for seed in range(first, first + (number * _LONGER if LONG else number)):
        chance = random.Random(seed)
        try:
            yield chance
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise


def mutated(chance: random.Random, data: bytes) -> bytes:
    """`data` with a few bytes changed, taken away, repeated, put in or cut off."""
    spoilt = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(spoilt) + 1)
        match chance.randrange(6):
            case 0 if spoilt:
                spoilt[min(at, len(spoilt) - 1)] = chance.randrange(256)
            case 1:
                del spoilt[at : at + chance.randint(1, 8)]
            case 2:
                spoilt[at:at] = spoilt[at : at + chance.randint(1, 40)]
            case 3:
                spoilt[at:at] = chance.randbytes(chance.randint(1, 6))
            case 4:
                spoilt[at:at] = chance.choice(_NASTY)
            case _:
                del spoilt[at:]
    return bytes(spoilt)


_NASTY = (
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\r",
    b"\n",
    b"\xe2\x80\xa8",
    b'"',
    b"\\",
    b"\\ud800",
    b"[" * 2_000,
    b'{"a":' * 2_000,
    b"9" * 5_000,
    b"1e999",
    b"NaN",
    b"-",
    b"null",
)
