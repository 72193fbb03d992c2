"""How much there is in a text: words, headings, and the plans that count them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from planning import planned, scene_of

from outcore.engine.context.corpus import stage
from outcore.engine.plans.planner import offered
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.extent import Extent
from outcore.kernel_sandbox.inside.text import PART

if TYPE_CHECKING:
    from collections.abc import Callable

BOOKS = Path(__file__).parents[2] / "shared" / "data" / "gutenberg"
CONTENTS = "THE KEEPER\n\nCHAPTER I\nCHAPTER II\n\nCHAPTER III The Lamp\n\n"
NOVEL = (
    f"{CONTENTS}CHAPTER I\n\nThe keeper's lamp burned. A keeper sleeps by day.\n\n"
    "Chapter the Second\n\nIn chapter 9 of his log the KEEPER\nspoke of keepers.\nAct not!\n\n"
    "CHAPTER III The Lamp\n\nIt went out.\n\nEpilogue\n\nAll was dark.\n"
)
NOTES = "# Notes\n\ntext\n\n## Chapter 1\n\n```\n# no heading\n```\n\n## Chapter 2: more\n\ntext\n"


@pytest.fixture
def extent(tmp_path: Path) -> Callable[..., Extent]:
    def made(context: Any, *, lazy: bool = False) -> Extent:
        folder = Path(tempfile.mkdtemp(dir=tmp_path))
        stage(context, folder)
        return Extent(open_context(folder, eager_bytes=0 if lazy else 1 << 30))

    return made


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("words", "count"),
    [("keeper", 3), ("Keeper", 3), ("the keeper", 2), ("keepers", 1), ("spoke  of", 1), ("eep", 0)],
)
def test_words_are_counted_whole(
    extent: Callable[..., Extent], words: str, count: int, lazy: bool
) -> None:
    body = NOVEL.removeprefix("THE KEEPER\n")
    assert extent(body, lazy=lazy).occurrences(words).total == count


def test_occurrences_are_told_by_document(extent: Callable[..., Extent]) -> None:
    told = extent({"a.txt": "one two one", "b.txt": "two", "c.txt": ""}).occurrences("one")
    assert told == "'one' stands in the context 2 times, in 1 of 3 documents"
    assert told.documents == {"a.txt": 2}


def test_occurrences_of_nothing_is_an_error(extent: Callable[..., Extent]) -> None:
    with pytest.raises(ValueError, match="no word"):
        extent("text").occurrences("  ")


@pytest.mark.parametrize("lazy", [False, True])
def test_headings_are_those_of_the_text_and_not_of_its_contents(
    extent: Callable[..., Extent], lazy: bool
) -> None:
    found = extent(NOVEL, lazy=lazy).headings("chapters")
    assert list(found) == ["CHAPTER I", "Chapter the Second", "CHAPTER III The Lamp"]
    assert found.note == "3 headings that say 'chapters' (besides 3 in tables of contents)"
    assert all(NOVEL[hit.offset :].startswith(hit) for hit in found)
    assert list(extent(NOVEL).headings("epilogue")) == ["Epilogue"]
    assert extent(NOVEL).headings("act").note == "no headings that say 'act': try grep()"


def test_headings_of_markdown(extent: Callable[..., Extent]) -> None:
    made = extent({"notes.md": NOTES, "tool.py": "# Chapter 7\n"})
    assert list(made.headings()) == ["# Notes", "## Chapter 1", "## Chapter 2: more"]
    assert [hit.document for hit in made.headings("chapter")] == ["notes.md"] * 2
    assert list(made.headings("notes")) == ["# Notes"]


@pytest.mark.parametrize("context", ["x", "a b\n c", "a\n\n", ["a b", "c"], {"k": "\n"}])
@pytest.mark.parametrize("lazy", [False, True])
def test_lines_and_words_are_counted_as_python_does(
    extent: Callable[..., Extent], context: Any, lazy: bool
) -> None:
    told = extent(context, lazy=lazy).extent()
    texts = list(context.values()) if isinstance(context, dict) else context
    texts = [texts] if isinstance(texts, str) else texts
    assert told.documents == len(texts)
    assert told.lines == sum(len(text.splitlines()) for text in texts)
    assert told.words == sum(len(text.split()) for text in texts)
    assert told.characters == sum(map(len, texts))


def test_a_word_across_two_windows_is_one(extent: Callable[..., Extent]) -> None:
    text = "ab " * (PART // 3) + "cdefgh ij\n" * 5
    told = extent(text, lazy=True).extent()
    assert (told.words, told.lines) == (len(text.split()), 5)


@pytest.mark.parametrize(
    ("name", "kind", "many"),
    [
        ("moby_dick_pg2701.txt", "chapter", 135),
        ("war_and_peace_pg2600.txt", "chapter", 365),
        ("war_and_peace_pg2600.txt", "book", 15),
        ("war_and_peace_pg2600.txt", "epilogue", 2),
        ("sherlock_holmes_pg1661.txt", "adventures", 12),
    ],
)
def test_headings_of_real_books(
    extent: Callable[..., Extent], name: str, kind: str, many: int
) -> None:
    if not BOOKS.is_dir():
        pytest.skip("the books are not beside this checkout")
    encoding = "latin-1" if name.startswith("sherlock") else "utf-8"
    text = (BOOKS / name).read_text(encoding)
    assert len(extent(text).headings(kind)) == many


FILES = {"a.py": "x", "B.PY": "y", "c.md": "z"}
ROWS = "city,price\n" + "".join(f"Town{n % 3},{n}\n" for n in range(60))


@pytest.mark.parametrize(
    ("question", "context", "output"),
    [
        (
            "How many chapters does the book have?",
            NOVEL,
            "3 headings that say 'chapter' (besides 3",
        ),
        ("How many chapters are there in The Keeper?", NOVEL, "3 headings"),
        ("How often is the keeper mentioned?", NOVEL, "'keeper' stands in the context 4 times"),
        (
            'How many times does the author use the phrase "went out"?',
            NOVEL,
            "'went out' stands in the context once",
        ),
        (
            "How often are lamp and log mentioned in the text?",
            NOVEL,
            "'lamp' stands in the context 3 times\n'log' stands in the context once",
        ),
        ("How many words are in the text? Give only the number.", "a b\nc", "3 words"),
        ("How many files are there in this folder?", {"a": "x", "b": "y"}, "2 documents"),
        (
            "How many Python files are there?",
            {"a.py": "x", "B.PY": "y", "c.pyi": "z"},
            "2 of 3 files",
        ),
        ("How many .md files does the folder have?", FILES, "1 of 3 files"),
        ("How many rows are in the table?", ROWS, "60 records"),
        ("How many contracts are there?", {f"contract_{n:02}.txt": "x" for n in range(7)}, "7 is"),
        ("How many lines does the file have?", ROWS, "61 lines"),
    ],
)
async def test_plans(tmp_path: Path, question: str, context: Any, output: str) -> None:
    asked = await planned(tmp_path, question, context, "extent", {})
    assert asked.plan["kind"] == "extent"
    assert asked.output.startswith(output)


async def test_what_is_nowhere_is_not_looked_for(tmp_path: Path) -> None:
    asked = await planned(tmp_path, "How often is Moriarty mentioned?", NOVEL, "extent", {})
    assert asked.completion.answer == "'Moriarty' stands in the context 0 times"
    assert asked.completion.turns == 1


@pytest.mark.parametrize(
    ("question", "context"),
    [
        ("How many contracts are there?", {"contract_1.txt": "x", "letter_2.txt": "y"}),
        ("How many chapters mention the lamp?", NOVEL),
        ("How many files import torch?", {"a": "x", "b": "y"}),
        ("How many Python files import torch?", FILES),
        ("How many Python files are there?", NOVEL),
        ("How many interesting files are there?", FILES),
        ("How many times did the ship appear on the horizon?", NOVEL),
        ("How often was he seen at the inn, and what is the captain named?", NOVEL),
        ("How many rows have the city Town1?", ROWS),
        ("How many times does Town1 appear?", ROWS),
        ("How many letters did Anna send?", NOVEL),
        ("How many chapters are there? Leave out those without a title.", NOVEL),
    ],
)
def test_questions_that_mean_something_else(tmp_path: Path, question: str, context: Any) -> None:
    assert "extent" not in offered(scene_of(tmp_path, question, context))


def test_no_heading_is_a_search(tmp_path: Path) -> None:
    from outcore.engine.plans.extent import program

    scene = scene_of(tmp_path, "How many parts has the novel?", NOVEL)
    [_, line] = program(scene)
    assert "search('How many parts has the novel?'" in line


@pytest.mark.parametrize(
    ("question", "sandbox"),
    [
        ("How many words are in the text?", "bwrap"),
        ("What is the highest price?", "bwrap"),
        ("How many rows have the city Town1?", "bwrap"),
        ("Which town is the nicest?", "direct"),
    ],
)
async def test_a_short_text_is_not_counted_by_eye(
    tmp_path: Path, question: str, sandbox: str
) -> None:
    asked = await planned(tmp_path, question, ROWS, "find", {}, last="fine", direct="auto")
    assert asked.completion.sandbox == sandbox
    asked = await planned(
        tmp_path / "again", question, ROWS, "find", {}, last="fine", direct="auto", root_mode="code"
    )
    assert asked.completion.sandbox == "direct"


def test_a_number_ends_with_its_line(extent: Callable[..., Extent]) -> None:
    text = "BOOK ONE\n\nFIRST CHAPTER\n\nIt was night.\n\nSECOND CHAPTER\n\nIt was day.\n"
    assert extent(text).headings() == ["BOOK ONE", "FIRST CHAPTER", "SECOND CHAPTER"]


def test_headings_know_where_they_stand(extent: Callable[..., Extent]) -> None:
    text = "  CHAPTER I. The Ball\n\ntext\n\n  # Notes \n\ntext\n\n\tCHAPTER II\n"
    for one in (found := extent(text).headings()):
        assert text[one.start : one.start + len(one)] == one
    assert len(found) == 3
