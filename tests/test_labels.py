"""Labels by scores: which passes are asked for, and what probabilities come of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from scripted import ScriptedEngine, choose

from outcore.engine.labels import ballot
from outcore.errors import BadReply, ConfigError, ModelError
from outcore.models.engine import Asked, Generation, Request, TokenPrompt, pack
from outcore.models.sketch import sketch
from outcore.models.typed import Shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

END = 0


class Scored(ScriptedEngine):
    """An engine whose tokens are characters, and whose next token has the odds it is told."""

    odds: Mapping[str, float]

    def label_tokens(self, labels: Sequence[str]) -> tuple[tuple[int, ...], ...] | None:
        def ids(label: str) -> tuple[int, ...]:
            more = any(other != label and other.startswith(label) for other in labels)
            return (*map(ord, label), *([END] if more else []))

        return tuple(map(ids, labels))

    async def generate(self, request: Request) -> Generation:
        self.asked.append(request)
        assert isinstance(request.prompt, Asked)
        begun = "".join(map(chr, request.prompt.opening))
        names = [begun + (chr(one) if one else "$") for one in request.only]
        logs = tuple(math.log(self.odds[name]) for name in names)
        return Generation("?", (), "stop", 1, 0, 1, logprobs=logs)


def scored(odds: Mapping[str, float]) -> Scored:
    engine = Scored(["never"])
    engine.odds = odds
    return engine


async def pick(
    engine: ScriptedEngine, labels: tuple[str, ...], *, scores: bool
) -> tuple[str, dict[str, float] | None]:
    request = Request(Asked("Which?", "text"), 500)
    return await choose(engine, request, labels, scores=scores, ask=engine.generate)


async def test_different_first_tokens_take_one_pass() -> None:
    engine = scored({"g": 0.06, "b": 0.02})
    label, scores = await pick(engine, ("bad", "good"), scores=True)
    assert label == "good"
    assert scores == pytest.approx({"good": 0.75, "bad": 0.25})
    assert await pick(engine, ("bad", "good"), scores=False) == ("good", None)
    for request in engine.asked:
        assert (request.only, request.max_tokens, request.shape) == ((ord("b"), ord("g")), 1, None)
    assert len(engine.asked) == 2


async def test_yes_and_no_are_scored_as_models_say_them() -> None:
    engine = scored({"Y": 0.3, "N": 0.1})
    label, scores = await pick(engine, ("no", "yes"), scores=True)
    assert label == "yes"
    assert scores == pytest.approx({"yes": 0.75, "no": 0.25})


async def test_common_beginnings_are_descended_for_scores() -> None:
    odds = {"c": 0.8, "d": 0.2, "ca": 0.3, "co": 0.1, "cat": 0.1, "car": 0.3}
    engine = scored(odds)
    label, scores = await pick(engine, ("cat", "car", "cow", "dog"), scores=True)
    assert label == "car"
    assert scores == pytest.approx({"cat": 0.15, "car": 0.45, "cow": 0.2, "dog": 0.2})
    openings = ["".join(map(chr, one.prompt.opening)) for one in engine.asked]  # type: ignore[union-attr]
    assert sorted(openings) == ["", "c", "ca"]


async def test_likeliest_branch_is_not_always_the_likeliest_label() -> None:
    engine = scored({"a": 0.6, "b": 0.4, "ax": 0.5, "ay": 0.5})
    assert (await pick(engine, ("ax", "ay", "b"), scores=True))[0] == "b"


async def test_label_that_another_begins_with() -> None:
    engine = scored({"no$": 0.1, "not": 0.4})
    label, scores = await pick(engine, ("no", "not now"), scores=True)
    assert label == "not now"
    assert scores == pytest.approx({"no": 0.2, "not now": 0.8})


async def test_common_first_tokens_without_scores_take_a_grammar() -> None:
    engine = ScriptedEngine(["cow"])
    cast = ballot(scored({}), Request(Asked("?"), 3), ("cat", "cow"), scores=False)
    [request] = cast.requests
    assert request.shape == Shape(choices=("cat", "cow"))
    assert request.max_tokens == 4
    generation = Generation("cow", (), "stop", 1, 0, 1)
    assert cast.decide([generation]) == ("cow", None)
    with pytest.raises(BadReply):
        cast.decide([Generation("crow", (), "stop", 1, 0, 1)])
    assert engine.label_tokens(["cat", "cow"]) is None


async def test_engine_without_scores() -> None:
    with pytest.raises(ConfigError, match="scripted gives no scores"):
        await pick(ScriptedEngine(["yes"]), ("yes", "no"), scores=True)
    [request] = ballot(
        ScriptedEngine([""]), Request(Asked("?"), 3), ("yes", "no"), scores=False
    ).requests
    assert request.shape is not None
    with pytest.raises(ModelError, match="2 labels were to be scored, and 0 scores came"):
        ballot(scored({}), Request(Asked("?"), 3), ("yes", "no"), scores=True).decide(
            [Generation("?", (), "stop", 1, 0, 1)]
        )


async def test_one_label_is_certain_and_asks_nothing() -> None:
    engine = scored({})
    assert await pick(engine, ("only",), scores=True) == ("only", {"only": 1.0})
    assert engine.asked == []


async def test_many_labels_are_scored_in_parts_of_what_an_engine_takes() -> None:
    labels = tuple(chr(0x4E00 + number) for number in range(300))
    engine = scored({label: 1 / (1 + number) for number, label in enumerate(reversed(labels))})
    label, scores = await pick(engine, labels, scores=True)
    assert label == labels[-1]
    assert scores is not None
    assert sum(scores.values()) == pytest.approx(1)
    assert [len(one.only) for one in engine.asked] == [128, 128, 44]


def test_a_ballot_has_its_most_requests() -> None:
    labels = tuple(f"{chr(0x4E00 + number)}{end}" for number in range(130) for end in "ab")
    request = Request(Asked("?"), 3)
    with pytest.raises(
        ConfigError, match=r"132 requests, and 128 are allowed.*without with_scores"
    ):
        ballot(scored({}), request, labels, scores=True)
    assert len(ballot(scored({}), request, labels, scores=False).requests) == 1
    assert len(ballot(scored({}), request, labels[:200], scores=True).requests) == 101


def test_long_labels_make_no_long_work() -> None:
    long = "a" * 20_000
    cast = ballot(scored({}), Request(Asked("?"), 3), (long + "b", long + "c"), scores=True)
    [path] = cast.paths
    assert len(path) == 20_000


def test_prompts_of_ids_are_opened_too() -> None:
    request = Request(TokenPrompt(pack([5]), pack([4])), 3)
    cast = ballot(scored({}), request, ("ab", "ac"), scores=True)
    [asked] = cast.requests
    assert isinstance(asked.prompt, TokenPrompt)
    assert asked.prompt.ids() == [4, 5, ord("a")]


def test_words_for_the_model() -> None:
    choices = Shape.of(None, ["good", "so-so"])
    assert choices is not None
    assert choices.told("How?") == "Question: How?\nAnswer with one of: good, so-so."
    judged = Shape.of(None, ["no", "yes"])
    assert judged is not None
    assert judged.told("Is it?") == "Question: Is it?\nAnswer with one word, Yes or No."
    number = Shape.of({"type": "integer"}, None)
    assert number is not None
    assert number.told("How many?") == (
        'How many?\nAnswer in JSON of this form: {"value": whole number}'
    )
    shape = Shape.of(
        {
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "in\nfull"},
                "tags": {"type": "array", "items": {"enum": ["a", 1]}},
                "next": {"anyOf": [{"$ref": "#/$defs/Age"}, {"type": "null"}]},
            },
            "$defs": {"Age": {"type": "integer"}},
        },
        None,
    )
    assert shape is not None
    assert shape.told("Who?") == (
        'Who?\nAnswer in JSON of this form: {"name": text (in full), "tags": ["a" or 1, ...], '
        '"next": whole number or null}'
    )


def test_fields_are_written_in_the_order_they_were_given() -> None:
    fields = {"why": {"type": "string"}, "answer": {"type": "boolean"}}
    shape = Shape.of({"type": "object", "properties": fields}, None)
    assert shape is not None
    assert shape.schema.index("why") < shape.schema.index("answer")


def test_schema_that_refers_to_itself_many_times_is_cut_short() -> None:
    wide = {f"f{number}": {"$ref": "#/$defs/Self"} for number in range(20)}
    schema = {"$ref": "#/$defs/Self", "$defs": {"Self": {"type": "object", "properties": wide}}}
    assert len(sketch(schema)) < 100_000
    with pytest.raises(ConfigError, match="too large a grammar"):
        Shape.of(schema, None)


def test_small_schemas_of_huge_grammars_are_refused() -> None:
    nested: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        nested = {"type": "array", "items": nested}
    with pytest.raises(ConfigError, match="too large a grammar"):
        Shape.of(nested, None)
    tree = {
        "$ref": "#/$defs/Node",
        "$defs": {
            "Node": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "below": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                },
                "required": ["name", "below"],
            }
        },
    }
    assert Shape.of(tree, None) is not None
    fields = {f"f{number}": {"type": "string"} for number in range(100)}
    assert Shape.of({"type": "object", "properties": fields}, None) is not None


def test_forms_that_are_no_forms() -> None:
    with pytest.raises(ConfigError, match="60,001 characters"):
        Shape.of(None, ["a" * 60_000, "b"])
    with pytest.raises(ConfigError, match="50,000 are allowed"):
        Shape.of({"type": "string", "description": "x" * 60_000}, None)
