"""The default root and sub-LM at work: contexts of each kind, typed and batched sub-calls."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from scripted import ScriptedEngine, choose

from outcore.config import Budget, Settings
from outcore.engine.batching.batcher import Batcher, Batchers
from outcore.engine.batching.memo import Memo
from outcore.engine.budget import Spending
from outcore.engine.context.corpus import stage
from outcore.engine.question import Question
from outcore.engine.trajectory import Trajectory
from outcore.models.engine import Asked, Generation, Request
from outcore.models.serve import Served
from outcore.models.typed import Shape

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


def test_a_finished_question_asked_again_costs_no_model_tokens(
    rlm: RLM, noise: str, tmp_path: Path
) -> None:
    served, _ = rlm._loop.run(rlm._models())
    memo = Memo(tmp_path / "memo.db")
    answers = []
    for turn in range(2):
        trajectory = Trajectory(tmp_path / f"run {turn}")
        question = Question(
            text=QUESTION,
            corpus=stage("\n".join(lines(noise)), tmp_path / f"context {turn}"),
            served=served,
            batchers=Batchers.of(served.root, served.sub, memo, judge=served.judge),
            settings=rlm.settings,
            spending=Spending(Budget()),
            trajectory=trajectory,
            phase=lambda _: None,
            pool=rlm._pool,
        )
        answers.append(rlm._loop.run(question.answer()))
        trajectory.close()
    first, again = answers
    assert "Zephyrine" in first.answer
    assert again.answer == first.answer
    assert again.turns == first.turns
    root = again.usage["root"]
    assert root.remembered == root.calls == first.usage["root"].calls
    for usage in again.usage.values():
        assert (usage.tokens_in, usage.tokens_out) == (0, 0)
    memo.close()


def test_short_context_is_answered_directly(rlm: RLM) -> None:
    completion = rlm.completion(f"It was hot.\n{NEEDLE}\nThe well was dry.", QUESTION)
    assert "Zephyrine" in completion.answer
    assert completion.sandbox == "direct"
    assert completion.usage["root"].calls == 1
    assert completion.usage["sub"].calls == 0


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
        # Labels are chosen by the real judge, and not by the script.
        served=Served(root, served.sub, "coder"),
        batchers=Batchers(Batcher(root), batchers.sub, batchers.judge),
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
    usage = completion.usage["sub"]
    assert usage.calls == 6
    # Five of six take the slice's blocks from the cache, by vLLM's own count.
    assert after.hit - before.hit == usage.tokens_cached
    assert usage.tokens_cached > 5 * 500
    assert after.queried - before.queried == usage.tokens_in


def test_labels_by_their_scores(rlm: RLM) -> None:
    served, _ = rlm._loop.run(rlm._models())
    engine = served.sub

    async def ask(request: Request) -> Generation:
        assert isinstance(request.prompt, Asked)
        [prompt] = engine.prompts([request.prompt])
        return await engine.generate(replace(request, prompt=prompt))

    def pick(question: str, *labels: str) -> tuple[str, dict[str, float]]:
        shape = Shape(choices=labels)
        request = Request(Asked(shape.told(question), NEEDLE), 50, shape=shape)
        label, scores = rlm._loop.run(choose(engine, request, labels, scores=True, ask=ask))
        assert scores is not None
        assert sum(scores.values()) == pytest.approx(1)
        assert label == max(scores, key=scores.__getitem__)
        written = rlm._loop.run(choose(engine, request, labels, scores=False, ask=ask))
        print(question, scores, written)
        if "yes" not in labels:
            by_grammar = rlm._loop.run(ask(request))
            assert written == (by_grammar.text, None)
        return label, scores

    assert pick("Is an animal named in the text?", "yes", "no")[0] == "yes"
    assert pick("Does it rain in the text?", "no", "yes")[0] == "no"
    label, scores = pick("Which animal is named in the text?", "dog", "camel", "whale", "cat")
    assert label == "camel"
    assert scores["camel"] > 0.5
    # Labels that begin alike, and one that another begins with.
    for labels in (("camel of a guide", "camel race", "ship"), ("one", "one hundred", "none")):
        _, scores = pick("What is it about?", *labels)
        assert all(0 < score < 1 for score in scores.values())


def test_typed_calls_on_many_items(rlm: RLM, tmp_path: Path) -> None:
    completion = with_cell(
        rlm,
        """
import json, pydantic
class Camel(pydantic.BaseModel):
    name: str
    age: int
items = ["The camel Ada is 5 years old.", "It rained all day.", "The camel Bo is 7 years old."]
found = {
    "filtered": llm_filter(items, "Is a camel named in the text?"),
    "mapped": llm_map([items[0], items[2]], "How old is the camel?", int),
    "extracted": [one.model_dump() for one in llm_extract([items[0], items[2]], Camel)],
    "fields": llm_extract(items[0], {"name": "name of the camel", "tags": [str]}),
    "classified": llm_classify(items, {"animal": "about an animal", "weather": "about weather"}),
}
print(json.dumps(found))
done(json.dumps(found))
""",
        NEEDLE,
        tmp_path,
    )
    print(completion.answer)
    found = json.loads(completion.answer)
    assert "The camel Ada is 5 years old." in found["filtered"]
    assert "It rained all day." not in found["filtered"]
    assert found["mapped"] == [5, 7]
    assert [one["age"] for one in found["extracted"]] == [5, 7]
    assert "Bo" in found["extracted"][1]["name"]
    assert "Ada" in found["fields"]["name"]
    assert found["classified"][0] == "animal"
    assert set(found["classified"]) <= {"animal", "weather"}


def test_classes_with_scores(rlm: RLM, tmp_path: Path) -> None:
    completion = with_cell(
        rlm,
        """
import json
items = ["A masterpiece.", "Terrible acting."]
got = llm_classify(items, ["good", "bad"], "How did the critic find it?", with_scores=True)
done(json.dumps([[label, label.scores] for label in got]))
""",
        NEEDLE,
        tmp_path,
    )
    (first, scores), (second, _) = json.loads(completion.answer)
    assert (first, second) == ("good", "bad")
    assert scores["good"] + scores["bad"] == pytest.approx(1)
    # The default sub-LM is not trusted with labels.
    assert completion.usage["sub"].calls == 2
    assert completion.usage["sub"].tokens_out == 0


def complaints(days: int) -> str:
    """Letters of five shops under a line that lists their kinds; every third one is praise."""
    said = {
        "complaint": "The parcel came three weeks late and was broken. I want my money back.",
        "praise": "Everything was perfect, thank you so much for the friendly and quick service!",
    }
    rows = (
        f"Day: 2023-{1 + day // 28:02}-{1 + day % 28:02} | Shop: S{day % 5} | "
        f"Letter: ({day}) {said['praise' if day % 3 == 0 else 'complaint']}"
        for day in range(days)
    )
    head = "Each letter to a shop is one of two kinds: 'complaint', 'praise'."
    return "\n".join((head, "", *rows))


def test_counts_that_take_judgement_by_a_plan(rlm: RLM) -> None:
    question = "Is the kind 'praise' more common or less common than the kind 'complaint'?"
    completion = rlm.completion(complaints(60), question)
    assert completion.complete
    assert "less common" in completion.answer
    # One sub-call a letter, made by the model that can judge.
    assert completion.usage["sub"].calls == 60


def test_pairs_by_a_plan_are_returned_whole(rlm: RLM) -> None:
    question = (
        "List all pairs of shops where both shops have at least one letter of the kind 'complaint'."
    )
    completion = rlm.completion(complaints(60), question)
    assert completion.complete
    assert completion.answer.count("(S") == 10
    assert completion.turns == 1
