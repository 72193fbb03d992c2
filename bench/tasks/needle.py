"""S-NIAH: one sentence hidden in a long text, as RULER's single needle.

Values are numbers, words and uuids, haystacks are books and repeated sentences; an item's
number decides which, so that six items hold each pair once. A text is as many characters long as
the size asked for makes by the ratio of characters to tokens in its first 400,000 characters,
measured with the draw's tokenizer; true lengths differ by a few percent. Books go on from a
paragraph drawn at random; where they are not long enough they follow once more, paragraphs
shuffled.
"""

from __future__ import annotations

import re
import uuid
from functools import lru_cache
from typing import TYPE_CHECKING

from tasks.item import Draw, Item

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

NAME, BINARY = "needle", True
SIZES = (*(1 << power for power in range(13, 21)), 10_000_000)

_VALUES = ("numbers", "words", "uuids")
_HAYSTACKS = ("books", "noise")
_NEEDLE = "One of the special magic {values} for {key} is: {value}."
_QUESTION = "What is the special magic {value} for {key} mentioned in the provided text?"
_NOISE = (
    "The road is dry and the carts go by. The mill turns when the river is high. "
    "A dog sleeps by the gate. The baker opens at six. Nothing else happens here.\n"
)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ADJECTIVES = _words(
    "amber brisk calm dusty eager faint gentle hollow idle jolly keen lofty mellow narrow odd "
    "placid quaint rustic silent tender upright vivid wary young zesty bitter clever drowsy "
    "fabled grand humble ivory lucid modest nimble patient rapid sturdy timid velvet"
)
_NOUNS = _words(
    "anchor basket candle dagger engine feather garden hammer island jacket kettle ladder mirror "
    "needle orchard pepper quarry ribbon saddle temple umbrella valley window yarn zipper barrel "
    "copper dolphin ember falcon glacier harbor lantern meadow nutmeg otter pillow ravine spindle "
    "thimble walnut"
)
_MEASURED = 400_000
# Where a sentence ends, quotes and brackets closed.
_SENTENCE_END = re.compile(r"[.!?][\"'”’)\]_]*\s")
_SEARCHED = 4_000


def items(draw: Draw) -> Iterator[Item]:
    """The items of a draw; each hangs on its own number alone."""
    for number in range(draw.samples):
        chance = draw.random(NAME, number)
        values = _VALUES[number % len(_VALUES)]
        haystack = _HAYSTACKS[number // len(_VALUES) % len(_HAYSTACKS)]
        key, value = _phrase(chance), _value(values, chance)
        needle = _NEEDLE.format(values=values, key=key, value=value)
        text = _haystack(haystack, draw, chance, spare=len(needle) + 1)
        depth = chance.random()
        yield Item(
            id=f"{number:03}-{haystack}-{values}",
            question=_QUESTION.format(value=values.removesuffix("s"), key=key),
            context=hide(needle, text, int(depth * len(text))),
            gold=value,
            meta={"kind": f"{haystack}, {values}", "depth": round(100 * depth)},
        )


def score(item: Item, answer: str) -> float:
    """1 where the value stands in the answer, in whatever case."""
    assert isinstance(item.gold, str)
    return float(item.gold.casefold() in answer.casefold())


def hide(needle: str, text: str, at: int) -> str:
    """Put a sentence where the first sentence or line ends from `at` on.

    Where none ends within 4,000 characters, it goes to the last line end before, or the start.
    """
    end = _SENTENCE_END.search(text, at, at + _SEARCHED)
    place = end.end() if end else text.find("\n", at, at + _SEARCHED) + 1
    place = place or text.rfind("\n", 0, at) + 1
    behind = text[place - 1] if place else "\n"
    return f"{text[:place]}{needle}{behind}{text[place:]}"


def _phrase(chance: random.Random) -> str:
    return f"{chance.choice(_ADJECTIVES)}-{chance.choice(_NOUNS)}"


def _value(values: str, chance: random.Random) -> str:
    if values == "numbers":
        return str(chance.randrange(10**6, 10**7))
    if values == "words":
        return _phrase(chance)
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _haystack(kind: str, draw: Draw, chance: random.Random, *, spare: int) -> str:
    if kind == "noise":
        chars = _chars(_NOISE * (_MEASURED // len(_NOISE)), draw) - spare
        return (_NOISE * (chars // len(_NOISE) + 1))[:chars]
    paragraphs = _paragraphs(draw.data)
    start = chance.randrange(len(paragraphs))
    parts = [*paragraphs[start:], *paragraphs[:start]]
    text = "".join(parts)
    chars = _chars(text, draw) - spare
    pieces: list[str] = []
    while chars > 0:
        pieces.append(text[:chars])
        chars -= len(pieces[-1])
        if chars > 0:
            chance.shuffle(parts)
            text = "".join(parts)
    return "".join(pieces)


def _chars(text: str, draw: Draw) -> int:
    """How many characters of a text make the draw's size, by a measure of its beginning."""
    sample = text[: min(_MEASURED, 4 * draw.size)]
    return round(draw.size * len(sample) / max(1, draw.tokens(sample)))


@lru_cache(maxsize=2)
def _paragraphs(data: Path) -> tuple[str, ...]:
    """The books' paragraphs, each with the blank line behind it, without what frames them."""
    books = sorted((data / "gutenberg").glob("*.txt"))
    if not books:
        raise SystemExit(f"{data / 'gutenberg'} holds no books; name the data folder with --data")
    found: list[str] = []
    for book in books:
        text = _decoded(book.read_bytes()).replace("\r\n", "\n")
        begin, end = text.find("*** START"), text.find("*** END")
        body = text[text.find("\n", begin) + 1 : end if end > 0 else len(text)]
        found += [
            f"{part.strip(chr(10))}\n\n" for part in re.split(r"\n\s*\n", body) if part.strip()
        ]
    return tuple(found)


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:  # older files of the collection
        return data.decode("iso-8859-1")
