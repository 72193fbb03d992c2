"""Replies that are no use: one second try beside the dialogue, which costs no turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from scripted import ScriptedEngine, said

from outcore.config import Budget
from outcore.engine.batching.batcher import Batcher
from outcore.engine.budget import Spending
from outcore.engine.history import UserMessage
from outcore.engine.literals import typed
from outcore.engine.profile import Profile
from outcore.engine.root import Root
from outcore.engine.trajectory import Trajectory, read

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from outcore.engine.reply import Reply

GOOD = "```python\nprint(2)\n```"


class Rig:
    """A root with scripted replies, spoken to turn by turn."""

    def __init__(self, folder: Path, *replies: str) -> None:
        self.folder = folder / "run"
        self.engine = ScriptedEngine(replies)
        self.spending = Spending(Budget())
        self.trajectory = Trajectory(self.folder)
        self.batcher = Batcher(self.engine)
        profile = Profile.load("coder")
        self.root = Root(self.batcher, profile, "system", self.spending, self.trajectory)

    async def turn(self, message: str = "go on") -> Reply:
        self.spending.turns += 1
        return await self.root.reply(UserMessage(message), "")

    def close(self) -> None:
        self.batcher.close()
        self.trajectory.close()

    def last(self) -> str:
        return said(self.engine.asked[-1])


Rigs = Callable[..., Rig]


@pytest.fixture
def rigs(tmp_path: Path) -> Iterator[Rigs]:
    """Makes roots of replies."""
    made: list[Rig] = []

    def make(*replies: str) -> Rig:
        made.append(Rig(tmp_path / str(len(made)), *replies))
        return made[-1]

    yield make
    for one in made:
        one.close()


def cell(code: str) -> str:
    return f"```python\n{code}\n```"


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ("", "Your reply was empty."),
        ("  \n", "Your reply was empty."),
        ("BAD, I would say.", "held no code block"),
        (cell("print('BAD'"), "was never closed"),
        ("FINAL()", "held no code block"),
    ],
)
async def test_a_second_try_leaves_no_trace_of_the_first(rigs: Rigs, bad: str, fault: str) -> None:
    rig = rigs(bad, GOOD, cell("print(3)"))
    assert (await rig.turn()).code == "print(2)"
    assert fault in rig.last()
    assert rig.spending.turns == 1
    assert rig.spending.root.calls == 2
    assert (await rig.turn()).code == "print(3)"
    assert "print(2)" in rig.last()
    assert fault not in rig.last()
    assert "BAD" not in rig.last()
    replies = [event for event in read(rig.folder) if event["event"] == "reply"]
    assert [fault in one.get("repair", "") for one in replies] == [False, True, False]


async def test_a_cell_that_comes_again_is_asked_for_anew(rigs: Rigs) -> None:
    again = cell("# once more\nprint(  2 )\n")
    rig = rigs(GOOD, again, cell("print(3)"), cell("print(4)"))
    await rig.turn()
    assert (await rig.turn()).code == "print(3)"
    assert "You have run that cell already" in rig.last()
    await rig.turn()
    assert "once more" not in rig.last()


async def test_only_a_root_that_repeats_itself_is_sampled(rigs: Rigs) -> None:
    rig = rigs("no code", GOOD, GOOD, cell("print(3)"))
    await rig.turn()
    await rig.turn()
    sampled = [(one.temperature, one.seed) for one in rig.engine.asked]
    assert sampled[:3] == [(0.0, None)] * 3
    assert sampled[3][0] > 0
    assert sampled[3][1] == rig.spending.turns == 2


async def test_a_cell_that_does_nothing_is_an_answer_in_words(rigs: Rigs) -> None:
    rig = rigs(cell("Answer: 16"))
    reply = await rig.turn()
    assert reply.code is None
    assert reply.final is not None
    assert reply.final.text == "Answer: 16"
    assert len(rig.engine.asked) == 1


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("FINAL(7)", "7"),
        ("It is 7.", "It is 7."),
        ("The count is 7.\nFINAL_VAR(count)", "The count is 7."),
        ("FINAL_VAR(count)", ""),
    ],
)
async def test_the_last_word_is_no_name_of_a_variable(rigs: Rigs, said: str, answer: str) -> None:
    assert await rigs(said).root.last_word(UserMessage("answer now")) == answer


async def test_cells_that_differ_in_a_text_with_a_hash_are_two(rigs: Rigs) -> None:
    rig = rigs(cell("grep('#1')"), cell("grep('#2')"))
    assert [(await rig.turn()).code for _ in range(2)] == ["grep('#1')", "grep('#2')"]
    assert len(rig.engine.asked) == 2


@pytest.mark.parametrize(
    "deep",
    [
        "x = context" + ".strip()" * 495,
        "x = " + "1 + " * 980 + "1",
        "done(" + "'a' + " * 980 + "'a')",
        "if a:\n    1\n" + "elif b:\n    2\n" * 400,
    ],
)
async def test_a_cell_is_run_however_deep_it_is(rigs: Rigs, deep: str) -> None:
    rig = rigs(cell(deep), cell(deep), GOOD)
    assert (await rig.turn()).code == deep.strip("\n")
    assert not typed(deep)
    assert (await rig.turn()).code == "print(2)"


async def test_a_cell_may_be_allowed_to_come_again(rigs: Rigs) -> None:
    rig = rigs(cell("done('x')"), cell("done('x')"))
    reply = await rig.turn()
    assert reply.code is not None
    rig.root.allow(reply.code)
    assert (await rig.turn()).code == "done('x')"
    assert len(rig.engine.asked) == 2


@pytest.mark.parametrize("worse", ["", "Still no code.", cell("print(")])
async def test_a_second_try_that_is_no_better_leaves_the_first(rigs: Rigs, worse: str) -> None:
    rig = rigs("First words.", worse, GOOD)
    reply = await rig.turn()
    assert (reply.code, reply.thought) == (None, "First words.")
    assert len(rig.engine.asked) == 2
    await rig.turn()
    assert "First words." in rig.last()
    assert "held no block" not in rig.last()


async def test_an_answer_in_words_is_no_fault(rigs: Rigs) -> None:
    rig = rigs("FINAL(Paris)")
    reply = await rig.turn()
    assert reply.final is not None
    assert reply.final.text == "Paris"
    assert len(rig.engine.asked) == 1


async def test_the_last_word_is_what_was_said(rigs: Rigs) -> None:
    for text, word in (("Paris, I think.", "Paris, I think."), ("FINAL(Rome)", "Rome")):
        rig = rigs(text)
        assert await rig.root.last_word(UserMessage("answer now")) == word


async def test_what_is_asked_beside_the_dialogue_does_not_make_it_longer(rigs: Rigs) -> None:
    rig = rigs(cell("print('BAD'" + "\n# on and on" * 500), GOOD)
    await rig.turn()
    assert rig.root._history._scale == 1.0
