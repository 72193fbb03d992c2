"""Cells that do nothing, and where a line of source code stands."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
from test_look import HINTS, opened
from test_run import ask, cell

from outcore.config import Budget
from outcore.engine.context.corpus import stage
from outcore.engine.context.search import SearchIndex
from outcore.engine.source_code import blank, idle, said_in, tree
from outcore.kernel_sandbox.inside.languages import definitions, scope
from outcore.kernel_sandbox.inside.look import Look

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("Answer: 16", "Answer: 16"),
        ("Answer: 16  # of 20", "Answer: 16"),
        ("Winner: blue\nVotes: 3", "Winner: blue\nVotes: 3"),
        ("'Ingrid Solberg'", "Ingrid Solberg"),
        ('"""It is\nIngrid."""', "It is\nIngrid."),
        ("42", "42"),
        # An escape that Python warns of is no concern of the root's.
        (r"'\d'", r"\d"),
    ],
)
def test_cells_that_do_nothing(code: str, said: str) -> None:
    assert idle(code) == said


@pytest.mark.parametrize(
    "code",
    [
        "",
        "# It is Ingrid.",
        "x",
        "x: int = 3",
        "answer.ready: True",
        "done(16)",
        "'a'\nprint('a')",
        "Answer: 16 of them",
        "%time 1",
        "f'{x}'",
        "(" * 500 + ")" * 500,
    ],
)
def test_cells_that_do_something_or_are_no_answer(code: str) -> None:
    assert idle(code) == ""


def test_what_is_no_python_has_no_tree() -> None:
    assert [tree(code) is None for code in ("x = 1", "%time 1", "a b", "\0")] == [
        False,
        True,
        True,
        True,
    ]


async def test_a_cell_that_does_nothing_is_an_answer(tmp_path: Path) -> None:
    looking = cell("print('We counted 16 of them.')")
    asked = await ask(tmp_path, looking, cell("Answer: 16"))
    assert (asked.completion.answer, asked.completion.turns) == ("Answer: 16", 2)
    assert len([event for event in asked.events if event["event"] == "cell"]) == 1


async def test_an_answer_in_a_cell_is_held_to_the_same(tmp_path: Path) -> None:
    asked = await ask(tmp_path, cell("Keeper: Gunnar"), "not code", "again", budget=Budget(turns=2))
    assert (asked.completion.answer, asked.completion.complete) == ("Keeper: Gunnar", False)


HERE = "HERE"
SOURCES = {
    "python": (
        "class Cache(dict):\n    size = 3\n\n    async def get(\n        self,\n        key: str,\n"
        "    ) -> int:\n        try:\n# moved\n            return HERE\n",
        "class Cache, def get",
    ),
    "python, a field": ("class Cache:\n    size = HERE\n", "class Cache"),
    "python, a nested function": (
        "def outer(a):\n    def inner(b):\n        return b\n\n    return HERE\n",
        "def outer",
    ),
    "python, beside a nested one": (
        "def outer(a):\n    def inner(b):\n        pass\n    try:\n        HERE\n",
        "def outer",
    ),
    "python, no scope": ("import os\n\ndef f():\n    pass\n\nHERE = 1\n", ""),
    "python, a call": ("found = call(\n    HERE,\n)\n", ""),
    "go, a method": (
        "func (c *Cache) Get(\n\tkey string,\n) (int, error) {\n\tfor {\n\t\tHERE\n",
        "func Get",
    ),
    "go, a type": ("type Cache struct {\n\tsize int // HERE\n}\n", "type Cache"),
    "rust": (
        "impl<T: Clone> Cache<T> {\n    pub(crate) async fn get(&self) -> T {\n        HERE\n",
        "impl Cache, fn get",
    ),
    "java": (
        "public class Cache {\n\n    @Override\n    public int get(String key,\n"
        "            int least) throws Missing {\n        if (key == null) {\n            HERE\n",
        "class Cache, get()",
    ),
    "c": (
        "static int\tunused(void);\n\nstatic int look_up(const char *key,\n"
        "                   size_t length)\n{\n    int n = 0;\n#ifdef DEBUG\n    n++;\n#endif\n"
        "again:\n    HERE;\n}\n",
        "look_up()",
    ),
    "c++": (
        "namespace store {\n\n// What is kept.\nclass Cache\n{\npublic:\n    int get(int key)\n"
        "    {\n        else if (x) {\n            HERE;\n",
        "class Cache, get()",
    ),
    "c++, outside of its class": ("int Cache::get(int key) {\n  return HERE;\n", "Cache::get()"),
    "javascript": ("export function look(key) {\n  return [\n    HERE\n", "function look"),
    "ruby": ("class Cache\n  def self.get(key)\n    HERE\n", "class Cache, def get"),
}


@pytest.mark.parametrize("language", SOURCES)
def test_what_a_line_stands_in(language: str) -> None:
    text, within = SOURCES[language]
    assert scope(text, text.index(HERE)) == within


@pytest.mark.parametrize("part", ["a*", "a&b ", "a<", "a:: ", "let ", "export a.", "impl<", "(*"])
def test_no_line_takes_long(part: str) -> None:
    # Where a part could be read in two ways, this would take hours.
    text = 5_000 * part + "\n    HERE"
    assert HERE not in {one.name for one in definitions(text)}
    assert isinstance(scope(text, text.index(HERE)), str)


FILES = {
    "cache.py": "x = 1\n" * 50 + "class Cache:\n    def get(self, key):\n        return key.frob\n",
    "notes.txt": "class Cache:\n    def get(self, key):\n        return key.frob\n",
}


def test_grep_tells_what_a_hit_stands_in(tmp_path: Path) -> None:
    hits = Look(opened(FILES, tmp_path / "context"), HINTS).grep(r"key\.frob")
    assert [hit.scope for hit in hits] == ["class Cache, def get", ""]
    code, prose = hits
    assert code["scope"] == code.scope
    assert code.place == f"cache.py @ {code.offset}, in class Cache, def get"
    assert "[0] cache.py @ 352, in class Cache, def get\n53:         return key.frob" in repr(hits)
    assert prose.place == f"notes.txt @ {prose.offset}"
    assert pickle.loads(pickle.dumps(code)).scope == code.scope


def test_search_tells_what_a_passage_stands_in(tmp_path: Path) -> None:
    index = SearchIndex.open_or_build(stage(FILES, tmp_path / "context"))
    found = {one.document: one.scope for one in index.find(["frob"], 5).passages}
    assert found == {"cache.py": "class Cache, def get", "notes.txt": ""}


async def test_search_prints_what_a_passage_stands_in(tmp_path: Path) -> None:
    looking = cell("print(search('frob'))")
    asked = await ask(tmp_path, looking, cell("done(len(context))"), context=FILES)
    assert ", in class Cache, def get\n" in asked.outputs()[0]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ('# The output shows it.\ndone("Ada")', "Ada"),
        ("done(17)", "17"),
        ("# It was Ada.\n# She came first.", "It was Ada. She came first."),
        ("done(found)", ""),
        ("done(", ""),
    ],
)
def test_what_a_cell_says_that_can_not_run(code: str, said: str) -> None:
    assert said_in(code) == said


def test_cells_of_comments() -> None:
    assert blank("# only this\n\n")
    assert not blank("# this\nx = 1")
    assert not blank("x = (")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("word", ["open", "const", "public", "data"])
def test_lines_of_one_word_are_looked_through_in_their_own_time(word: str) -> None:
    text = f"{word}\n" * 20_000 + "public static int f() {\n"
    assert [one.name for one in definitions(text)] == ["f"]
