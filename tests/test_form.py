"""The form that a question asks its answer to have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from outcore.engine.form import Form

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any


@pytest.mark.parametrize(
    ("question", "text", "lead"),
    [
        ("How many? Answer in the form 'Total: number'.", "Total: number", "Total:"),
        ('Use the following format: "Winner: name"', "Winner: name", "Winner:"),
        ("Give it in this exact format, please: “Day: day”.", "Day: day", "Day:"),
        ("Reply as a template 'yes / no'", "yes / no", ""),
        ("How long? Format: 'Length: n m'", "Length: n m", "Length:"),
        ('Follow the form "It\'s: x"', "It's: x", ""),
        ("Write pairs in the form '(a, b)'.", "(a, b)", ""),
    ],
)
def test_a_form_is_read_from_the_question(question: str, text: str, lead: str) -> None:
    assert Form.of(question) == Form(text, lead)


@pytest.mark.parametrize(
    "question",
    [
        "Who wrote 'Emma'?",
        "What is the format of 'data.bin'?",
        "In which format is 'data.bin' stored?",
        "Who filled in the form that was lost, and what did 'they' get?",
        "Answer in the form of a list.",
        "In the form 'x'",
        "",
    ],
)
def test_most_questions_ask_for_no_form(question: str) -> None:
    assert Form.of(question) is None


@pytest.mark.parametrize(
    ("answer", "applied"),
    [
        ("16", "Total: 16"),
        (" 16 ", "Total: 16"),
        ("total: 16", "Total: 16"),
        ("It is this. Total: 16", "It is this. Total: 16"),
        ("", ""),
        ("a\nb", "a\nb"),
        ("x" * 201, "x" * 201),
    ],
)
def test_a_short_answer_gets_the_lead(answer: str, applied: str) -> None:
    assert Form("Total: number", "Total:").applied(answer) == applied
    assert Form("(a, b)", "").applied(answer) == answer


@pytest.mark.parametrize(
    ("answer", "applied"),
    [
        ("blue: 57", "Colour: blue"),
        ("colour: Blue (57 times)", "Colour: blue"),
        ("light blue", "Colour: light blue"),
        ("blueish", "Colour: blueish"),
        ("blue-green", "Colour: blue-green"),
        ("blue - 57 times", "Colour: blue"),
        ("10,000", "Colour: 10,000"),
        ("10, as printed", "Colour: 10"),
        ("10:30", "Colour: 10:30"),
    ],
)
def test_of_a_choice_nothing_but_that_is_given(answer: str, applied: str) -> None:
    form = Form("Colour: name", "Colour:")
    assert form.applied(answer, ["blue", "red", "10"]) == applied


async def test_the_answer_of_a_run_has_the_form(tmp_path: Path) -> None:
    from test_run import ask, cell

    question = "Who keeps the lighthouse of Vardo? Answer in the form 'Keeper: name'."
    searching, answering = cell("print(search('keeper'))"), cell("done('Ingrid Solberg')")
    run: Any = await ask(tmp_path, searching, answering, question=question)
    assert run.completion.answer == "Keeper: Ingrid Solberg"
