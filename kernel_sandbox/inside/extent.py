"""How much there is in the context: of a word, and of headings."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from .corpus import Context
from .grep import compile_pattern, matches
from .hits import Hits, Part
from .languages import is_code
from .staged import Name
from .text import Text
from .told import Told, times

_NAMES = """
chapter book part volume section act scene canto letter adventure article clause appendix prologue
epilogue lesson lecture unit stave
"""
_KINDS = _NAMES.split()
_ROMAN = r"[IVXLCDM]{1,12}"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety hundred"
_ONES = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth last final"
)
_SPELT = "|".join(f"{_TENS} {_ONES} {_ORDINALS}".split())
_SPELT_RUN = rf"(?i:(?:the[ \t]+)?(?:{_SPELT})(?:[- \t]+(?:{_SPELT}))?)"
_NUMBER = rf"(?:\d{{1,4}}|{_ROMAN}|{_SPELT_RUN})(?![\w'])"
# A heading is a line of its own: `CHAPTER IV. The Ball`, `Part One`, `SECOND EPILOGUE: 1813`.
_LONGEST = 120
_HEADING = (
    r"^[ \t#*_]{{0,40}}(?=[A-Z\d])(?:(?:{names})[ \t]+{number}|"
    # In capitals alone, such a number may stand first: `VII. THE ADVENTURE OF THE BLUE CARBUNCLE`.
    r"(?:{roman}|\d{{1,3}})[.)][ \t]+(?:[^a-z\n]{{0,80}}[ \t])?(?:{capitals})(?!\w)"
    r"(?=[^a-z\n]{{0,80}}$)|"
    rf"(?i:{_ORDINALS.replace(' ', '|')})[ \t]+(?:{{names}})(?!\w)|(?:{{alone}})(?=[ \t]*[.:\r\n]))"
    r"(?=[^\n]{{0,120}}$)"
)
_ALONE = ("prologue", "epilogue", "appendix")
_MARKDOWN = re.compile(r"^ {0,3}#{1,6} +\S[^\n]*", re.MULTILINE)
_FENCE = re.compile(r"^ {0,3}(?:```|~~~)", re.MULTILINE)
# Headings with no more than a line between them, so many of one kind, are a table of contents.
_LISTED, _BETWEEN = 3, 1
_WORD = re.compile(r"[^\W\d_]+")


class Extent:
    """Counts in one context.

    Args:
        context: the opened context.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    def occurrences(self, words: str) -> Told:
        """How often a word or phrase stands in the context, as whole words in any case.

        print(occurrences("lighthouse"))
        occurrences("lighthouse keeper").total     the number alone
        occurrences("lighthouse").documents        dict of document to number, without zeros
        """
        plain = str(words).split()
        if not plain:
            raise ValueError("occurrences() was given no word")
        phrase = r"\s+".join(map(re.escape, plain))
        pattern = compile_pattern(rf"(?<!\w){phrase}(?!\w)", re.IGNORECASE)
        found = {}
        for name, text in self._context.documents:
            number = sum(1 for _ in matches(pattern, text))
            if number:
                found[name] = number
        total, many = sum(found.values()), len(self._context.documents)
        told = f"{' '.join(plain)!r} stands in the context {times(total)}"
        if many > 1:
            told += f", in {len(found):,} of {many:,} documents"
        return Told(told, total=total, documents=found)

    def extent(self) -> Told:
        """How much text there is: documents, lines, words and characters, each an attribute.

        print(extent())
        extent().words
        """
        lines = words = 0
        for _, text in self._context.documents:
            last = "\n"
            for window in _windows(text):
                lines += window.count("\n")
                # A word that goes on from the window before was counted there.
                words += len(window.split()) - (not last.isspace() and not window[0].isspace())
                last = window[-1]
            lines += last != "\n"
        documents, characters = len(self._context.documents), self._context.chars
        told = (
            f"{documents:,} document{'' if documents == 1 else 's'}, {lines:,} lines, "
            f"{words:,} words, {characters:,} characters"
        )
        return Told(told, documents=documents, lines=lines, words=words, characters=characters)

    def headings(self, kind: Any = "") -> Hits:
        """The headings, as hits; those in tables of contents are left out.

        print(len(headings("chapter")), "chapters")      lines like "CHAPTER IV. The Ball"
        print(headings())                                those of Markdown and of every kind
        """
        wanted = str(kind or "").strip().casefold()
        kinds = _of_kind(wanted)
        every = list(self._headings(kinds))
        meant = [one for one in every if one[1].kind in kinds] if wanted else every
        meant = meant or [one for one in every if wanted in one[1].text.casefold()]
        found = [
            Part(one.text, name, one.offset, match=one.text)
            for name, one in meant
            if not one.listed
        ]
        what = f"headings that say {wanted!r}" if wanted else "headings"
        note = f"{len(found):,} {what}" if found else f"no {what}: try grep()"
        if len(found) < len(meant):
            note += f" (besides {len(meant) - len(found):,} in tables of contents)"
        return Hits(found, note)

    def _headings(self, kinds: tuple[str, ...]) -> Iterator[tuple[Name, "_Heading"]]:
        for name, text in self._context.documents:
            if not is_code(name):
                yield from ((name, one) for one in _headings(text, kinds))


class _Heading:
    """A line that looks like a heading."""

    __slots__ = ("kind", "listed", "offset", "text")

    def __init__(self, offset: int, text: str, kind: str) -> None:
        self.offset = offset
        self.text = text
        self.kind = kind
        self.listed = False


def _windows(text: str | Text) -> Iterator[str]:
    if isinstance(text, str):
        return iter([text] if text else [])
    return (window for window in text.windows() if window)


def _of_kind(wanted: str) -> tuple[str, ...]:
    """The word itself and its singular."""
    if not wanted:
        return ()
    singular = f"{wanted[:-3]}y" if wanted.endswith("ies") else wanted.removesuffix("s")
    return tuple(dict.fromkeys((wanted, singular)))


def _headings(text: str | Text, kinds: tuple[str, ...]) -> Iterator[_Heading]:
    names = "|".join(
        form
        for one in dict.fromkeys((*_KINDS, *kinds))
        for form in (re.escape(one.upper()), re.escape(one.title()))
    )
    alone = "|".join(form for one in _ALONE for form in (one.upper(), one.title()))
    forms = {"names": names, "number": _NUMBER, "alone": alone, "roman": _ROMAN}
    capitals = "|".join(re.escape(one.upper()) for one in dict.fromkeys((*_KINDS, *kinds)))
    pattern = compile_pattern(_HEADING.format(**forms, capitals=capitals), 0)
    found = []
    for low, high in matches(pattern, text):
        window = str(text[low : high + _LONGEST])
        whole = window.partition("\n")[0]
        line = whole.strip()
        words = [word.casefold() for word in _WORD.findall(whole[: high - low])]
        kind = next((word for word in words if word in kinds or word in _KINDS), "")
        found.append(_Heading(low + _indent(whole), line, kind))
    found += _of_markdown(text, {one.offset for one in found})
    found.sort(key=lambda one: one.offset)
    _mark_listed(text, found)
    return iter(found)


def _of_markdown(text: str | Text, known: set[int]) -> Iterator[_Heading]:
    fences = [low for low, _ in matches(compile_pattern(_FENCE, 0), text)]
    at = 0
    for low, high in matches(compile_pattern(_MARKDOWN, 0), text):
        while at < len(fences) and fences[at] < low:
            at += 1
        line = str(text[low:high])
        start = low + _indent(line)
        if at % 2 == 0 and start not in known:
            yield _Heading(start, line.strip(), "")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _mark_listed(text: str | Text, found: list[_Heading]) -> None:
    run: list[_Heading] = []
    for one in found:
        if run and not _near(text, run[-1], one):
            _end_run(run)
            run = []
        run.append(one)
    _end_run(run)


def _near(text: str | Text, one: _Heading, other: _Heading) -> bool:
    gap = other.offset - one.offset
    if gap > (_BETWEEN + 2) * _LONGEST:
        return False
    lines = str(text[one.offset : other.offset]).splitlines()
    return sum(1 for line in lines if line.strip()) <= 1 + _BETWEEN


def _end_run(run: list[_Heading]) -> None:
    # Where a table of contents is followed by the text itself, its first heading comes again.
    again = max((at for at, one in enumerate(run) if one.text == run[0].text), default=0)
    for some in (run[:again], run[again:]):
        kinds = Counter(one.kind for one in some)
        for one in some:
            one.listed = max(kinds.values()) >= _LISTED
