"""Choices about many items: what the items share, and in which order labels stand."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from scripted import Meeting, ScriptedEngine, said

from outcore.config import Budget
from outcore.engine.batching.batcher import Batchers
from outcore.engine.batching.identity import identity
from outcore.engine.budget import Spending
from outcore.engine.guide import Guide
from outcore.engine.subcalls import SubCalls
from outcore.errors import ConfigError, PromptTooLong
from outcore.models.engine import Asked, Generation, Priority, Request
from outcore.models.serve import Served

if TYPE_CHECKING:
    from collections.abc import Sequence

LABELS = ("north", "south", "east", "west")
ITEMS = [f"the {n}th text" for n in range(400)]
FORWARD = (
    "Where does it blow from?\nLabels: north, south, east, west. Each text gets one label. "
    "Answer with the label alone, nothing else."
)
BACKWARD = FORWARD.replace("north, south, east, west", "west, east, south, north")


def test_items_share_all_but_themselves() -> None:
    guide = Guide("Where does it blow from?", LABELS)
    asked = [guide.asked(item, "Which?") for item in ITEMS]
    assert {one.text for one in asked} == {FORWARD, BACKWARD}
    assert len({id(one.text) for one in asked}) == 2
    assert all(one.common for one in asked)
    assert [one.question for one in asked] == [f"Text: {item}\nWhich?" for item in ITEMS]


def test_each_order_has_half_of_the_items_and_an_item_always_the_same() -> None:
    guide = Guide("Where does it blow from?", LABELS)
    told = [guide.asked(item, "Which?").text for item in ITEMS]
    assert all(150 < count < 250 for count in Counter(told).values())
    assert told == [guide.asked(item, "Which, again?").text for item in ITEMS]
    # Of this process and any other.
    orders = ["fb"[text == BACKWARD] for text in told[:12]]
    assert "".join(orders) == "bfffbffbfbbb"


def test_labels_with_meanings_stand_one_to_a_line() -> None:
    guide = Guide.of("Sort them.", ("a", "b"), ["the first", ""])
    lines = {str(guide.asked(item, "?").text) for item in ITEMS}
    rest = "Each text gets one label. Answer with the label alone, nothing else."
    assert lines == {
        f"Sort them.\nLabels:\n- a: the first\n- b\n{rest}",
        f"Sort them.\nLabels:\n- b\n- a: the first\n{rest}",
    }
    commas = Guide("Sort them.", ("a, or b", "c")).asked(ITEMS[0], "?").text
    assert "\n- a, or b\n" in str(commas)


def test_yes_and_no_keep_their_order() -> None:
    guide = Guide("Is it true?", ("yes", "no"))
    [told] = {guide.asked(item, "Is it true?").text for item in ITEMS}
    assert told == ("Is it true?\nEach text is judged by itself. Answer with one word, Yes or No.")
    meant = Guide("Is it true?", ("yes", "no"), ("it is", "it is not"))
    assert len({meant.asked(item, "?").text for item in ITEMS}) == 2
    assert "\n- Yes: it is\n" in str(meant.asked(ITEMS[0], "?").text)


@pytest.mark.parametrize("meanings", ["ab", ["one"], ["one", 2], {"a": "one", "b": "two"}])
def test_meanings_that_are_none(meanings: Any) -> None:
    with pytest.raises(ConfigError, match="meanings must be 2 texts"):
        Guide.of("Sort them.", ("a", "b"), meanings)


def test_a_common_text_makes_another_request() -> None:
    plain, common = (Request(Asked("?", "text", common=one), 1) for one in (False, True))
    assert identity("", plain) != identity("", common)


class Leaning(ScriptedEngine):
    """Scores labels by their first letters, and likes best whichever stands first in the list."""

    def label_tokens(self, labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        return tuple((ord(label[0]),) for label in labels)

    async def generate(self, request: Request) -> Generation:
        self.asked.append(request)
        first = ord(said(request).partition("Labels: ")[2][0])
        shares = [0.7 if one == first else 0.1 for one in request.only]
        return Generation("?", (), "stop", 9, 0, 1, logprobs=tuple(map(math.log, shares)))


class Room:
    """A run's calls to a root that judges and a sub-LM that does not, or to one model."""

    def __init__(self, root: ScriptedEngine, sub: ScriptedEngine, **changes: Any) -> None:
        self.root, self.sub = root, sub
        self.spending = Spending(Budget())
        self.batchers = Batchers.of(root, sub, None, **{"judge": root, **changes})
        self.calls = SubCalls(self.batchers, self.spending, max_tokens=16)

    async def choose(self, item: str, **more: Any) -> Any:
        return await self.calls.ask(params(item, **more))


def params(item: str, **more: Any) -> dict[str, Any]:
    guide = "Where does it blow from?"
    return {"prompt": "Which?", "text": item, "guide": guide, "choices": list(LABELS), **more}


async def test_a_model_that_leans_to_the_first_label_leans_to_both_ends_alike() -> None:
    room = Room(Leaning([""]), ScriptedEngine([""]))
    found = await asyncio.gather(*map(room.choose, ITEMS))
    counts = Counter(found)
    assert counts.keys() == {"north", "west"}
    assert 150 < counts["north"] < 250
    scored = await room.choose(ITEMS[0], scores=True)
    assert (found[0], scored["value"]) == ("west", "west")
    assert list(scored["scores"]) == list(LABELS)
    assert scored["scores"]["west"] == pytest.approx(0.7)


async def test_choices_go_to_the_judge_and_all_else_to_the_sub_lm() -> None:
    root, sub = ScriptedEngine(["east"], name="root"), ScriptedEngine(['{"value": 5}'])
    room = Room(root, sub)
    assert await room.choose("a text") == "east"
    assert await room.calls.ask({"prompt": "Which?", "choices": list(LABELS)}) == "east"
    assert await room.calls.ask({"prompt": "How?"}) == '{"value": 5}'
    assert await room.calls.ask({"prompt": "How many?", "schema": {"type": "integer"}}) == 5
    assert (len(root.asked), len(sub.asked)) == (2, 2)
    assert {one.priority for one in root.asked} == {Priority.SUB_CALL}
    spent = room.spending
    assert spent.root.tokens_in == sum(root.length(one.prompt) for one in root.asked)
    assert spent.sub.tokens_in == sum(sub.length(one.prompt) for one in sub.asked)
    assert (spent.root.calls, spent.sub.calls) == (0, 4)
    assert [one["question"] for one in room.calls.end_cell()] == [
        "Where does it blow from?",
        "Which?",
        "How?",
        "How many?",
    ]


async def test_where_the_sub_lm_judges_nothing_goes_to_the_root() -> None:
    root, sub = ScriptedEngine([""], name="root"), ScriptedEngine(["east"])
    room = Room(root, sub, judge=None)
    assert await room.choose("a text") == "east"
    assert root.asked == []
    assert room.spending.root.tokens_in == 0


async def test_one_engine_has_one_batcher() -> None:
    one, other = ScriptedEngine([""]), ScriptedEngine([""])
    same = Batchers.of(one, one, None, judge=one)
    assert same.root is same.sub is same.judge
    apart = Batchers.of(one, other, None, judge=one)
    assert apart.judge is apart.root is not apart.sub
    assert Batchers.of(one, other, None, judge=other).judge.engine is other
    assert Served(one, other, "coder").judge is other
    assert Served(one, other, "coder", sub_judges=False).judge is one


async def test_a_choice_of_one_engine_is_counted_with_the_sub_calls() -> None:
    engine = ScriptedEngine(["east"])
    room = Room(engine, engine)
    await room.choose("a text")
    assert room.spending.root.tokens_in == 0
    assert room.spending.sub.tokens_in > 0


async def test_guesses_go_where_the_calls_will() -> None:
    root, sub = ScriptedEngine(["east"], name="root"), ScriptedEngine(["fine"])
    room = Room(root, sub)
    free = {"prompt": "How?", "text": "a text"}
    foreseen = [params("one"), free, None, params("two"), params("three")]
    assert await room.calls.foresee(foreseen) == 4
    assert [await room.choose(item) for item in ("one", "two")] == ["east", "east"]
    assert await room.calls.ask(free) == "fine"
    origins = [one["origin"] for one in room.calls.end_cell()]
    assert origins == ["guess"] * 3
    root_use, sub_use = room.spending.root, room.spending.sub
    assert (root_use.speculated, root_use.used, root_use.wasted) == (3, 2, 1)
    assert (sub_use.speculated, sub_use.used, sub_use.wasted) == (1, 1, 0)
    assert (root_use.calls, sub_use.calls) == (0, 3)


async def test_items_that_repeat_are_one_request() -> None:
    # It would wait for a fourth: none is answered before all have come.
    root = Meeting(["east"], together=4)
    room = Room(root, ScriptedEngine([""]))
    choices = asyncio.gather(*(room.choose(ITEMS[n % 3]) for n in range(30)))
    while sum(len(one.waiters) for one in room.batchers.judge._flights.values()) < 30:
        await asyncio.sleep(0.01)
    root.met.set()
    await choices
    assert len(root.asked) == 3
    assert room.spending.root.merged == 27


async def test_items_of_thousands_of_tokens() -> None:
    root = ScriptedEngine(["east"], window=6_000)
    room = Room(root, ScriptedEngine([""]))
    assert await room.choose("word " * 5_000) == "east"
    assert said(root.asked[0]).endswith("word word\nWhich?")
    with pytest.raises(PromptTooLong):
        await room.choose("word " * 7_000)


@pytest.mark.parametrize(
    "wrong",
    [
        {"guide": 5},
        {"choices": None},
        {"choices": None, "schema": {"type": "integer"}},
        {"text": None},
        {"meanings": ["one"]},
    ],
)
async def test_guides_that_can_not_be_used(wrong: dict[str, Any]) -> None:
    room = Room(ScriptedEngine(["east"]), ScriptedEngine(["5"]))
    with pytest.raises(ConfigError):
        await room.choose("a text", **wrong)
    assert await room.calls.foresee([params("a text", **wrong)]) == 0
    assert room.root.asked == room.sub.asked == []
