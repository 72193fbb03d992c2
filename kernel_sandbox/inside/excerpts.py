"""What of a passage is printed: the sentences or lines that hold what was looked for."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOM = 300
# The words that are shown wherever they stand, the rarest first.
_SURE = 3
# A sentence or line longer than this is shown around the words only.
_LONG = 260
# What is shown goes on with the next sentence until it is as long as this.
_LEAST = 120
_BEFORE = 70
_AFTER = 120
_SENTENCE = r"(?<=[.!?\u3002\uff01\uff1f])[\"'\u201d\u2019)\]]*\s+(?=[^a-z\s])|\u3002"
_BREAK = re.compile(rf"\n+|{_SENTENCE}")
# In prose with lines of one width, their ends mean nothing.
_WRAPPED_BREAK = re.compile(rf"\n\s*\n|{_SENTENCE}")
_WIDTH = range(50, 100)
_OPEN_LINE = re.compile(r"[\w,;-]$")
_BLANK = re.compile(r"\n\s*\n")
_CUT = " ... "


class Mark(NamedTuple):
    """A place in a passage that holds what was looked for.

    Attributes:
        word: number of the word; several marks may be of one.
        start: first character.
        end: last but one.
        weight: how telling the word is.
    """

    word: int
    start: int
    end: int
    weight: float


def excerpt(text: str, marks: Iterable[Mark], room: int = ROOM) -> str:
    """At most about `room` characters of `text`, its beginning where nothing is marked.

    Whole sentences or lines where they are not long. The three most telling words are in it.
    """
    if len(text.strip()) <= room:
        return text.strip()
    chosen = _chosen(text, list(marks), room) or [(0, _word_end(text, room))]
    return _joined(text, _merged(_lengthened(text, chosen)))


def numbered(text: str, marks: Iterable[Mark], first: int, room: int = ROOM) -> str:
    """The same for code: whole lines around what is marked, each with its number.

    Args:
        text: the passage.
        marks: what was looked for in it.
        first: number of its first line.
        room: about how many characters.
    """
    lines = text.split("\n")
    starts = _starts(lines)
    weights: dict[int, float] = {}
    for mark in marks:
        at = bisect_right(starts, mark.start) - 1
        weights[at] = weights.get(at, 0.0) + mark.weight
    order = sorted(weights, key=lambda at: (-weights[at], at)) or [0]
    shown: set[int] = set()
    left = room
    # The best line with what follows it, then others as good, then what stands before.
    best = order[0]
    order = [at for at in order if weights.get(at, 0.0) >= weights.get(best, 0.0) / 2]
    wanted = [best, *range(best + 1, best + 3), *order[1:4], *range(best + 3, best + 6), best - 1]
    for at in wanted:
        if 0 <= at < len(lines) and at not in shown and lines[at].strip():
            cost = min(len(lines[at]), _LONG) + 6
            if cost > left and shown:
                break
            shown.add(at)
            left -= cost
    if not shown:
        # Around it all is blank.
        written = (at for at, line in enumerate(lines) if line.strip())
        shown.update(sorted(written, key=lambda at: abs(at - best))[:1])
    rows = []
    last = -1
    for at in sorted(shown):
        if last >= 0 and any(lines[one].strip() for one in range(last + 1, at)):
            rows.append("...")
        rows.append(f"{first + at}: {_shortened(lines[at], starts[at], marks)}")
        last = at
    return "\n".join(rows)


def _shortened(line: str, start: int, marks: Iterable[Mark]) -> str:
    line = line.rstrip()
    if len(line) <= _LONG:
        return line
    inside = [
        Mark(one.word, one.start - start, one.end - start, one.weight)
        for one in marks
        if start <= one.start < start + len(line)
    ]
    return excerpt(line, inside, _LONG)


def _starts(lines: Sequence[str]) -> list[int]:
    starts, at = [], 0
    for line in lines:
        starts.append(at)
        at += len(line) + 1
    return starts


def _chosen(text: str, marks: list[Mark], room: int) -> list[tuple[int, int]]:
    """Bounds of the parts that hold the most telling words, most telling first."""
    pieces = _pieces(text)
    weights = {mark.word: mark.weight for mark in marks}
    wanted = sorted(weights, key=lambda word: (-weights[word], word))
    seen: set[int] = set()
    chosen: list[tuple[int, int]] = []
    left = room
    for rank, word in enumerate(wanted):
        if word in seen:
            continue
        ways = (
            _around(text, pieces, mark) for mark in marks if mark.word == word
        )  # each with what else it holds
        held = {way: {one.word for one in marks if _inside(one, way)} for way in ways}
        low, high = max(held, key=lambda way: (sum(weights[w] for w in held[way] - seen), -way[0]))
        if rank >= _SURE and high - low > left:
            continue
        chosen.append((low, high))
        seen |= held[low, high]
        left -= high - low
    return chosen


def _pieces(text: str) -> list[tuple[int, int]]:
    bounds, start = [], 0
    for found in (_WRAPPED_BREAK if _is_wrapped(text) else _BREAK).finditer(text):
        bounds.append((start, found.end()))
        start = found.end()
    bounds.append((start, len(text)))
    return [(low, high) for low, high in bounds if text[low:high].strip()]


def _is_wrapped(text: str) -> bool:
    """Whether lines end where there was no more room, and not where a sentence does."""
    lines = [line.rstrip() for line in text.split("\n")[:-1] if line.strip()]
    wide = [line for line in lines if len(line) in _WIDTH]
    return len(wide) > len(lines) // 2 > 0 and 2 * sum(
        _OPEN_LINE.search(line) is not None for line in wide
    ) > len(wide)


def _around(text: str, pieces: Sequence[tuple[int, int]], mark: Mark) -> tuple[int, int]:
    """The sentence or line that holds a mark, or where it is long, the words around the mark."""
    at = max(0, bisect_right(pieces, (mark.start, len(text))) - 1)
    low, high = pieces[at]
    if mark.end > high:
        high = max(mark.end, next((b for _, b in pieces[at:] if b >= mark.end), mark.end))
    if high - low <= _LONG:
        return low, high
    start, end = max(low, mark.start - _BEFORE), min(high, mark.end + _AFTER)
    return _word_start(text, start, low), _word_end(text, end, high)


def _lengthened(text: str, chosen: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """With the sentences after the best part, then before it, where little would be shown."""
    shown = sum(high - low for low, high in chosen)
    low, high = chosen[0]
    pieces = _pieces(text)
    after = [one for one in pieces if one[0] >= high]
    before = [one for one in reversed(pieces) if one[1] <= low]
    added = []
    for start, end in (*after[:2], *before[:1]):
        if shown >= _LEAST or end - start > _LONG:
            break
        added.append((start, end))
        shown += end - start
    return [*chosen, *added]


def _merged(chosen: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(chosen):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        else:
            merged.append((low, high))
    return merged


def _joined(text: str, parts: list[tuple[int, int]]) -> str:
    shown = _CUT.join(_BLANK.sub("\n", text[low:high].strip()) for low, high in parts)
    before = "" if not text[: parts[0][0]].strip() else _CUT.lstrip()
    after = "" if not text[parts[-1][1] :].strip() else _CUT.rstrip()
    return f"{before}{shown}{after}"


def _inside(mark: Mark, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= mark.start and mark.end <= bounds[1]


def _word_start(text: str, at: int, least: int) -> int:
    """`at`, or the start of the word it stands in, if that is near."""
    while at > least and at > 0 and not text[at - 1].isspace() and not text[at].isspace():
        at -= 1
        if text[at : at + 1].isspace():
            return at + 1
    return at


def _word_end(text: str, at: int, most: int | None = None) -> int:
    most = len(text) if most is None else most
    limit = min(most, at + 40)
    while at < limit and not text[at].isspace():
        at += 1
    return at
