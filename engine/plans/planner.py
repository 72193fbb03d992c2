"""Has a root fill in a plan: first the kind, by its scores, then the fields of that kind."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from outcore.engine.labels import ballot
from outcore.engine.plans.count import Count
from outcore.engine.plans.extent import Extent, program
from outcore.engine.plans.find import Find
from outcore.engine.plans.gather import Gather, Summarize
from outcore.engine.plans.limits import Limits
from outcore.engine.plans.measure import Measure, measured
from outcore.engine.plans.pairs import Pairs
from outcore.engine.plans.plan import NoPlan
from outcore.engine.profile import fill
from outcore.errors import BadReply
from outcore.models.engine import Priority, Request
from outcore.models.typed import Shape

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from outcore.engine.plans.plan import Kind, Maker, Plan
    from outcore.engine.plans.scene import Scene
    from outcore.models.engine import Engine, Generation

_MAKERS: dict[Kind, Maker] = {
    maker.kind: maker
    for maker in (Find(), Count(), Measure(), Pairs(), Gather(), Summarize(), Extent())
}
_TOKENS = 250
# A longer question holds a text of its own, and the words of that tell no plan.
_LONGEST = 20_000
# Without one of its words, a question is not of a kind; the root chooses among those left.
_COUNTS = re.compile(
    r"\b(?:how (?:many|often|frequent\w*)|the number of|percentage|proportion|majority"
    r"|(?:has|have|had|with|got|made) the (?:most|fewest|least)"
    r"|(?:most|least|more|less|fewer|equally|same|single most)\s+(?:\w+ly\s+)?"
    r"(?:often|common\w*|frequen\w*|numerous|prevalent)|outnumber\w*)\b",
    re.IGNORECASE,
)
_MANY = re.compile(r"\b(?:how many|the number of)\b", re.IGNORECASE)
# All of them are asked for, and not those of a few passages.
_LIST = re.compile(
    r"\A\W*(?:please\s+)?(?:list|enumerate|collect|gather|extract|compile|name)\s+"
    r"(?:all|every|each)\b",
    re.IGNORECASE,
)
# Longer texts are not read from end to end unless the root means to.
_READ_THROUGH = 2_000_000
_RANKS = re.compile(
    r"\b(?:most|least|fewest|more|less|fewer|how many|average|mean|sum|total|rank\w*|compare\w*"
    r"|common|rare\w*|frequen\w*|count\w*|share)\b",
    re.IGNORECASE,
)
_EACH = re.compile(
    r"\b(?:list|all|every|each|collect|gather|enumerate|extract|compile)\b", re.IGNORECASE
)
_WHOLE = re.compile(
    r"\b(?:summar\w+|sum (?:\w+ ){0,3}up|overview|outline|gist|themes?|plot|describe|explain"
    r"|main (?:points?|ideas?|arguments?)|in general|overall|what is [^?]* about)\b",
    re.IGNORECASE,
)
_PAIRS = re.compile(
    r"\b(?:pairs?|couples?|combinations?|(?:any|every|each|all) two)\b", re.IGNORECASE
)


class Planner:
    """Makes plans with one root.

    Args:
        root: the root's engine.
        generate: has the root answer a request, charged to the run.
    """

    def __init__(self, root: Engine, generate: Callable[[Request], Awaitable[Generation]]) -> None:
        self._root = root
        self._generate = generate

    async def plan(self, scene: Scene) -> Plan:
        """The plan for a question. Where none follows, the plan is to search.

        Raises:
            PromptTooLong: card and question don't fit the root's window.
            ModelError: the root's engine died or refused.
        """
        kind = await self._kind(scene)
        filled = await self._filled(scene, kind)
        try:
            return _MAKERS[kind].plan(scene, filled)
        except NoPlan:
            return _MAKERS["find"].plan(scene, {})

    async def _kind(self, scene: Scene) -> Kind:
        kinds = offered(scene)
        if len(kinds) == 1:
            return kinds[0]
        prompt = self._prompt("kinds", scene)
        request = Request(prompt, 1, priority=Priority.ROOT)
        cast = await asyncio.to_thread(ballot, self._root, request, kinds, scores=False)
        votes = [await self._generate(one) for one in cast.requests]
        try:
            label, _ = cast.decide(votes)
        except BadReply:
            # A server that holds its model to no choice.
            return "find"
        return next(kind for kind in kinds if kind == label)

    async def _filled(self, scene: Scene, kind: Kind) -> dict[str, Any]:
        schema = _MAKERS[kind].schema(scene)
        if schema is None:
            return {}
        shape = Shape(schema=json.dumps(schema))
        await asyncio.to_thread(shape.constraint)
        prompt = self._prompt(kind, scene)
        reply = await self._generate(Request(prompt, _TOKENS, shape=shape, priority=Priority.ROOT))
        try:
            filled = json.loads(reply.text)
        except (ValueError, RecursionError):
            # Cut off at its longest.
            return {}
        return filled if isinstance(filled, dict) else {}

    def _prompt(self, name: str, scene: Scene) -> Any:
        told = _prompts()[name]
        fields = ", ".join(f"{field.name} ({field.type})" for field in scene.choices) or "none"
        *kinds, last = offered(scene)
        asked = fill(
            told["ask"],
            card=scene.card,
            question=scene.asked,
            fields=fields,
            kinds=f"{', '.join(kinds)} or {last}",
        )
        return self._root.dialogue(told["system"].strip()).ask(asked)


def offered(scene: Scene) -> tuple[Kind, ...]:
    """The kinds that a question can be of, by its words and by what the context has."""

    def says(cue: re.Pattern[str]) -> bool:
        return cue.search(scene.question) is not None

    if len(scene.question) > _LONGEST:
        return ("find",)
    records = bool(scene.fields)
    if program(scene):
        return ("extent",)
    if measured(scene) is not None and not says(_PAIRS):
        return ("measure",)
    if scene.countable and says(_COUNTS) and not says(_PAIRS):
        return ("count",)
    if says(_MANY) and not says(_PAIRS) and Limits.of(scene, ()).tests:
        return ("count",)
    if says(_LIST) and not says(_PAIRS) and _listed(scene):
        return ("gather",)
    possible: dict[Kind, bool] = {
        "find": True,
        "count": records and (says(_COUNTS) or says(_RANKS)),
        "pairs": records and says(_PAIRS),
        "gather": says(_EACH),
        "summarize": says(_WHOLE),
    }
    return tuple(kind for kind, there in possible.items() if there)


def counted(scene: Scene) -> bool:
    """Whether a program over the records, or the text as it stands, can do what is asked."""
    kinds = offered(scene)
    return kinds in (("extent",), ("measure",), ("count",)) or (
        kinds == ("gather",) and bool(scene.fields)
    )


def _listed(scene: Scene) -> bool:
    """Whether a list has to come from all of the text: of records, those that are meant."""
    if scene.fields:
        return bool(Limits.of(scene, ()).tests)
    return scene.corpus.chars <= _READ_THROUGH


@cache
def _prompts() -> dict[str, dict[str, str]]:
    return tomllib.loads((Path(__file__).parent / "prompts.toml").read_text(encoding="utf-8"))
