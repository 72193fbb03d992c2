"""Plans for what is collected from every part of the text, and for summaries of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from outcore.engine.plans.limits import Limits
from outcore.engine.plans.plan import TEXT, Kind, NoPlan, Plan, objects, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.engine.plans.scene import Scene


class Gather:
    """Ask the same of every part, and join what is found."""

    kind: ClassVar[Kind] = "gather"

    def schema(self, scene: Scene) -> dict[str, Any] | None:
        """What to ask of a record, and whether it is asked of each; None without records to ask."""
        if not scene.fields or _limits(scene).tests:
            return None
        return objects(each={"enum": ["part of the text", "record"]}, task=TEXT)

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """The records that are meant; one entry for each; or what all of the text names.

        Raises:
            NoPlan: it is not clear which records are meant.
        """
        limits = _limits(scene)
        if doubt := limits.unclear or (limits.tests and limits.unbound):
            raise NoPlan(doubt)
        if limits.tests:
            lines = [*limits.code(), "print(len(rows), 'records')", "done([r.line for r in rows])"]
            return Plan("gather", filled, "\n".join(lines))
        if filled.get("each") == "record" and scene.fields:
            task = text(filled.get("task")) or scene.question
            lines = [
                f"entries = llm_map(records, {task!r})",
                "print(entries)",
                "done([' '.join(str(one).split()) for one in entries])",
            ]
        else:
            lines = [
                f"entries = llm_list({scene.question!r})",
                "print(entries)",
                # A list with a gap is a draft, and not a whole answer.
                "if entries.unread: answer['content'] = '\\n'.join(entries)",
                "else: done(entries)",
            ]
        return Plan("gather", filled, "\n".join(lines))


class Summarize:
    """Summarize every slice, then the summaries, until they are one text."""

    kind: ClassVar[Kind] = "summarize"

    def schema(self, scene: Scene) -> dict[str, Any]:
        """What the summary is about."""
        return objects(about=TEXT)

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """A program that goes on until one call holds all summaries."""
        about = text(filled.get("about"))
        task = "Summarize this in a few sentences" + (
            f", with regard to: {about}." if about else "."
        )
        lines = [
            f"task = {task!r}",
            "parts = list(slices())",
            "while len(parts) > 1:",
            "    told = llm_map(parts, task)",
            "    shorter = list(slices('\\n\\n'.join(told)))",
            "    if len(shorter) >= len(parts): break",
            "    parts = shorter",
            "whole = '\\n\\n'.join(map(str, parts))",
            f"summary = llm_query({scene.question!r}, text=whole, max_tokens=400)",
            "print(summary)",
            "done(summary)",
        ]
        return Plan("summarize", filled, "\n".join(lines))


def _limits(scene: Scene) -> Limits:
    return Limits.of(scene, ()) if scene.fields else Limits()
