"""Plans for what stands at one or a few places of the text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from outcore.engine.plans.plan import Kind, Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.engine.plans.scene import Scene

# How an identifier looks: it has an underscore, a dot inside, or capitals after its first letter,
# and is no abbreviation in the plural.
_IDENTIFIER = re.compile(
    r"`([\w.]+)`|(?<![\w.])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[A-Za-z]\w*_\w+|_\w+"
    r"|(?![A-Z]+s(?!\w))(?=\w*[a-z])[A-Za-z]\w*?[A-Z]\w*)(?!\w)"
)
# Capitalised words are names too, in questions about code that hold no plainer one.
_CAPITALS = re.compile(r"(?<=\s)[A-Z]\w{2,}")
# Asks what derives from a name, where the name comes after it ...
_DERIVING = re.compile(
    r"\b(?:derives?|derived|deriving|inherits?|inheriting|subclass\w*|extends?|extending"
    r"|(?:class|type)e?s\s+(?:that\s+)?implement\w*)\b",
    re.IGNORECASE,
)
# ... and wherever it stands.
_BASE = re.compile(
    r"\b(?:as\s+(?:an?\s+|their\s+|its\s+)?(?:direct\s+)?(?:base|parent|super)"
    r"|(?:derived|inherited|subclassed|extended|implemented)\s+by)\b",
    re.IGNORECASE,
)
_MOST_NAMES = 3
_LOOKED_AT, _SHOWN = 400, 4
_KEYWORDS = "class|struct|interface|trait|enum"
_DEFINED = rf"(?:(?:async\s+)?def|func|function|fn|const|let|var|type|{_KEYWORDS})"


class Find:
    """Search for words of the question; in code, look first where its names are defined."""

    kind: ClassVar[Kind] = "find"

    def schema(self, scene: Scene) -> None:
        """Nothing: the words to search for are the question's own."""

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """Search, and for code look at every line with a name."""
        names = _names(scene.question) if scene.layout.kind == "code" else []
        if names:
            derived = _asks_for_derived(scene.question, names[0])
            program = _in_code(names, scene.asked, derived=derived)
        else:
            program = [f"print(search({scene.asked!r}, k=4))"]
        return Plan("find", filled, "\n".join(program))


def _names(question: str) -> list[str]:
    found = [one or other for one, other in _IDENTIFIER.findall(question)]
    found = found or _CAPITALS.findall(question)
    # Of `Cache.size` both parts are names.
    parts = [part for name in found for part in name.split(".") if part]
    return list(dict.fromkeys(parts))[:_MOST_NAMES]


def _asks_for_derived(question: str, name: str) -> bool:
    """Whether classes are wanted that derive from `name`, and not what it derives from itself."""
    if _BASE.search(question):
        return True
    verb = _DERIVING.search(question)
    return verb is not None and verb.start() < question.find(name)


def _in_code(names: list[str], asked: str, *, derived: bool) -> list[str]:
    lines = ["found = 0"]
    for name in names:
        escaped = re.escape(name)
        if derived:
            # What a class derives from may stand on lines of its own, in parentheses.
            pattern = rf"^\s*(?:{_KEYWORDS})\s+\w+(?:\s*\([^)]*|[^\n({{]*)\b{escaped}\b"
            lines.append(f'hits = grep(r"{pattern}", k=60)')
            shown = "hits"
        else:
            pattern = rf"^\s*(?:{_DEFINED}\s+{escaped}\b|{escaped}\s*[:=])"
            lines.append(f'hits = grep(r"{pattern}", k={_LOOKED_AT}, flags=0)')
            others = ", ".join(repr(one) for one in names if one != name)
            # A field or a method is the one of the class that the question names beside it.
            shown = f"hits.within({others})[:{_SHOWN}]" if others else f"hits[:{_SHOWN}]"
        lines.append(f"found += len(hits); print({shown})")
    lines.append(f"print(search({asked!r}, k=2 if found else 5))")
    return lines
