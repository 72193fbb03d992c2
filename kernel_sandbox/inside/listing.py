"""`llm_list`: everything of one kind that a text names, each thing once."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .corpus import Context
from .errors import BadReply, BatchError
from .hits import Part
from .look import Look
from .queries import as_text
from .results import Results
from .slices import Slices
from .sources import sources
from .typed import Typed

# Of a long text a small model lists the beginning; tokens of a slice.
_READ = 500
# A small model that is asked for a list may never end it.
_MOST = 12
_TOKENS = 240
_ENTRIES = {"type": "array", "items": {"type": "string"}, "maxItems": _MOST}
# A part whose list is full is read again in halves, down to so many characters.
_LEAST = 500
_COPIED = "Copy each as it stands in the text; an empty list if there is none here."
# Characters on either side of an entry by which it is judged.
_AROUND = 250
_JUDGED = "The last line of the text is an entry. Does it belong into the answer to this: {}?"


class _Found(NamedTuple):
    """An entry.

    Attributes:
        number: number of the slice.
        start: where it stands, in characters of its document.
        entry: the entry, as it stands there.
        around: the words around it.
    """

    number: int
    start: int
    entry: Part
    around: str


class Entries(Results):
    """The entries: strings with `.document` and `.offset`, where each stands first.

    Attributes:
        unread: parts of the text of which the sub-LM made no list.
    """

    unread: Sequence[Part] = ()

    def __repr__(self) -> str:
        note = f"\n(parts of the text without a list: {len(self.unread)})" if self.unread else ""
        return super().__repr__() + note

    __str__ = __repr__


class Listing:
    """The call, over one context.

    Args:
        typed: asks the sub-LM.
        context: the opened context.
        look: cuts it into slices.
    """

    def __init__(self, typed: Typed, context: Context, look: Look) -> None:
        self._typed = typed
        self._context = context
        self._look = look

    def llm_list(self, what: Any, text: Any = None, *, check: bool = True) -> Entries:
        """Everything of one kind that the text names, each thing once, as it stands there.

        ships = llm_list("all ships")
        llm_list("Which suppliers are named?", text=pieces)      # of a text, or a list of texts

        The sub-LM reads all of the context, or of `text`, slice by slice. What does not stand in
        the slice is dropped; what is left is judged once more, one by one, with the words around
        it, unless check=False. Entries are strings with .document and .offset of the first place.

        Raises:
            BatchError: calls failed, as where the budget has ended.
        """
        asked = as_text(what).strip().rstrip(".?")
        found: dict[str, _Found] = {}
        unread: list[Part] = []
        parts = list(enumerate(self._look.slices(text, tokens=_READ)))
        while parts:
            lists = self._lists([part for _, part in parts], asked)
            again: list[tuple[int, Part]] = []
            for (number, part), some in zip(parts, lists, strict=True):
                for one in () if some is None else _standing(number, part, some):
                    key = one.entry.casefold()
                    found[key] = min(found.get(key, one), one)
                if some is None or len(some) >= _MOST:
                    halves = self._halves(part)
                    again += ((number, half) for half in halves)
                    if some is None and not halves:
                        unread.append(part)
            parts = again
        kept = sorted(found.values())
        if check and kept:
            kept = self._judged(kept, asked)
        entries = Entries(one.entry for one in kept)
        entries.unread = tuple(unread)
        return entries

    def _lists(self, parts: Sequence[Part], asked: str) -> list[list[str] | None]:
        """What the sub-LM lists of each; None of one of which it made no list."""
        lists = self._typed.llm_map(
            parts,
            f"{asked}. {_COPIED}",
            schema=_ENTRIES,
            max_tokens=_TOKENS,
            return_exceptions=True,
        )
        if _broken(lists):
            raise BatchError(lists)
        return [None if isinstance(one, Exception) else one for one in lists]

    def _judged(self, found: Sequence[_Found], asked: str) -> list[_Found]:
        """Those that belong into the answer, and those on which there was no clear word."""
        texts = {at: f"{one.around}\n\n{one.entry}" for at, one in enumerate(found)}
        try:
            kept = self._typed.llm_filter(texts, _JUDGED.format(asked))
        except BatchError as error:
            if _broken(error.results):
                raise
            kept = [at for at, one in enumerate(error.results) if one != "no"]
        return [found[at] for at in kept]

    def _halves(self, part: Part) -> list[Part]:
        if len(part) <= _LEAST:
            return []
        return list(Slices(sources(self._context, part), len(part) // 2 + 1, 0))


def _standing(number: int, part: Part, entries: Sequence[str]) -> Iterator[_Found]:
    """Those of the entries that stand in a part."""
    for one in entries:
        # A line of the text may end within an entry.
        words = r"\s+".join(map(re.escape, one.split()))
        place = words and re.search(rf"(?<!\w){words}(?!\w)", part, re.IGNORECASE)
        if place:
            entry = Part(" ".join(place[0].split()), part.document, part.start + place.start())
            around = part[max(0, place.start() - _AROUND) : place.end() + _AROUND]
            yield _Found(number, entry.start, entry, around.strip())


def _broken(results: Sequence[Any]) -> bool:
    """Whether calls failed for another reason than what the model said."""
    return any(isinstance(one, Exception) and not isinstance(one, BadReply) for one in results)
