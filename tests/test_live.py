"""The default root and sub-LM at work: contexts of each kind, typed and batched sub-calls."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from scripted import ScriptedEngine

from outcore.config import Budget, Settings
from outcore.engine.batcher import Batcher, Batchers
from outcore.engine.budget import Spending
from outcore.engine.corpus import stage
from outcore.engine.question import Question
from outcore.engine.trajectory import Trajectory
from outcore.models.serve import Served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from outcore.engine.result import Completion
    from outcore.engine.rlm import RLM

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]

NEEDLE = "The name of the guide's youngest camel is Zephyrine."
QUESTION = "What is the name of the guide's youngest camel?"


def lines(noise: str) -> list[str]:
    """Some 100,000 characters with the needle among them: too long for the direct way."""
    some = noise.splitlines()[:1000]
    return [*some[:600], NEEDLE, *some[600:]]


def as_file(lines: list[str], folder: Path) -> Path:
    path = folder / "caravan.txt"
    path.write_text("\r\n".join(lines), encoding="utf-8", newline="")
    return path


def as_folder(lines: list[str], folder: Path) -> Path:
    for part in range(0, len(lines), 100):
        path = folder / "days" / f"{part:04}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines[part : part + 100]), encoding="utf-8")
    return folder / "days"


def as_jsonl(lines: list[str], folder: Path) -> Path:
    path = folder / "caravan.jsonl"
    rows = (json.dumps({"day": day, "entry": line}) for day, line in enumerate(lines))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


KINDS: dict[str, Callable[[list[str], Path], Any]] = {
    "str": lambda lines, _: "\n".join(lines),
    "list": lambda lines, _: ["\n".join(lines[at : at + 100]) for at in range(0, len(lines), 100)],
    "dict": lambda lines, _: {f"part {at}": line for at, line in enumerate(lines)},
    "file": as_file,
    "folder": as_folder,
    "jsonl": as_jsonl,
}


@pytest.mark.parametrize("kind", KINDS)
def test_needle_in_a_context_of_each_kind(rlm: RLM, kind: str, noise: str, tmp_path: Path) -> None:
    completion = rlm.completion(KINDS[kind](lines(noise), tmp_path), QUESTION)
    assert "Zephyrine" in completion.answer
    assert completion.complete
    assert any("Zephyrine" in citation.text for citation in completion.citations)
    assert completion.sandbox == "bwrap"


def test_short_context_is_answered_directly(rlm: RLM) -> None:
    completion = rlm.completion(f"It was hot.\n{NEEDLE}\nThe well was dry.", QUESTION)
    assert "Zephyrine" in completion.answer
    assert completion.sandbox == "direct"
    assert completion.usage["root"][1].calls == 1
    assert completion.usage["sub"][1].calls == 0


async def test_from_asyncio(rlm: RLM) -> None:
    completion = await rlm.acompletion(f"{NEEDLE}\nThe well was dry.", QUESTION)
    assert "Zephyrine" in completion.response


def with_cell(rlm: RLM, code: str, context: str, folder: Path) -> Completion:
    """Run one cell as a root would, against the real sub-LM."""
    served, batchers = rlm._loop.run(rlm._models())
    root = ScriptedEngine([f"```repl\n{code}\n```"])
    trajectory = Trajectory(folder / "run")
    question = Question(
        text="?",
        corpus=stage(context, folder / "context"),
        served=Served(root, served.sub, "coder"),
        batchers=Batchers(Batcher(root), batchers.sub),
        settings=Settings(direct="never"),
        spending=Spending(Budget(turns=1)),
        trajectory=trajectory,
        phase=lambda _: None,
        pool=rlm._pool,
    )
    try:
        return rlm._loop.run(question.answer())
    finally:
        trajectory.close()


def test_typed_sub_calls(rlm: RLM, tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 30}},
        "required": ["name"],
        "additionalProperties": False,
    }
    completion = with_cell(
        rlm,
        f"a = llm_query('What is the name of the camel?', text=context, schema={schema})\n"
        "b = llm_query('Is the camel young or old?', text=context, choices=['young', 'old'])\n"
        "import json\ndone(json.dumps([a, b]))",
        NEEDLE,
        tmp_path,
    )
    assert completion.complete, completion.answer
    first, second = json.loads(completion.answer)
    assert "Zephyrine" in first["name"]
    assert second in ("young", "old")


def test_batched_sub_calls_share_the_prefill_of_their_slice(
    rlm: RLM, noise: str, tmp_path: Path
) -> None:
    served, _ = rlm._loop.run(rlm._models())
    before = served.sub.cache_stats()
    assert before is not None
    completion = with_cell(
        rlm,
        "piece = slices(tokens=800)[0]\n"
        "asked = [f'What happened on day {n}?' for n in range(6)]\n"
        "answers = llm_query_batched(asked, text=piece)\n"
        "done(str(len([a for a in answers if a.strip()])))",
        noise[:20_000],
        tmp_path,
    )
    after = served.sub.cache_stats()
    assert after is not None
    assert completion.answer == "6"
    usage = completion.usage["sub"][1]
    assert usage.calls == 6
    # Five of six take the slice's blocks from the cache, by vLLM's own count.
    assert after.hit - before.hit == usage.tokens_cached
    assert usage.tokens_cached > 5 * 500
    assert after.queried - before.queried == usage.tokens_in
