"""Plans for what stands at one or a few places of the text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from outcore.engine.plans.plan import Kind, Plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.engine.plans.scene import Scene

# How an identifier looks: it has an underscore, a dot inside, or capitals after its first letter.
_IDENTIFIER = re.compile(
    r"`([\w.]+)`|(?<![\w.])([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+|[A-Za-z]\w*_\w+|_\w+"
    r"|[A-Z]+[a-z]\w*[A-Z]\w*|[a-z]+[A-Z]\w*)(?!\w)"
)
# Capitalised words are names too, in questions about code that hold no plainer one.
_CAPITALS = re.compile(r"(?<=\s)[A-Z]\w{2,}")
_DERIVED = re.compile(
    r"\b(?:derives?|derived|deriving|inherits?|inherited|inheriting|subclass\w*|extends?|extending"
    r"|(?:class|type)e?s\s+(?:that\s+)?implement\w*"
    r"|as\s+(?:an?\s+|their\s+|its\s+)?(?:direct\s+)?(?:base|parent|super)\b)",
    re.IGNORECASE,
)
_MOST_NAMES = 3
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
            derived = _DERIVED.search(scene.question) is not None
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


def _in_code(names: list[str], asked: str, *, derived: bool) -> list[str]:
    lines = ["found = 0"]
    for name in names:
        escaped = re.escape(name)
        if derived:
            # What a class derives from may stand on lines of its own, in parentheses.
            pattern = rf"^\s*(?:{_KEYWORDS})\s+\w+(?:\s*\([^)]*|[^\n({{]*)\b{escaped}\b"
            lines.append(f'hits = grep(r"{pattern}", k=60)')
        else:
            pattern = rf"^\s*(?:{_DEFINED}\s+{escaped}\b|{escaped}\s*[:=])"
            lines.append(f'hits = grep(r"{pattern}", k=4, flags=0)')
        lines.append("found += len(hits); print(hits)")
    lines.append(f"print(search({asked!r}, k=2 if found else 5))")
    return lines
