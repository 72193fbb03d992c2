"""The finish guard: what is sent back once, what is taken, and what is kept for the end."""

from __future__ import annotations

import pytest

from outcore.engine.desk import Draft
from outcore.engine.guard import Guard, hollow
from outcore.engine.literals import typed

QUESTION = "Is Berlin or Hamburg named more often in the log?"


def guard(*outputs: str, question: str = QUESTION, instructions: str = "") -> Guard:
    made = Guard(question, instructions)
    for output in outputs:
        made.saw(output)
    return made


def told(made: Guard, answer: str, code: str | None = None, **rest: object) -> str | None:
    draft = Draft(answer, ready=True, **rest)  # type: ignore[arg-type]  # quotes and missing
    return made.doubt(draft, f"done({answer!r})" if code is None else code)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("...", "stands for an answer"),
        ("<your answer>", "stands for an answer"),
        ("Berlin", "only repeats the question"),
        ("Paris", "no output shows it"),
        ("412", "no output shows it"),
        ("12", "no output shows it"),
    ],
)
def test_a_doubt_is_raised_once(answer: str, why: str) -> None:
    made = guard("nothing of it, but 1200 of 512")
    first = told(made, answer)
    assert first is not None
    assert why in first
    assert repr(answer) in first
    assert told(made, answer) is None


@pytest.mark.parametrize(
    ("answer", "flawed"),
    [
        ("...", True),
        ("Berlin or Hamburg named more often in the log", True),
        ("Berlin", False),
        ("Paris", True),
        ("yes", False),
    ],
)
def test_what_is_no_answer_is_not_a_whole_one_when_it_is_insisted_on(
    answer: str, flawed: bool
) -> None:
    made = guard("nothing of it")
    draft = Draft(answer, ready=True)
    assert made.flaw(draft) is None
    told(made, answer)
    assert told(made, answer) is None
    assert bool(made.flaw(draft)) is flawed


def test_an_answer_that_is_shown_after_all_is_a_whole_one() -> None:
    made, draft = guard("nothing of it"), Draft("Paris", ready=True)
    assert told(made, "Paris") is not None
    made.saw("They met in Paris.")
    assert told(made, "Paris") is None
    assert made.flaw(draft) is None


def test_an_example_of_the_instructions_is_no_answer() -> None:
    made = guard(instructions='End with done("Oslo").')
    assert "example of the instructions" in (told(made, "Oslo") or "")
    shown = guard("It was Oslo.", instructions='End with done("Oslo").')
    assert told(shown, "Oslo") is None


def test_quotes_that_stand_nowhere() -> None:
    made = guard("Paris it was")
    assert "none of its quotes" in (told(made, "Paris", missing=("a quote",)) or "")
    assert told(made, "Paris", missing=("a quote",)) is None
    assert told(guard(), "Paris", quotes=("He died in Paris.",), missing=("other",)) is None


def test_no_more_than_two_refusals() -> None:
    made = guard()
    assert told(made, "...")
    assert told(made, "Berlin")
    assert told(made, "Paris", missing=("a quote",)) is None


@pytest.mark.parametrize("answer", ["Paris", "paris in MAY", "412", "3", "1,200.5"])
def test_what_an_output_shows_is_taken(answer: str) -> None:
    assert told(guard("We met in Paris, in May: 3 of 412, or 1,200.5"), answer) is None


def test_a_short_word_is_looked_for_whole() -> None:
    assert told(guard("page 13, word 23a"), "3")
    assert told(guard("page 13, and 3."), "3") is None


@pytest.mark.parametrize("answer", ["Yes", "no", "None", "both", "unknown"])
def test_verdicts_need_no_output(answer: str) -> None:
    assert told(guard(), answer) is None


def test_half_of_the_words_are_enough() -> None:
    made = guard("Ada Lovelace wrote the first program.")
    assert told(made, "Ada Lovelace, mathematician") is None
    assert told(made, "Grace Hopper, whom Ada admired")


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("done(counts.most())", "Berlin"),
        ("made = 0\nfor r in records: made += 1\ndone(made)", "0"),
        ("done(str(len(found)))", "7"),
        ("done('Berlin' if a > b else 'Hamburg')", "Berlin"),
        ("if a > b: done('Berlin')\nelse: done('Hamburg')", "Berlin"),
        ("done(f'{n} lines')", "7 lines"),
        ("FINAL_VAR('found')", "Paris"),
        ("found = []\nfor r in records: found.append(r.city)\ndone(found)", "Paris"),
        ("found = {}\nfound['city'] = records[0].city\nFINAL_VAR('found')", "Paris"),
        ("answer['ready'] = True", "Paris"),
        ("answer['content'] = names[0]", "Paris"),
        ("!ls\ndone(x)", "Paris"),
    ],
)
def test_what_code_has_worked_out_is_taken(code: str, answer: str) -> None:
    assert not typed(code)
    assert told(guard(), answer, code) is None


@pytest.mark.parametrize(
    "code",
    [
        "done('Paris')",
        "done(answer='Paris')",
        "done(['Paris', 'Rome'])",
        "name = 'Paris'\ndone(name)",
        "name = 'Paris'\nFINAL_VAR('name')",
        "name = 'Paris'\nprint(len(name))\ndone(name)",
        "names = ['Paris', 'Rome']\ndone(names)",
        "SUBMIT('Paris')",
        "if True:\n    FINAL('Paris')",
        "done(f'Paris')",
        "answer['content'] = 'Paris'\nanswer['ready'] = True",
    ],
)
def test_what_was_typed_needs_an_output(code: str) -> None:
    assert typed(code)
    assert told(guard(), "Paris", code)
    assert told(guard("Paris"), "Paris", code) is None


@pytest.mark.timeout(60)
def test_a_long_answer_after_long_outputs_takes_no_long_look() -> None:
    made = guard(*["nothing here but text " * 10_000] * 10)
    assert told(made, " ".join(f"name{n:06}" for n in range(100_000)), "done('Paris')")


def test_an_answer_without_words_repeats_nothing() -> None:
    assert told(guard(), "++") is None


def test_the_best_answer_is_kept() -> None:
    made = guard()
    told(made, "Paris")
    assert made.best == Draft("Paris", ready=True)
    told(made, "...")
    made.standing(Draft("<answer>"))
    made.standing(Draft(""))
    assert made.best == Draft("Paris", ready=True)
    made.standing(Draft("Rome"))
    assert made.best == Draft("Rome")
    assert [hollow(Draft(one)) for one in (" ", "<answer>", "Rome")] == [True, True, False]


def test_an_answer_that_stands_is_nudged_then_taken() -> None:
    made = guard()
    said = [made.standing(Draft("Paris")) for _ in range(4)]
    assert [bool(one) for one in said] == [False, False, True, False]
    assert "'Paris' has not changed for 2 cells" in str(said[2])
    assert not made.settled
    made.standing(Draft("Paris"))
    assert made.settled
    made.standing(Draft("Rome"))
    assert not made.settled


def test_a_placeholder_never_settles() -> None:
    made = guard()
    for _ in range(9):
        made.standing(Draft("your answer"))
    assert not made.settled
