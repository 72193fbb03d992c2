"""Shapes of typed replies: what is refused, what an engine is held to, what is read back."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from outcore.errors import BadReply, ConfigError, ModelError, ModelUnavailable
from outcore.models.engine import Request, TokenPrompt, pack
from outcore.models.meter import Meter
from outcore.models.typed import Shape
from outcore.models.vllm_engine import VllmEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def shaped(schema: dict[str, Any]) -> Shape:
    shape = Shape.of(schema, None)
    assert shape is not None
    return shape


def held(schema: dict[str, Any]) -> Any:
    """The schema that the engine is held to."""
    return shaped(schema).constraint()["json"]


def field(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": schema}, "required": ["a"]}


@pytest.mark.parametrize(
    ("schema", "reply", "value"),
    [
        ({"type": "string", "maxLength": 9}, '"x"', "x"),
        ({"type": "array", "items": {"type": "string"}}, '["x"]', ["x"]),
        ({"anyOf": [{"type": "object"}, {"type": "null"}]}, '{"value": 1}', {"value": 1}),
        ({"type": "object", "enum": [1]}, "1", 1),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "null"}}}, "null", None),
    ],
)
def test_a_value_that_is_no_object_is_a_field_to_the_engine(
    schema: dict[str, Any], reply: str, value: Any
) -> None:
    shape = shaped(schema)
    inner = {key: one for key, one in schema.items() if key != "$defs"}
    constraint = shape.constraint()["json"]
    assert constraint["properties"] == {"value": inner}
    assert constraint.get("$defs") == schema.get("$defs")
    assert shape.read(f'{{"value": {reply}}}', cut=False) == value
    assert shape.told("What?").startswith('What?\nAnswer in JSON of this form: {"value": ')


def test_an_object_is_held_to_as_it_is() -> None:
    schema = field({"type": "string", "maxLength": 9})
    assert held(schema) == schema
    shape = shaped({"properties": {"value": {"type": "integer"}}})
    assert shape.read('{"value": 1}', cut=False) == {"value": 1}


def test_a_server_that_enforces_nothing_may_leave_the_wrapping_out() -> None:
    assert shaped({"type": "integer"}).read("5", cut=False) == 5


@pytest.mark.parametrize(
    ("schema", "loose"),
    [
        ({"type": "string", "maxLength": 2_000}, {"type": "string"}),
        (
            {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 100},
            {"type": "array", "items": {"type": "integer"}, "minItems": 1},
        ),
        ({"type": "string", "enum": ["maxLength"], "minLength": 90}, None),
    ],
)
def test_bounds_that_would_make_a_slow_grammar_are_left_to_who_asked(
    schema: dict[str, Any], loose: dict[str, Any] | None
) -> None:
    expected = loose or {"type": "string", "enum": ["maxLength"]}
    assert held(field(schema)) == field(expected)


def test_lists_of_bounded_things_are_ordinary() -> None:
    name = {"type": "string", "maxLength": 500}
    assert held(field({"type": "array", "items": field(name), "maxItems": 100})) == field(
        {"type": "array", "items": field({"type": "string"})}
    )


def test_names_of_fields_are_no_bounds() -> None:
    fields = {"maxLength": {"type": "string", "maxLength": 500}}
    assert held({"properties": fields}) == {"properties": {"maxLength": {"type": "string"}}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "maxLength": 100_000},
        {"type": "string", "minLength": 100_000},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 100_000},
        {"type": "integer", "maxDigits": 100_000},
    ],
)
def test_bounds_out_of_all_measure_are_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="is 100,000, and 10,000 is allowed"):
        Shape.of(field(schema), None)


@pytest.mark.parametrize(
    "pattern",
    [
        "^[a-z]{1,301}$",
        "^[a-z]{200}-[a-z]{200}$",
        "^([a-z]{1,20}){2}$",
        "^((ab){20}|c)+$",
        "^[ab]*a[ab]{20}$",
        "^a{2,}[ab]{20}$",
        "a" * 201,
    ],
)
def test_patterns_that_an_engine_could_choke_on_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match="check the value in code"):
        Shape.of({"type": "string", "pattern": pattern}, None)


@pytest.mark.parametrize(
    "pattern",
    [r"^\d{4}-\d{2}-\d{2}$", r"^[A-Z]{2,20}-[0-9]+$", r"^(a{2,3}b)*$", r"^[{2000}(]\{a$", "^a?b+$"],
)
def test_ordinary_patterns_pass(pattern: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    assert held(field(schema)) == field(schema)


def test_a_chain_of_references_is_too_long() -> None:
    defs: dict[str, Any] = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(1_200)}
    with pytest.raises(ConfigError, match="too large a grammar"):
        Shape.of({"$ref": "#/$defs/a0", "$defs": {**defs, "a1200": {"type": "null"}}}, None)


@pytest.mark.parametrize("choices", [5, "abc", {"a": 1}, ["a", 1], ["a", ""], []])
def test_choices_are_a_list_of_texts(choices: Any) -> None:
    with pytest.raises(ConfigError, match="list of texts"):
        Shape.of(None, choices)


def test_a_thousand_choices_are_the_most() -> None:
    choices = [f"{n}" for n in range(1_001)]
    with pytest.raises(ConfigError, match=r"1,001 labels, and 1,000 are allowed.*ask twice"):
        Shape.of(None, choices)
    assert Shape.of(None, choices[1:]) is not None


@pytest.mark.parametrize(
    "reply", ["NaN", "-Infinity", '"\\ud800"', '{"\\udfff": 1}', "[1, Infinity]"]
)
def test_what_no_frame_can_hold_is_a_bad_reply(reply: str) -> None:
    with pytest.raises(BadReply, match="is no JSON"):
        Shape(schema=json.dumps(field({}))).read(f'{{"a": {reply}}}', cut=False)


class _Refusing:
    """A vLLM that ends every request with the same reason."""

    vllm_config = SimpleNamespace(
        model_config=SimpleNamespace(max_model_len=100),
        scheduler_config=SimpleNamespace(max_num_seqs=2),
        cache_config=SimpleNamespace(block_size=16),
        parallel_config=SimpleNamespace(data_parallel_size=1),
    )
    errored = False

    async def generate(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        yield SimpleNamespace(outputs=[SimpleNamespace(finish_reason="error")])


async def test_a_form_the_engine_gave_up_on_is_not_tried_again(tmp_path: Path) -> None:
    chat: Any = SimpleNamespace(labels=tuple)
    engine = VllmEngine("m", "d", chat, _Refusing(), Meter(), (), tmp_path / "log")
    prompt = TokenPrompt(pack([1]))
    with pytest.raises(ModelError, match="could not hold a reply to its form") as caught:
        await engine.generate(Request(prompt, 5, shape=shaped(field({"type": "null"}))))
    assert not isinstance(caught.value, ModelUnavailable)
    with pytest.raises(ModelUnavailable):
        await engine.generate(Request(prompt, 5))
