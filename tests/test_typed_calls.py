"""Typed calls in a real kernel: what goes out, what comes back as values, and second tries."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from sandboxing import Host, running

from outcore.errors import BadReply, BudgetExceeded, PromptTooLong

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcore.kernel_sandbox import Kernel

Params = dict[str, Any]


@dataclass
class Sub(Host):
    """A host whose sub-LM is a function of a call's parameters.

    It answers once `together` calls have been there at once.
    """

    answer: Callable[[Params], Any] = field(default=lambda _: "")
    together: int = 0

    async def _reply(self, op: str, params: Params) -> Any:
        if op != "llm_query":
            return await super()._reply(op, params)
        while self.peak < self.together:
            await asyncio.sleep(0.01)
        return self.answer(params)


class Rig:
    """A kernel shared by the tests of this file, and its host."""

    def __init__(self, kernel: Kernel, host: Sub) -> None:
        self.kernel = kernel
        self.host = host

    async def ok(self, code: str) -> str:
        """Output of a cell that has to work."""
        result = await self.kernel.run(code, seconds=20)
        assert result.status == "ok", result
        return result.output.strip()

    async def error(self, code: str) -> str:
        """Error of a cell that has to fail."""
        result = await self.kernel.run(code, seconds=20)
        assert result.status == "error", result
        return result.error or ""

    @property
    def asked(self) -> list[Params]:
        return self.host.of("llm_query")

    def answers(self, *answers: Any) -> None:
        """Have the calls answered with these, in the order they come; errors are raised."""
        left = list(answers)

        def answer(_: Params) -> Any:
            one = left.pop(0)
            if isinstance(one, Exception):
                raise one
            return one

        self.host.answer = answer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    host = Sub()
    async with running(tmp_path_factory.mktemp("typed"), host) as kernel:
        yield Rig(kernel, host)


@pytest.fixture
def rig(shared: Rig) -> Rig:
    shared.host.calls.clear()
    shared.host.together = 0
    shared.host.peak = shared.host.cancelled = 0
    return shared


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ("int", {"type": "integer"}),
        ("list[str]", {"type": "array", "items": {"type": "string"}}),
        ("['int']", {"type": "array", "items": {"type": "integer"}}),
        ("bool | None", {"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
        ("typing.Literal['a', 'b']", {"enum": ["a", "b"]}),
        ("dict[str, float]", {"type": "object", "additionalProperties": {"type": "number"}}),
        ("{'type': 'array'}", {"type": "array"}),
        ("{'anyOf': [{'type': 'null'}]}", {"anyOf": [{"type": "null"}]}),
        (
            "{'type': str, 'when': 'day it was signed', 'kind': ['old', 'new'], 'n': {'x': 0}}",
            {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "when": {"type": "string", "description": "day it was signed"},
                    "kind": {"enum": ["old", "new"]},
                    "n": {
                        "type": "object",
                        "properties": {"x": {"type": "integer"}},
                        "required": ["x"],
                        "additionalProperties": False,
                    },
                },
                "required": ["type", "when", "kind", "n"],
                "additionalProperties": False,
            },
        ),
    ],
)
async def test_ways_to_say_a_schema(rig: Rig, schema: str, sent: Any) -> None:
    rig.answers(BudgetExceeded("enough"))
    await rig.error(f"import typing\nllm_query('q', schema={schema})")
    assert [one["schema"] for one in rig.asked] == [sent]


@pytest.mark.parametrize(
    "schema", ["'yes'", "{}", "[str, int]", "object", "{'n': object()}", "len", "{1, 2}"]
)
async def test_what_is_no_schema_says_what_is(rig: Rig, schema: str) -> None:
    error = await rig.error(f"llm_query('q', schema={schema})")
    assert error.startswith("TypeError: schema is a JSON schema (dict), fields and their types")
    assert "schema={" not in error
    assert rig.asked == []


async def test_values_have_the_types_that_were_asked_for(rig: Rig) -> None:
    rig.answers(
        {"name": "Ann", "ages": [3]},
        {"people": [{"name": "Bo", "ages": []}], "mood": "sad", "when": "2024-02-29"},
        [{"name": "Cy", "ages": []}],
        3,
    )
    code = """
import dataclasses, datetime, enum, pydantic
class Person(pydantic.BaseModel):
    name: str
    ages: list[int]
class Mood(enum.Enum):
    SAD = "sad"
@dataclasses.dataclass
class Day:
    people: list[Person]
    mood: Mood
    when: datetime.date
print(llm_query("q", schema=Person))
print(llm_query("q", schema=Day))
print(llm_query("q", schema=list[Person]), llm_query("q", schema=float))
"""
    assert (await rig.ok(code)).splitlines() == [
        "name='Ann' ages=[3]",
        "Day(people=[Person(name='Bo', ages=[])], mood=<Mood.SAD: 'sad'>, "
        "when=datetime.date(2024, 2, 29))",
        "[Person(name='Cy', ages=[])] 3.0",
    ]
    assert rig.asked[1]["schema"]["properties"]["people"]["items"]["title"] == "Person"


async def test_references_of_a_class_stand_at_the_root(rig: Rig) -> None:
    rig.answers([{"leaf": {"n": 1}}])
    code = (
        "class Leaf(pydantic.BaseModel):\n    n: int\n"
        "class Tree(pydantic.BaseModel):\n    leaf: Leaf\n"
        "llm_query('q', schema=list[Tree])[0].leaf.n"
    )
    assert await rig.ok("import pydantic\n" + code) == "1"
    schema = rig.asked[0]["schema"]
    assert schema["$defs"]["Leaf"]["properties"]["n"]["type"] == "integer"
    assert "$defs" not in schema["items"]


async def test_choices_may_be_anything_with_a_name(rig: Rig) -> None:
    rig.answers("2", "red", "b")
    code = (
        "import enum, typing\nclass Colour(enum.Enum):\n    RED = 'red'\n    BLUE = 'blue'\n"
        "print(llm_query('q', choices=[1, 2]) + 1, llm_query('q', choices=Colour), "
        "llm_query('q', choices=typing.Literal['a', 'b']))"
    )
    assert await rig.ok(code) == "3 Colour.RED b"
    assert [one["choices"] for one in rig.asked] == [["1", "2"], ["red", "blue"], ["a", "b"]]


async def test_value_that_breaks_the_schema_is_asked_for_once_more(rig: Rig) -> None:
    schema = "{'type': 'object', 'properties': {'age': {'type': 'integer', 'minimum': 0}}}"
    rig.answers({"age": -3}, {"age": 3})
    assert await rig.ok(f"llm_query('How old?', text='t', schema={schema})") == "{'age': 3}"
    first, second = rig.asked
    assert first["prompt"] == "How old?"
    assert second["prompt"].startswith("How old?\n\nAn earlier answer could not be used:")
    assert "it['age'] must be at least 0, and is -3" in second["prompt"]
    assert (second["text"], second["schema"]) == (first["text"], first["schema"])
    rig.answers({"age": -3}, {"age": -4})
    error = await rig.error(f"llm_query('How old?', schema={schema})")
    assert error.startswith("BadReply: the answer {'age': -4} is not what was asked for")
    assert len(rig.asked) == 4


async def test_validators_of_a_class_are_heard(rig: Rig) -> None:
    rig.answers({"n": 3}, {"n": 4})
    code = """
import pydantic
class Even(pydantic.BaseModel):
    n: int
    @pydantic.field_validator("n")
    def even(cls, n):
        if n % 2:
            raise ValueError("must be even")
        return n
(await allm_query("q", schema=Even)).n
"""
    assert await rig.ok(code) == "4"
    assert "it['n'] Value error, must be even" in rig.asked[1]["prompt"]
    assert "http" not in rig.asked[1]["prompt"]


async def test_answer_that_was_cut_off_gets_more_room(rig: Rig) -> None:
    rig.answers(BadReply("cut", cut=True, tokens=70), ["a"])
    assert await rig.ok("llm_query('q', schema=list[str])") == "['a']"
    assert [one["max_tokens"] for one in rig.asked] == [None, 140]
    rig.answers(BadReply("cut", cut=True), BadReply("cut again", cut=True))
    error = await rig.error("llm_query('q', schema=list[str], max_tokens=9)")
    assert error == "BadReply: cut again"
    assert [one["max_tokens"] for one in rig.asked[2:]] == [9, 18]


@pytest.mark.parametrize(
    "failure", [PromptTooLong("9 tokens", tokens=9, room=5), BudgetExceeded("all spent")]
)
async def test_nothing_but_a_wrong_value_is_asked_for_again(rig: Rig, failure: Exception) -> None:
    rig.answers(failure)
    error = await rig.error("llm_query('q', schema=int)")
    assert error == f"{type(failure).__name__}: {failure}"
    assert len(rig.asked) == 1


async def test_map_asks_the_same_of_every_item_at_once(rig: Rig) -> None:
    rig.host.answer = lambda params: [params["text"].upper()]
    rig.host.together = 3
    code = "llm_map((t for t in 'abc'), 'Names?', list[str], max_tokens=5)"
    assert await rig.ok(code) == "[['A'], ['B'], ['C']]"
    assert {one["prompt"] for one in rig.asked} == {"Names?"}
    assert {one["max_tokens"] for one in rig.asked} == {5}
    assert rig.host.peak == 3


async def test_items_of_many_kinds_become_texts(rig: Rig) -> None:
    rig.host.answer = lambda params: params["text"]
    code = """
import dataclasses, json, pydantic
@dataclasses.dataclass
class Row:
    a: int
class Model(pydantic.BaseModel):
    b: int
items = ["x", 1, {"id": 7, "text": "ä"}, {"text": "alone"}, slices()[0], search("whale")[0],
         ("key", "value"), Row(1), Model(b=2), b"bytes"]
print(json.dumps(llm_map(items, "Echo"), ensure_ascii=False))
print(llm_map({"one": "a", "two": "b"}, "Echo"), llm_map("single", "Echo"), llm_map([], "Echo"))
print(llm_map(slices(), "Echo") == [context])
"""
    first, second, third = (await rig.ok(code)).splitlines()
    assert first == (
        '["x", "1", "{\\"id\\": 7, \\"text\\": \\"ä\\"}", "alone", '
        '"The captain is Ahab.\\r\\nThe whale is white.\\n", "whale", "key\\nvalue", '
        '"{\\"a\\": 1}", "{\\"b\\":2}", "bytes"]'
    )
    assert second == "['a', 'b'] ['single'] []"
    assert third == "True"
    error = await rig.error("llm_map(['a', None], 'Echo')")
    assert error == "TypeError: item 1 is None; leave out such items"


async def test_arguments_the_wrong_way_round(rig: Rig) -> None:
    rig.host.answer = lambda params: (params["choices"] or [params["prompt"] + params["text"]])[0]
    assert await rig.ok("llm_map('T', ['a', 'b'])") == "['Ta', 'Tb']"
    assert await rig.ok("llm_filter('T?', ['a', 'b'])") == "['a', 'b']"
    assert await rig.ok("llm_extract(str, 'text', 'T ')") == "'T text'"
    rig.host.answer = lambda params: f"{params['prompt']} {params['text']}"
    assert await rig.ok("llm_map(['a'], lambda one: f'Is {one} good?')") == ("['Is a good? None']")


async def test_one_bad_item_costs_no_other(rig: Rig) -> None:
    def answer(params: Params) -> Any:
        if params["text"] == "bad":
            raise BadReply("not usable")
        if params["text"] == "shy" and "earlier" not in params["prompt"]:
            return "no number"
        if params["text"] == "long":
            raise PromptTooLong("too long", tokens=9, room=5)
        return len(params["text"])

    rig.host.answer = answer
    items = "['a', 'bad', 'shy', 'long', 'bb']"
    code = (
        f"try:\n    llm_map({items}, 'Length?', int)\nexcept BatchError as e:\n"
        "    print([r if isinstance(r, int) else type(r).__name__ for r in e.results])"
    )
    assert await rig.ok(code) == "[1, 'BadReply', 3, 'PromptTooLong', 2]"
    assert len(rig.asked) == 7
    code = f"llm_map({items}, 'Length?', int, return_exceptions=True)[1]"
    assert "BadReply('not usable')" in await rig.ok(code)


async def test_filter_gives_the_items_themselves(rig: Rig) -> None:
    rig.host.answer = lambda params: "yes" if "a" in params["text"] else "no"
    assert await rig.ok("llm_filter(['a', 'b', 'ab'], 'Has it an a?')") == "['a', 'ab']"
    assert rig.asked[0]["choices"] == ["yes", "no"]
    assert rig.asked[0]["guide"] == rig.asked[0]["prompt"] == "Has it an a?"
    assert "meanings" not in rig.asked[0]
    assert await rig.ok("llm_filter([{'n': 'a', 'm': 1}, ('b', 2)], 'it has an a')") == (
        "[{'n': 'a', 'm': 1}]"
    )
    assert rig.asked[-1]["guide"] == "Is it true of the text that it has an a?"
    assert await rig.ok("llm_filter({'x': 'a', 'y': 'b'}, 'an a?')") == "{'x': 'a'}"
    assert await rig.ok("llm_filter(iter([]), 'an a?')") == "[]"
    await rig.ok(f"llm_filter(['a'], '{'very ' * 50}long?')")
    assert rig.asked[-1]["prompt"] == "What is the answer for this text?"


async def test_classify_gives_one_label_for_one_text_and_a_list_for_a_list(rig: Rig) -> None:
    rig.host.answer = lambda params: params["choices"][len(params["text"]) % 2]
    assert await rig.ok("llm_classify(['a', 'bb'], ['even', 'odd'])") == "['odd', 'even']"
    assert [one["text"] for one in rig.asked] == ["a", "bb"]
    for one in rig.asked:
        assert one["guide"] == "Give each text the label that fits it best."
        assert one["prompt"] == "Which of the labels fits this text best?"
    assert await rig.ok("llm_classify('a', 'even, odd')") == "'odd'"
    meant = "{'even': 'two of them', 'odd': 'one alone'}"
    assert await rig.ok(f"llm_classify('a', {meant}, 'How many?')") == "'odd'"
    sent = rig.asked[-1]
    assert sent["guide"] == "How many?"
    assert sent["prompt"] == "Which of the labels fits this text best?"
    assert (sent["choices"], sent["meanings"]) == (["even", "odd"], ["two of them", "one alone"])
    assert "scores" not in sent
    await rig.ok("llm_classify('a', ['yes', 'no'], 'Is it one alone?')")
    assert rig.asked[-1]["guide"] == rig.asked[-1]["prompt"] == "Is it one alone?"
    assert await rig.error("llm_classify('a', 'even')") == (
        'ValueError: labels are two or more, such as ["good", "bad"], not [\'even\']'
    )


async def test_a_label_that_can_not_be_used_is_asked_for_once_more(rig: Rig) -> None:
    rig.answers(BadReply("none of the choices"), "even")
    assert await rig.ok("llm_classify('bb', ['even', 'odd'])") == "'even'"
    first, second = rig.asked
    assert second["prompt"].startswith(f"{first['prompt']}\n\nAn earlier answer")
    assert (second["guide"], second["text"]) == (first["guide"], first["text"])


async def test_labels_with_scores_are_texts_that_know_their_odds(rig: Rig) -> None:
    rig.host.answer = lambda _: {"value": "good", "scores": {"good": 0.75, "bad": 0.25}}
    code = (
        "import pickle\ngot = llm_classify(['a'], ['good', 'bad'], with_scores=True)[0]\n"
        "print(got == 'good', got, [got], got.score, got.scores)\n"
        "print(pickle.loads(pickle.dumps(got)).score)"
    )
    assert await rig.ok(code) == (
        "True good [<'good' 0.75>] 0.75 {'good': 0.75, 'bad': 0.25}\n0.75"
    )
    assert rig.asked[0]["scores"] is True


async def test_extract_gives_a_value_or_a_list_of_them(rig: Rig) -> None:
    rig.host.answer = lambda params: {"n": len(params["text"])}
    assert await rig.ok("llm_extract('abc', {'n': int})") == "{'n': 3}"
    assert await rig.ok("llm_extract(['a', 'bb'], {'n': int}, task='Count')") == (
        "[{'n': 1}, {'n': 2}]"
    )
    assert [one["prompt"] for one in rig.asked] == ["Extract this from the text above."] + [
        "Count"
    ] * 2
    rig.host.answer = lambda _: "no"
    assert (await rig.error("llm_extract('abc', {'n': int})")).startswith("BadReply: ")
    assert (await rig.error("llm_extract(['abc'], {'n': int})")).startswith("BatchError: 1 of 1")


async def test_a_cell_stopped_amid_a_map_drops_its_calls(rig: Rig) -> None:
    rig.host.together = 6
    stopped = asyncio.create_task(rig.kernel.run("llm_map(['a'] * 5, 'Echo')", seconds=20))
    while rig.host.running < 5:
        await asyncio.sleep(0.01)
    assert rig.kernel._line.process is not None
    rig.kernel._line.process.child.interrupt()
    assert (await stopped).status != "ok"
    assert await rig.ok("1") == "1"
    async with asyncio.timeout(20):
        while rig.host.cancelled < 5:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ["llm_map", "llm_filter", "llm_classify", "llm_extract"])
async def test_help_fits_a_look(rig: Rig, name: str) -> None:
    shown = await rig.ok(f"help({name})")
    assert f"{name}(" in shown
    assert len(shown) < 2_000
    assert "'" not in shown.splitlines()[2], "types are shown without quotes"
