"""Questions in plan mode: a root that fills in the plan it is given, and everything else real."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripted import ScriptedEngine, giving, said

from outcore.config import Budget, Settings
from outcore.engine.batching.batcher import Batchers
from outcore.engine.budget import Spending
from outcore.engine.context.card import card
from outcore.engine.context.corpus import stage
from outcore.engine.context.layout import layout_of
from outcore.engine.plans.scene import Scene
from outcore.engine.question import Question
from outcore.engine.trajectory import Trajectory, read
from outcore.kernel_sandbox import Pool
from outcore.models.serve import Served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcore.engine.result import Completion
    from outcore.models.engine import Request


@dataclass(frozen=True)
class Planned:
    """What a question in plan mode left behind."""

    completion: Completion
    events: list[dict[str, Any]]
    root: ScriptedEngine
    sub: ScriptedEngine

    @property
    def plan(self) -> dict[str, Any]:
        """The event of the plan."""
        [plan] = [event for event in self.events if event["event"] == "plan"]
        return plan

    @property
    def output(self) -> str:
        """What the plan's program printed."""
        cell = next(event for event in self.events if event["event"] == "cell")
        assert cell["status"] == "ok", (cell["code"], cell["output"], cell["error"])
        return str(cell["output"]).strip()


async def planned(
    folder: Path,
    question: str,
    context: Any,
    kind: str,
    filled: Any,
    *,
    sub: Callable[[Request], str] | str = "fine",
    last: str | None = None,
    **settings: Any,
) -> Planned:
    """Ask a question whose plan is of a kind and filled in so; `filled` may be cut JSON."""
    reply = filled if isinstance(filled, str) else json.dumps(filled)

    def plans(request: Request) -> str:
        if request.shape is None:
            return last or giving("seen")
        return kind if request.shape.choices else reply

    root = ScriptedEngine([plans])
    below = ScriptedEngine([sub], name="below")
    chosen = Settings(**({"direct": "never", "profile": "small"} | settings))
    trajectory = Trajectory(folder / "run")
    served = Served(root, below, "small")
    asked = Question(
        text=question,
        corpus=stage(context, folder / "context"),
        served=served,
        batchers=Batchers.of(root, below, None, judge=served.judge),
        settings=chosen,
        spending=Spending(Budget(turns=4)),
        trajectory=trajectory,
        phase=lambda _: None,
        pool=Pool(folder / "pool", chosen.kernels),
    )
    try:
        completion = await asked.answer()
    finally:
        trajectory.close()
        asked.batchers.close()
        await asked.pool.close()
    return Planned(completion, list(read(completion.run_dir)), root, below)


def scene_of(folder: Path, question: str, context: Any) -> Scene:
    """The scene of a question over a context."""
    corpus = stage(context, folder / "scene")
    layout = layout_of(corpus)
    return Scene(question, card(corpus, layout, corpus.chars // 4), corpus, layout)


def judged(**words: str) -> Callable[[Request], str]:
    """A sub-LM that labels an item by a word in it; `_` in a label stands for a blank."""

    def reply(request: Request) -> str:
        item = said(request).casefold()
        at = {label: item.rfind(word) for label, word in words.items()}
        return max(at, key=at.__getitem__).replace("_", " ")

    return reply
