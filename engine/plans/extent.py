"""Plans for how much there is of the text itself: a word in it, chapters, files, lines, words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from outcore.engine.plans.plan import Kind, NoPlan, Plan
from outcore.engine.plans.wording import QUOTED, sentences

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.engine.plans.scene import Scene

# `How often is the whale mentioned` and `how often does the text mention the whale`.
_OFTEN = re.compile(
    r"\bhow (?:often|many times)\b(?P<before>[^.?!]{1,120}?)\b(?:mention(?:ed|s)?"
    r"|occurr?(?:ed|s|ing)?|appear(?:ed|s|ing)?|used?|uses|repeat(?:ed|s)?|comes? up"
    r"|referred to|refers? to)\b(?P<after>[^.?!]{0,120})",
    re.IGNORECASE,
)
# What may follow where the word stands before the verb: ships appear on horizons too.
_THERE = re.compile(
    r"\A\s*(?:by name|at all|overall|altogether|in all|in total|verbatim|explicitly)*\s*"
    r"(?:(?:in|within|throughout|across|over|anywhere)\b|,|\Z)",
    re.IGNORECASE,
)
_CALLED = re.compile(r"\b(?:word|term|name|expression|phrase)s?\s+([\w'-]+)", re.IGNORECASE)
_AUXILIARY = re.compile(
    r"\A\s*(?:is|are|was|were|does|do|did|has|have|had)\b|\b(?:been|being)\s*\Z|\b(?:the|an?)\b",
    re.IGNORECASE,
)
# Who or what says a word, and where a clause about the place begins.
_SAYING = "text book author narrator document file novel story it he she they this that"
_SAYERS = frozenset(_SAYING.split())
_PLACE = re.compile(r"\b(?:in|within|throughout|by|on|at|over|during|across|to|as|with)\b")
_AND = re.compile(r"\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or)\s+")
_MOST_WORDS = 6
_MANY = re.compile(
    r"\bhow many\s+(?:(?:different|numbered|separate)\s+)?([\w-]{2,40})\b", re.IGNORECASE
)
_FILES = re.compile(
    r"\bhow many\s+(\*?\.?[\w+#-]{1,12})\s+(?:source\s+)?(?:files|modules)\b", re.IGNORECASE
)
_PLAIN = "c css csv go h html ini java json log md pdf py sql toml txt xml yaml"
_NAMED = {"python": "py", "markdown": "md", "text": "txt", "javascript": "js", "typescript": "ts"}
_NAMED |= {"rust": "rs", "ruby": "rb", "shell": "sh", "c++": "cpp", "cuda": "cu", "c#": "cs"}
_ENDINGS = {one: one for one in _PLAIN.split()} | _NAMED
# With no other words beside it, all there are of something are asked for.
_FILLING = """
a about all altogether and are be been book comes consist consisted consists contain contained
contains context corpus csv data dataset did divided do document documents does entire file files
folder had has have held here hold holds in into is it its json list log long made make makes me
novel of on or overall out please present split story table tell text that the there these this
those to total tree up was were whole within work you
"""
_FILLERS = frozenset(_FILLING.split())
_FORM = re.compile(
    r"\A\W*(?:please\s+)?(?:give|answer|return|reply|respond|write|only|just|here|the following"
    r"|this|output|print|say|state)\b",
    re.IGNORECASE,
)
_NUMBERED = """
chapter book part volume section act scene canto letter article clause lesson epilogue appendix
adventure heading
"""
_HEADED = frozenset(_NUMBERED.split())
_MEASURED = {
    "document": "documents",
    "file": "documents",
    "line": "lines",
    "word": "words",
    "character": "characters",
}


class Extent:
    """Count occurrences, headings, files, lines, words or records, all of them by code."""

    kind: ClassVar[Kind] = "extent"

    def schema(self, scene: Scene) -> None:
        """Nothing: the question's words say what is counted."""

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """The program that counts it.

        Raises:
            NoPlan: the question asks for nothing of the kind.
        """
        lines = program(scene)
        if not lines:
            raise NoPlan("neither a word nor a part of the text is to be counted")
        return Plan("extent", filled, "\n".join(lines))


def program(scene: Scene) -> list[str]:
    """The lines of the program; none where the question asks for nothing of the kind."""
    terms = _terms(scene)
    if len(terms) == 1:
        # What is nowhere, a weak root would go on to look for.
        return [
            f"told = occurrences({terms[0]!r})",
            "print(told)",
            "if not told.total: done(str(told))",
        ]
    if terms:
        return [f"print(occurrences({one!r}))" for one in terms]
    if ending := _ending(scene):
        return [
            f"found = [one for one in context if str(one).lower().endswith({ending!r})]",
            f"print(len(found), 'of', len(context), 'files end in', {ending!r})",
        ]
    asked = _asked(scene)
    if asked and scene.is_document(asked):
        return ["print(len(context), 'is the number asked for')"]
    if asked in _MEASURED and not (scene.fields and scene.is_record(asked) and asked != "line"):
        measure = _MEASURED[asked]
        return [f"print(f'{{extent().{measure}:,}} {measure}')"]
    if scene.fields and asked and scene.is_record(asked):
        return ["print(len(records), 'records')"]
    if asked in _HEADED:
        word = "" if asked == "heading" else asked
        return [
            f"found = headings({word!r})",
            f"print(found.note if found else search({scene.asked!r}, k=4))",
        ]
    return []


def _ending(scene: Scene) -> str:
    """The ending of the files that are counted: `.py`, of `how many Python files are there`."""
    kind, others = _counted(scene, _FILES)
    plain = kind.casefold()
    if others or scene.corpus.kind != "dict":
        return ""
    if plain.startswith((".", "*.")):
        return f".{plain.lstrip('*.')}"
    return f".{_ENDINGS[plain]}" if plain in _ENDINGS else ""


def _terms(scene: Scene) -> tuple[str, ...]:
    """The words whose occurrences are asked for, where records have no field of such values."""
    asked = _OFTEN.search(scene.question)
    if asked is None or scene.about_labels:
        return ()
    terms = _named(asked["before"])
    if not terms or terms[0].casefold() in _SAYERS:
        terms = _named(asked["after"])
    elif not _THERE.match(asked["after"]):
        return ()
    if scene.fields and any(map(scene.values.fields, terms)):
        return ()
    return terms


def _named(words: str) -> tuple[str, ...]:
    """The words or names in a part of a question; none where it has none, or a whole clause."""
    if quoted := QUOTED.findall(words):
        return tuple(next(filter(None, one)).strip() for one in quoted)
    if called := _CALLED.search(words):
        return (called[1],)
    told = _PLACE.split(_AUXILIARY.sub(" ", words), maxsplit=1)[0].split()
    if len(told) > _MOST_WORDS:
        return ()
    return tuple(one.strip() for one in _AND.split(" ".join(told)) if one.strip())


def _asked(scene: Scene) -> str:
    """What all of is to be counted, as a word in the singular; empty where nothing is."""
    word, others = _counted(scene, _MANY)
    word = word.casefold()
    word = f"{word[:-3]}x" if word == "appendices" else word.removesuffix("s")
    # A title, in `how many chapters does Moby Dick have`.
    if word in _HEADED and all(one[0].isupper() for one in others):
        others = []
    return "" if others else word


def _counted(scene: Scene, what: re.Pattern[str]) -> tuple[str, list[str]]:
    """What is counted, as the question has it, and what its sentence says besides.

    Nothing is, where the question has more sentences than one that says what is asked.
    """
    told = [one for one in sentences(scene.question) if not _FORM.match(one) or _MANY.search(one)]
    match = what.search(told[0]) if len(told) == 1 else None
    if match is None:
        return "", []
    rest = f"{told[0][: match.start()]} {told[0][match.end() :]}"
    others = [one for one in re.findall(r"[\w'-]+", rest) if one.casefold() not in _FILLERS]
    return match[1], others
