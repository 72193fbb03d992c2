"""The quality tasks: the same draw, the same items; golds as one counts by hand; the scoring."""

from __future__ import annotations

import ast
import datetime as dt
import json
import random
import re
import textwrap
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from tasks import code, needle, oolong, pairs, window
from tasks.item import Draw, Item, half, size_name, size_of
from tasks.source import facts
from tasks.window import LABELS, Row

from outcore.kernel_sandbox.inside.dates import MONTHS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOC, NUM, DESC, ABBR, HUM, ENTY = LABELS
COARSE = {"LOC": LOC, "NUM": NUM, "DESC": DESC, "ABBR": ABBR, "HUM": HUM, "ENTY": ENTY}


def words(text: str) -> int:
    return len(text.split())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder of the real one's shape."""
    folder = tmp_path / "data"
    for name in ("trec", "gutenberg", "oolong"):
        (folder / name).mkdir(parents=True)
    trec = [
        f"{short}:fine Who or what is {label} number {number} ?"
        for number in range(40)
        for short, label in COARSE.items()
    ]
    (folder / "trec" / "train.txt").write_text("\n".join(trec[:200]), encoding="iso-8859-1")
    (folder / "trec" / "test.txt").write_text("\n".join(trec[200:]) + "\n", encoding="iso-8859-1")
    story = "\n\n".join(
        f"Chapter {number} tells of rain.\nIt fell on day {number} and\nwould not end. They waited."
        for number in range(400)
    )
    book = f"licence\n*** START OF THIS ***\n{story}\n*** END OF THIS ***\nmore licence"
    (folder / "gutenberg" / "one.txt").write_bytes(book.replace("\n", "\r\n").encode())
    (folder / "gutenberg" / "two.txt").write_bytes("It was a caf\xe9. Day.".encode("latin-1"))
    told = {
        "prefix": "List pairs ",
        "suffix": " One a line.",
        "conditions": {str(number): f"with {number}." for number in range(1, 21)},
    }
    (folder / "oolong" / "oolong_pairs_tasks.json").write_text(json.dumps(told))
    return folder


def drawn(task: Any, draw: Draw) -> list[Item]:
    return list(task.items(draw))


@pytest.mark.parametrize("task", [needle, oolong, pairs], ids=lambda task: task.NAME)
def test_items_hang_on_the_draw_alone(task: Any, data: Path) -> None:
    draw = Draw(seed=7, samples=25, size=8192, data=data, tokens=words)
    items = drawn(task, draw)
    assert items == drawn(task, draw)
    assert len(items) == len({item.id for item in items}) == 25
    assert items[:3] == drawn(task, replace(draw, samples=3))
    assert [item.context for item in items] != [
        item.context for item in drawn(task, replace(draw, seed=8))
    ]
    for item in items:
        right = item.gold if isinstance(item.gold, str) else "\n".join(item.gold)
        assert task.score(item, f"Answer: {right}") == 1.0
        assert task.score(item, "Answer: no idea") == 0.0


@pytest.mark.parametrize(
    ("name", "size", "short"),
    [
        ("8192", 8192, "8k"),
        ("2^13", 8192, "8k"),
        ("8k", 8192, "8k"),
        ("131k", 1 << 17, "128k"),
        ("1M", 1 << 20, "1M"),
        ("10m", 10_000_000, "10M"),
        ("100k", 100_000, "100k"),
    ],
)
def test_sizes_have_names(name: str, size: int, short: str) -> None:
    assert size_of(name) == size
    assert size_name(size) == short


@pytest.mark.parametrize("name", ["", "0", "k", "8 k", "-1"])
def test_what_is_no_size(name: str) -> None:
    with pytest.raises(ValueError, match="no size"):
        size_of(name)


# One sentence in a long text.


@pytest.mark.parametrize("size", [500, 8192, 50_000])
def test_needle_is_hidden_once_at_a_boundary(size: int, data: Path) -> None:
    depths = set()
    for item in needle.items(Draw(3, 12, size, data, tokens=words)):
        assert isinstance(item.context, str)
        assert isinstance(item.gold, str)
        assert abs(words(item.context) - size) < 0.05 * size
        [sentence] = re.findall(r"One of the special magic \w+ for \S+ is: \S+\.", item.context)
        assert sentence.endswith(f": {item.gold}.")
        before, _, after = item.context.partition(sentence)
        assert re.search(r"(^|\n|[.!?]\s)$", before)
        assert after[:1] in ("", " ", "\n")
        assert "licence" not in item.context
        key = sentence.split(" for ")[1].split(" is: ")[0]
        assert key in item.question
        assert item.gold not in item.question
        depths.add(item.meta["depth"])
    assert len(depths) > 6


def test_each_pair_of_haystack_and_value_comes(data: Path) -> None:
    kinds = [item.meta["kind"] for item in needle.items(Draw(3, 6, 500, data, tokens=words))]
    assert len(set(kinds)) == 6


def test_needle_without_a_sentence_end_goes_to_a_line() -> None:
    assert needle.hide("N.", "a b\nc d", 5) == "a b\nN.\nc d"
    assert needle.hide("N.", "abc", 1) == "N.\nabc"
    assert needle.hide("N.", "One. Two.", 1) == "One. N. Two."


def test_needle_answer_may_stand_in_a_sentence(data: Path) -> None:
    item = next(needle.items(Draw(3, 1, 500, data, tokens=words)))
    assert needle.score(item, f"It is {str(item.gold).upper()}, I think.") == 1.0


# Windows.


def test_halves_share_no_question(data: Path) -> None:
    dev, report = (
        {text for texts in window.pool(data, split).values() for text in texts}
        for split in ("dev", "report")
    )
    assert not dev & report
    assert len(dev | report) == 240
    assert all(half(text) == "dev" for text in dev)


@pytest.mark.parametrize(("size", "lines"), [(1 << 15, 787), (1 << 17, 3_182), (1 << 13, 188)])
def test_windows_have_the_lines_of_the_real_ones(size: int, lines: int, data: Path) -> None:
    assert window.lines_of(size) == lines
    item = next(oolong.items(Draw(1, 1, size, data)))
    assert isinstance(item.context, str)
    head, note, *rows = item.context.split("\n\n")
    assert head == (
        f"The following lines contain {lines} general-knowledge questions, one per line. Each "
        "question has an answer that can be described as one of 6 categories: 'location', "
        "'numeric value', 'description and abstract concept', 'abbreviation', 'human being', "
        "'entity'."
    )
    assert note.startswith(
        "You will be asked to answer questions about the aggregate label statistics across all "
        f"{lines} examples in this dataset. Do not try to guess, estimate, or approximate the "
        "result. Calculate the exact answer given these datapoints."
    )
    assert ("which is not necessarily unique" in note) == (size == 1 << 17)
    assert len(rows[0].splitlines()) == lines
    form = re.compile(r"Date: [A-Z][a-z]{2} \d\d, 202[2-5] \|\| User: \d{5} \|\| Instance: \S.*\?")
    assert all(form.fullmatch(line) for line in rows[0].splitlines())


def read_window(item: Item) -> list[Row]:
    """The rows again, from the text and the labels that the made-up questions name."""
    assert isinstance(item.context, str)
    found = []
    for line in item.context.split("\n\n")[2].splitlines():
        date, user, text = (part.partition(": ")[2] for part in line.split(" || "))
        when = dt.datetime.strptime(date, "%b %d, %Y").date()
        label = text.removeprefix("Who or what is ").partition(" number ")[0]
        found.append(Row(when, int(user), text, label))
    return found


def test_windows_are_uneven_and_repeat(data: Path) -> None:
    for item in oolong.items(Draw(1, 40, 1 << 15, data)):
        rows = read_window(item)
        counts = sorted(sum(row.label == label for row in rows) for label in LABELS)
        assert counts[-1] > 2 * counts[0]
        assert len({row.text for row in rows}) < len(rows)
        assert len({row.user for row in rows}) < 0.4 * len(rows)
        assert min(row.date for row in rows) >= dt.date(2022, 2, 1)
        assert max(row.date for row in rows) <= dt.date(2025, 6, 30)


# OOLONG, counted once more from the words of the question.


def asked_of(question: str, rows: list[Row]) -> str:
    """The answer, naively."""

    def count(chosen: list[Row], label: str) -> int:
        return len([row for row in chosen if row.label == label])

    def phrase(first: int, second: int) -> str:
        if first == second:
            return "same frequency"
        return "more common" if first > second else "less common"

    months = sorted({(row.date.year, row.date.month) for row in rows})
    of_month = [
        [row for row in rows if (row.date.year, row.date.month) == month] for month in months
    ]
    labels = re.findall(r"label '([^']+)'", question)
    if "user IDs" in question:
        users = question.partition("user IDs ")[2].partition(". Among")[0].split(", ")
        rows = [row for row in rows if str(row.user) in users]
    if "of any year" in question:
        name = question.partition("occur in ")[2].split()[0]
        rows = [row for row in rows if f"{row.date:%B}" == name]
    if "inclusive" in question:
        between = question.partition("occur between ")[2].partition(", inclusive")[0]
        ends = [dt.datetime.strptime(one, "%b %d, %Y").date() for one in between.split(" and ")]
        rows = [row for row in rows if ends[0] <= row.date <= ends[1]]
    if "which of the labels is the most common" in question:
        return max(LABELS, key=lambda label: count(rows, label))
    if "which user" in question:
        users = [str(row.user) for row in rows]
        return max(set(users), key=users.count)
    if "before" in question:
        cut = dt.date.fromisoformat(question.partition("before ")[2][:10])
        before, after = [r for r in rows if r.date < cut], [r for r in rows if r.date > cut]
        return phrase(count(before, labels[0]), count(after, labels[0]))
    if "same frequency as label" in question:
        return phrase(count(rows, labels[0]), count(rows, labels[1]))
    if "how many data points" in question:
        return str(count(rows, labels[0]))
    if "In which month" in question:
        first = next(
            month
            for month, of in zip(months, of_month, strict=True)
            if count(of, labels[0]) > count(of, labels[1])
        )
        return f"{MONTHS[first[1] - 1]} {first[0]}"
    if "single most" in question:
        tops = [
            [one for one in LABELS if count(of, one) == max(count(of, two) for two in LABELS)]
            for of in of_month
        ]
        return str(tops.count([labels[0]]))
    assert "For how many months" in question
    return str(len([of for of in of_month if count(of, labels[0]) > count(of, labels[1])]))


@pytest.mark.parametrize("size", [2_000, 1 << 13])
def test_golds_are_those_of_a_naive_count(size: int, data: Path) -> None:
    seen = set()
    for item in oolong.items(Draw(5, 132, size, data)):
        answer = asked_of(item.question, read_window(item))
        assert isinstance(item.gold, str)
        assert answer in item.gold, item.question
        assert oolong.score(item, f"Answer: {answer}") == 1.0
        seen.add(item.meta["template"])
    assert seen == set(range(1, 12))


def item_of(gold: str, kind: str) -> Item:
    return Item("one", "?", "", gold, {"kind": kind})


@pytest.mark.parametrize(
    ("gold", "kind", "answer", "score"),
    [
        ("entity", "label", "Label: entity", 1.0),
        ("entity", "label", "Some say: location\nLabel: **entity**", 1.0),
        ("entity", "label", "entity", 1.0),
        ("entity", "label", "I have counted all, and it is entity", 1.0),
        ("entity", "label", "Label: location", 0.0),
        ("entity", "label", "Label: entity and location", 0.0),
        ("human being", "label", "Label: human being", 1.0),
        ("44436", "user", "User: 44436", 1.0),
        ("44436", "user", "User: [44436]", 1.0),
        ("44436", "user", "User: 44437", 0.0),
        ("12", "number", "Answer: 12", 1.0),
        ("12", "number", "Answer: 13", 0.75),
        ("12", "number", "Answer: 10", 0.75**2),
        ("1200", "number", "Answer: 1,200", 1.0),
        ("12", "number", "Answer: about a dozen", 0.0),
        ("more common than", "comparison", "Answer: a is more common than b", 1.0),
        ("more common than", "comparison", "a is more common than b in this data", 1.0),
        ("more common than", "comparison", "Answer: a is less common than b", 0.0),
        ("more common than", "comparison", "Answer: more common or less common", 0.0),
        ("same frequency as", "comparison", "Answer: a is same frequency as b", 1.0),
        ("the same frequency", "comparison", "Answer: a is the same frequency before X", 1.0),
        ("March 2023", "month", "Answer: March 2023", 1.0),
        ("March 2023", "month", "Answer: Mar 2023", 1.0),
        ("March 2023", "month", "Answer: 2023-03", 1.0),
        ("March 2023", "month", "Answer: 03/2023", 1.0),
        ("March 2023", "month", "Answer: March, 2022", 0.0),
        ("March 2023", "month", "Answer: sometime", 0.0),
        ("12", "number", "", 0.0),
    ],
)
def test_scores_of_oolong(gold: str, kind: str, answer: str, score: float) -> None:
    assert oolong.score(item_of(gold, kind), answer) == pytest.approx(score)


# Pairs.

Written = dict[str, list[dt.date]]


def has(user: Written, label: str) -> int:
    return len(user.get(label, []))


def after(user: Written, label: str, day: str) -> bool:
    return all(date > dt.date.fromisoformat(day) for date in user.get(label, []))


def before(user: Written, label: str, day: str) -> bool:
    return all(date < dt.date.fromisoformat(day) for date in user.get(label, []))


SAME: dict[int, Callable[[Written], bool]] = {
    1: lambda u: has(u, NUM) + has(u, LOC) > 0,
    2: lambda u: has(u, ENTY) + has(u, HUM) > 0,
    3: lambda u: has(u, DESC) + has(u, ABBR) > 0,
    4: lambda u: has(u, HUM) + has(u, LOC) > 0 and after(u, HUM, "2023-01-06"),
    5: lambda u: has(u, ENTY) + has(u, NUM) > 0 and before(u, ENTY, "2023-03-15"),
    6: lambda u: has(u, LOC) + has(u, ABBR) > 0,
    7: lambda u: has(u, DESC) + has(u, NUM) > 0 and after(u, NUM, "2023-02-01"),
    8: lambda u: has(u, HUM) + has(u, DESC) > 0,
    9: lambda u: has(u, ENTY) + has(u, LOC) > 0 and after(u, LOC, "2023-04-10"),
    10: lambda u: has(u, NUM) + has(u, ABBR) > 0 and before(u, ABBR, "2023-05-20"),
}
APART: dict[int, Callable[[Written, Written], bool]] = {
    11: lambda u, v: has(u, ENTY) >= 1 and has(u, ABBR) >= 1 and has(v, ENTY) == 1,
    12: lambda u, v: has(u, NUM) >= 2 and has(v, LOC) >= 1 and has(v, HUM) >= 1,
    13: lambda u, v: has(u, DESC) == 1 and has(v, ABBR) >= 1 and has(v, ENTY) >= 1,
    14: lambda u, v: has(u, HUM) >= 1 and has(u, NUM) >= 1 and has(v, LOC) == 2,
    15: lambda u, v: min(has(u, ENTY), has(u, LOC), has(u, ABBR)) >= 1 and has(v, NUM) == 1,
    16: lambda u, v: (
        min(has(u, DESC), has(u, HUM)) >= 1 and has(v, ENTY) >= 2 and has(v, ABBR) == 1
    ),
    17: lambda u, v: has(u, NUM) == 1 and has(v, LOC) >= 1 and has(v, DESC) >= 1,
    18: lambda u, v: (
        has(u, ABBR) >= 1 and has(u, HUM) == 1 and has(v, ENTY) >= 1 and has(v, NUM) >= 1
    ),
    19: lambda u, v: (
        has(u, LOC) >= 2 and has(u, ENTY) >= 1 and has(v, DESC) == 1 and has(v, ABBR) == 1
    ),
    20: lambda u, v: (
        has(u, NUM) >= 1
        and has(u, HUM) >= 1
        and has(v, LOC) >= 1
        and has(v, ENTY) >= 1
        and has(v, ABBR) == 1
    ),
}


def naive_pairs(rows: list[Row], condition: int) -> set[tuple[int, int]]:
    users: dict[int, Written] = {}
    for row in rows:
        users.setdefault(row.user, {}).setdefault(row.label, []).append(row.date)
    met = set()
    for a, b in combinations(sorted(users), 2):
        one, other = users[a], users[b]
        if condition in SAME:
            meets = SAME[condition](one) and SAME[condition](other)
        else:
            meets = APART[condition](one, other) or APART[condition](other, one)
        if meets:
            met.add((a, b))
    return met


@pytest.mark.parametrize("condition", range(1, 21))
def test_conditions_mean_what_they_say(condition: int) -> None:
    chance = random.Random(condition)
    # Near the bounds of the conditions, so that before, on and after them all come.
    days = [
        dt.date.fromisoformat(bound) + dt.timedelta(shift)
        for bound in ("2023-01-06", "2023-03-15", "2023-02-01", "2023-04-10", "2023-05-20")
        for shift in (-40, -1, 0, 1, 40)
    ]
    found = 0
    for _ in range(60):
        rows = [
            Row(chance.choice(days), chance.randrange(10_000, 10_008), "?", chance.choice(LABELS))
            for _ in range(chance.randrange(4, 40))
        ]
        assert pairs.pairs(rows, condition) == naive_pairs(rows, condition)
        found += len(pairs.pairs(rows, condition))
    assert found


def test_bounds_of_dates_are_not_part_of_them() -> None:
    users = {
        1: [(HUM, "2023-01-07")],
        2: [(HUM, "2023-01-06")],
        3: [(LOC, "2022-05-05")],
        4: [(HUM, "2023-01-07"), (HUM, "2022-12-31"), (LOC, "2024-01-01")],
        5: [(NUM, "2024-01-01")],
    }
    rows = [
        Row(dt.date.fromisoformat(day), user, "?", label)
        for user, written in users.items()
        for label, day in written
    ]
    assert pairs.pairs(rows, 4) == {(1, 3)}


def test_pairs_are_asked_as_the_paper_words_them(data: Path) -> None:
    items = drawn(pairs, Draw(2, 40, 1 << 13, data))
    assert [item.question for item in items[:2]] == [
        "List pairs with 1. One a line.",
        "List pairs with 2. One a line.",
    ]
    for item in items:
        gold = {
            f"({a}, {b})" for a, b in naive_pairs(read_window(item), int(item.id.split("c")[1]))
        }
        assert set(item.gold) == gold
        assert gold


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("(12345, 23456)", {(12345, 23456)}),
        ("They are (23456,12345) and [12345, 34567].", {(12345, 23456), (12345, 34567)}),
        ("[('12345', '23456'), ('12345', '23456')]", {(12345, 23456)}),
        ("12345, 23456\n- 12345, 34567", {(12345, 23456), (12345, 34567)}),
        ("12345, 23456, 34567", set()),
        ("(12345, 12345)", set()),
        ("none", set()),
    ],
)
def test_pairs_are_read_tolerantly(answer: str, found: set[tuple[int, int]]) -> None:
    assert pairs.read(answer) == found


def test_score_of_pairs_is_f1() -> None:
    item = Item("one", "?", "", ("(11111, 22222)", "(11111, 33333)"), {})
    assert pairs.score(item, "(11111, 22222)\n(33333, 11111)") == 1.0
    assert pairs.score(item, "(11111, 22222)") == pytest.approx(2 / 3)
    assert pairs.score(item, "(11111, 22222) (22222, 33333)") == pytest.approx(0.5)
    assert pairs.score(item, "no pairs") == 0.0


# Code.

SOURCES = {
    "shapes/base.py": """
        LIMIT_OF_SIDES = 4_096
        UNSURE = 1024
        class Polygon:
            def corner_angles(self): ...
            def area(self): ...
        class Unrelated:
            def area(self): ...
        """,
    "shapes/flat.py": """
        from shapes.base import Polygon
        from shapes import base
        UNSURE = 2048
        NAME_OF_PAPER = "a0 landscape"
        class Triangle(Polygon):
            opening_angle: float = 60.5
            plain = 17
        class Rectangle(base.Polygon): ...
        class Square(Rectangle): ...
        def draw_outline(shape, stroke="dashed", *, thickness=0.25, on=True, style=None): ...
        def twice(count=12): ...
        """,
    "other.py": """
        from shapes.base import Unrelated as Related
        class Lonely(Related): ...
        def twice(count=13): ...
        def helper():
            def inner_helper(): ...
        """,
    "broken.py": "def (",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in SOURCES.items():
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return tmp_path / "tree"


def test_facts_of_a_small_tree(tree: Path) -> None:
    known = facts(tree)
    assert known.classes["Triangle"] == "shapes/flat.py"
    assert known.functions == {"draw_outline": "shapes/flat.py", "helper": "other.py"}
    assert known.methods == {"corner_angles": "Polygon"}
    assert known.derived == {"Polygon": ("Rectangle", "Triangle"), "Rectangle": ("Square",)}
    assert known.bases == {"Triangle": "Polygon", "Rectangle": "Polygon", "Square": "Rectangle"}
    assert {(one.name, one.text) for one in known.constants} == {
        ("LIMIT_OF_SIDES", "4096"),
        ("NAME_OF_PAPER", "a0 landscape"),
    }
    assert [(one.owner, one.name, one.text) for one in known.fields] == [
        ("Triangle", "opening_angle", "60.5")
    ]
    assert {(one.owner, one.name, one.text) for one in known.parameters} == {
        ("draw_outline", "stroke", "dashed"),
        ("draw_outline", "thickness", "0.25"),
    }


def test_code_questions_are_right_by_the_syntax_tree(tree: Path, data: Path) -> None:
    both = [
        item
        for split in ("dev", "report")
        for item in code.items(Draw(1, 40, 0, data, split=split, tree=tree))
    ]
    modules = {
        path.relative_to(tree).as_posix(): ast.parse(path.read_text())
        for path in tree.rglob("*.py")
        if path.name != "broken.py"
    }
    kinds = set()
    for item in both:
        kind, name = item.meta["kind"], item.id.rpartition("-")[2]
        kinds.add(kind)
        defined = [
            (file, node)
            for file, module in modules.items()
            for node in ast.walk(module)
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name
        ]
        if str(kind).endswith("file"):
            assert [file for file, _ in defined] == [item.gold]
        elif kind == "derived":
            heirs = {
                node.name
                for module in modules.values()
                for node in ast.walk(module)
                if isinstance(node, ast.ClassDef)
                and any(ast.unparse(base).split(".")[-1] == name for base in node.bases)
            }
            assert set(item.gold) == heirs
        elif kind == "base":
            [(_, node)] = defined
            assert isinstance(node, ast.ClassDef)
            assert ast.unparse(node.bases[0]).split(".")[-1] == item.gold
        else:
            assert isinstance(item.gold, str)
            found = [
                file for file in SOURCES if item.gold in SOURCES[file].replace("4_096", "4096")
            ]
            assert len(found) >= 1
        right = item.gold if isinstance(item.gold, str) else " and ".join(item.gold)
        assert code.score(item, f"It is {right}.") == 1.0
        assert code.score(item, "It is not there.") == 0.0
        assert name.rpartition(".")[2] in item.question
    assert kinds == {
        *("class file", "function file", "method", "base"),
        *("derived", "constant", "field", "parameter"),
    }


def test_other_seeds_ask_otherwise(tree: Path, data: Path) -> None:
    draw = Draw(1, 30, 0, data, tree=tree)
    assert drawn(code, draw) == drawn(code, draw)
    assert [one.question for one in drawn(code, draw)] != [
        one.question for one in drawn(code, replace(draw, seed=2))
    ]


@pytest.mark.parametrize(
    ("gold", "kind", "answer", "score"),
    [
        ("shapes/base.py", "class file", "In `tree/shapes/base.py`, line 3.", 1.0),
        ("shapes/base.py", "class file", "shapes\\base.py", 1.0),
        ("shapes/base.py", "class file", "base.py", 0.0),
        ("shapes/base.py", "class file", "myshapes/base.py", 0.0),
        ("shapes/base.py", "class file", "shapes/base.pyc", 0.0),
        ("4096", "constant", "LIMIT = 4_096", 1.0),
        ("4096", "constant", "It is 4,096.", 1.0),
        ("4096", "constant", "40960", 0.0),
        ("4096", "constant", "14096", 0.0),
        ("1e-06", "parameter", "0.000001", 1.0),
        ("0.25", "parameter", "The default is 0.25.", 1.0),
        ("0.25", "parameter", "10.25", 0.0),
        ("-1.5", "parameter", "it is -1.5", 1.0),
        ("dashed", "parameter", "'dashed'", 1.0),
        ("dashed", "parameter", "undashed", 0.0),
        ("Polygon", "base", "Polygons", 0.0),
    ],
)
def test_scores_of_code(gold: str, kind: str, answer: str, score: float) -> None:
    assert code.score(item_of(gold, kind), answer) == score


def test_lists_of_classes_must_be_whole_and_hold_no_others(tree: Path) -> None:
    item = Item(
        "one", "Which derive from Polygon?", tree, ("Rectangle", "Triangle"), {"kind": "derived"}
    )
    assert code.score(item, "Triangle and Rectangle derive from Polygon") == 1.0
    assert code.score(item, "Triangle") == 0.0
    assert code.score(item, "Triangle, Rectangle, Square") == 0.0
