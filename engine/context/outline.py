"""What a tree of files or a text with headings is made of."""

from __future__ import annotations

from collections import Counter
from heapq import nlargest
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING, NamedTuple

from outcore.engine.context.genre import HEADING
from outcore.engine.context.sampling import sampled

if TYPE_CHECKING:
    from outcore.engine.context.corpus import Corpus

_FENCES = ("```", "~~~")
# Beyond this many files the rest is not gone through.
_FILES = 100_000


class Outline(NamedTuple):
    """The headings of a Markdown text.

    Attributes:
        many: how many there are, about.
        first: the first ones, as they stand there.
        exact: whether all of the text was looked at.
    """

    many: int
    first: tuple[str, ...]
    exact: bool


class Files(NamedTuple):
    """The files of a tree.

    Attributes:
        endings: how many files have which ending, the most common first.
        folders: the characters in the largest folders, the largest first.
    """

    endings: tuple[tuple[str, int], ...]
    folders: tuple[tuple[str, int], ...]


def headings(corpus: Corpus, most: int) -> Outline:
    """The headings, `most` of them with their text."""
    sample = sampled(corpus)
    found: list[str] = []
    fenced, document = False, -1
    for spot in sample.lines:
        if spot.document != document:
            fenced, document = False, spot.document
        if spot.text.lstrip().startswith(_FENCES):
            fenced = not fenced
        elif not fenced and HEADING.fullmatch(spot.text):
            found.append(spot.text.strip())
    many = round(len(found) * corpus.chars / max(1, sample.chars))
    return Outline(many, tuple(found[:most]), sample.whole)


def files(corpus: Corpus, most: int) -> Files:
    """The files by ending and the largest folders, at most `most` of each.

    Folders are those at the level below the one that all files share.
    """
    endings: Counter[str] = Counter()
    sizes: Counter[tuple[str, ...]] = Counter()
    for one in islice(corpus.documents, _FILES):
        path = PurePath(str(one.name))
        endings[path.suffix.lower() or path.name] += 1
        sizes[path.parts[:-1]] += one.chars
    shared = 0
    while len({parts[: shared + 1] for parts in sizes}) == 1 and all(
        len(parts) > shared for parts in sizes
    ):
        shared += 1
    folders: Counter[str] = Counter()
    for parts, chars in sizes.items():
        if len(parts) > shared:
            folders["/".join(parts[: shared + 1])] += chars
    largest = nlargest(most, folders.items(), key=lambda one: one[1])
    return Files(tuple(endings.most_common(most)), tuple(largest))
