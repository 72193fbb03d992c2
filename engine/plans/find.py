"""Plans for what stands at one or a few places of the text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from outcore.engine.plans.plan import TEXT, Kind, Plan, objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.engine.plans.scene import Scene

# How an identifier looks: it has an underscore, a dot inside, or capitals after its first letter.
_IDENTIFIER = re.compile(r"`([^`\n]+)`|\b([A-Za-z]\w*(?:_\w+)+|_\w+|[A-Z]\w*[a-z]\w*[A-Z]\w*)\b")
_NAME = re.compile(r"[A-Za-z_]\w*\Z")
_DERIVED = re.compile(
    r"\b(?:derive[sd]?|deriving|inherit(?:s|ed|ing)?|subclass(?:es|ed)?|extend(?:s|ed|ing)?"
    r"|implement(?:s|ed|ing)?|child classes)\b",
    re.IGNORECASE,
)
_MOST_NAMES = 3


class Find:
    """Search for words of the question; in code also for the names that it holds."""

    kind: ClassVar[Kind] = "find"

    def schema(self, scene: Scene) -> dict[str, Any]:
        """The words to search for."""
        return objects(words=TEXT)

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """Search, and for code look at every line with a name."""
        words = " ".join(str(filled.get("words", "")).split())
        queries = [words] if words and words.casefold() != scene.question.casefold() else []
        queries.append(scene.question)
        asked = queries[0] if len(queries) == 1 else queries
        lines = [f"print(search({asked!r}, k=4))"]
        if scene.layout.kind == "code":
            lines = [*_in_code(scene.question), *lines]
        return Plan("find", filled, "\n".join(lines))


def _in_code(question: str) -> list[str]:
    names = [found for match in _IDENTIFIER.findall(question) if (found := match[0] or match[1])]
    names = [one for name in names if _NAME.match(one := name.rpartition(".")[2])]
    derived = _DERIVED.search(question)
    lines = []
    for name in list(dict.fromkeys(names))[:_MOST_NAMES]:
        escaped = re.escape(name)
        if derived:
            pattern = rf"^\s*(?:class|struct|interface)\s+\w+.*\b{escaped}\b"
            lines.append(f"print(grep({_raw(pattern)}, k=60))")
        else:
            lines.append(f"print(grep({_raw(rf'{_DEFINES}{escaped}{_AS}')}, k=4, flags=0))")
    return lines


_DEFINES = r"^\s*(?:(?:async\s+)?def|class|func|function|struct|interface|const|let|var)?\s*"
_AS = r"\s*(?:[:=(]|$)"


def _raw(pattern: str) -> str:
    return f'r"{pattern}"'
