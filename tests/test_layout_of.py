"""What the host finds of the layout of contexts, and what the card tells of it."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from outcore.engine.context import sampling
from outcore.engine.context.card import card
from outcore.engine.context.corpus import stage
from outcore.engine.context.fields import type_of
from outcore.engine.context.layout import layout_of
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.layout import Layout
from outcore.kernel_sandbox.inside.record_list import Records

WORDS = "the old harbour was quiet when a small boat came in under rain with nobody at its oars"
RANDOM = random.Random(7)


def sentence() -> str:
    words = WORDS.split()
    said = RANDOM.choices(words, k=RANDOM.randint(5, 14))
    # Now and then a comma, as prose has them.
    return " ".join(word + ("," if RANDOM.random() < 0.1 else "") for word in said) + "."


SENTENCES = [sentence() for _ in range(120)]
NUMBERED = list(enumerate(SENTENCES))


def joined(lines: Any) -> str:
    return "\n".join(lines) + "\n"


def level(number: int) -> str:
    return ("INFO", "ERROR", "WARNING")[number % 3]


SHAPED: dict[str, tuple[str, str, list[str]]] = {
    "pairs with bars": (
        joined(f"Date: Jun {n % 28 + 1}, 2022 || User: {n} || Text: {s}" for n, s in NUMBERED),
        "lines",
        ["Date date", "User number", "Text text"],
    ),
    "the last value holds the separator": (
        joined(f"Name: B{n} | Age: {n} | Note: {s} | and so on" for n, s in NUMBERED),
        "lines",
        ["Name text", "Age number", "Note text"],
    ),
    "pairs in any order, some missing": (
        joined(
            f'level={level(n)} ts=2022-01-{n % 28 + 1:02} msg="{s} id=3" n={n}'
            if n % 2
            else f'ts=2022-01-{n % 28 + 1:02} msg="{s}" level={level(n)}'
            for n, s in NUMBERED
        ),
        "lines",
        ["ts date", "level label", "msg text", "n number"],
    ),
    "tabs with a header": (
        joined(["id\ttext\tclass", *(f"{n}\t{s}\t{level(n)}" for n, s in NUMBERED)]),
        "csv",
        ["id number", "text text", "class label"],
    ),
    "tabs without one": (
        joined(f"{n}\t{s}\t{level(n)}" for n, s in NUMBERED),
        "csv",
        ["column1 number", "column2 text", "column3 label"],
    ),
    "semicolons": (
        joined(["Tag;Ort;Wert", *(f"{n % 28 + 1}.02.2021;O{n};{n},5" for n, _ in NUMBERED)]),
        "csv",
        ["Tag date", "Ort text", "Wert number"],
    ),
    "a Markdown table": (
        joined(["| Name | Age |", "|---|:-:|", *(f"| B{n} | {n} |" for n, _ in NUMBERED)]),
        "lines",
        ["Name text", "Age number"],
    ),
    "CSV in quotes": (
        "id,name,text\r\n"
        + "".join(f'{n},"Doe, {n}","so ""{n}"",\r\n\r\n{s}"\r\n' for n, s in NUMBERED),
        "csv",
        ["id number", "name text", "text text"],
    ),
    "JSON lines": (
        joined(
            json.dumps({"n": n, "s": s, "ok": n % 2 == 0, "when": f"2022-02-{n % 28 + 1:02}"})
            for n, s in NUMBERED
        ),
        "jsonl",
        ["n number", "s text", "ok label", "when date"],
    ),
    "a JSON array, an object a line": (
        "[" + ",\n".join(json.dumps({"n": n, "s": s}) for n, s in NUMBERED) + "]",
        "jsonl",
        ["n number", "s text"],
    ),
    "a log": (
        joined(f"2022-01-02 03:04:{n % 60:02},123 {level(n)} {s}" for n, s in NUMBERED),
        "lines",
        ["time date", "level label", "message text"],
    ),
    "a log with sources": (
        joined(f"[2022-01-02T03:04:05Z] [my.mod{n}] {level(n)}: {s}" for n, s in NUMBERED),
        "lines",
        ["time date", "source text", "level label", "message text"],
    ),
    "syslog": (
        joined(f"Jan  2 03:04:{n % 60:02} h{n} sshd[{n}]: {s}" for n, s in NUMBERED),
        "lines",
        ["time text", "host text", "process text", "message text"],
    ),
    "numbered lines": (
        joined(f"{n + 1}. {s}" for n, s in NUMBERED),
        "lines",
        ["number number", "text text"],
    ),
    "dialogue": (
        joined(f"{('Ann', 'Bob', 'Dr. Who')[RANDOM.randrange(3)]}: {s}" for s in SENTENCES),
        "dialogue",
        ["speaker label", "text text"],
    ),
    "a chat": (
        joined(
            f"12/05/2021, 10:{n % 60:02} - {('Ann', 'Bob B')[RANDOM.randrange(2)]}: {s}"
            for n, s in NUMBERED
        ),
        "dialogue",
        ["time date", "speaker label", "text text"],
    ),
    "labels": (
        joined(f"{('SPAM', 'HAM')[RANDOM.randrange(2)]}:w{n} {s}" for n, s in NUMBERED),
        "lines",
        ["label label", "text text"],
    ),
    "labels of two levels": (
        joined(f"{'ABC'[RANDOM.randrange(3)]}:{'xyz'[n % 3]} {s}" for n, s in NUMBERED),
        "lines",
        ["label label", "detail label", "text text"],
    ),
}


SHAPED_LINES = [line for text, _, _ in SHAPED.values() for line in text.splitlines()[:12]]


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize(
    "frame", ["", "There are lines below.\n\nThey are, one by one, facts.\n\n"]
)
def test_lines_that_share_a_shape(tmp_path: Path, name: str, frame: str) -> None:
    text, kind, fields = SHAPED[name]
    text = frame + text + ("\nNow tell me which it is.\n" if frame else "")
    corpus = stage(text, tmp_path / "context")
    layout = layout_of(corpus)
    assert [f"{field.name} {field.type}" for field in layout.fields] == fields
    assert layout.kind == kind
    assert layout.exact
    records = Records(open_context(tmp_path / "context"), layout)
    assert len(records) == layout.records == len(SENTENCES)
    assert records[-1].offset > records[0].offset >= len(frame)
    assert records[0].offset == layout.start[1]
    assert set(records[0]) >= {field.name for field in layout.fields}
    if frame:
        assert layout.preamble.startswith("There are lines below.\n\nThey are, one by one, facts.")
        assert records.rest[0].text == "There are lines below."
        assert records.rest[-1].text == "Now tell me which it is."
    told = card(corpus, layout, 5_000)
    assert "`records` has its 120 records" in told
    assert ("There are lines below." in told) == bool(frame)
    assert len(told) < 1_000


def test_texts_of_a_list_that_share_a_shape(tmp_path: Path) -> None:
    layout = layout_of(
        stage([f"Key: {n} | Val: {s}" for n, s in NUMBERED], tmp_path / "context"),
    )
    assert [field.name for field in layout.fields] == ["Key", "Val"]
    assert layout.records == 120


def test_tables_of_a_folder_keep_their_headers_out(tmp_path: Path) -> None:
    table = "city,land\n" + joined(f"C{n},L{n}" for n in range(30))
    corpus = stage({f"{n}.csv": table for n in range(3)}, tmp_path / "context")
    layout = layout_of(corpus)
    records = Records(open_context(tmp_path / "context"), layout)
    assert [field.name for field in layout.fields] == ["city", "land"]
    assert len(records) == layout.records == 90
    assert [one.text for one in records.rest] == ["city,land"] * 3


def test_a_sentence_with_commas_is_no_row_of_figures(tmp_path: Path) -> None:
    rows = joined(f"{n},B{n},{n / 7:.2f}" for n in range(60))
    text = f"Below, in short, a table.\n\nid,name,score\n{rows}\nNow, please, answer.\n"
    layout = layout_of(stage(text, tmp_path / "context"))
    records = Records(open_context(tmp_path / "context"), layout)
    assert [field.name for field in layout.fields] == ["id", "name", "score"]
    assert len(records) == layout.records == 60
    assert layout.preamble == "Below, in short, a table.\n\nid,name,score"
    assert records.rest[-1].text == "Now, please, answer."


def test_what_shares_no_shape(tmp_path: Path) -> None:
    tale = "\n\n".join(
        "\n".join(" ".join(SENTENCES[n : n + 3]) for n in range(at, at + 4)) for at in range(80)
    )
    sources: dict[str, tuple[Any, str]] = {
        "prose": (tale, "prose"),
        "prose on one line": (tale.replace("\n", " "), "prose"),
        "prose in Chinese": ("\n".join(["\u4eca\u5929\u5929\u6c14\u5f88\u597d" * 9] * 40), "prose"),
        "code": (Path(layout_of.__code__.co_filename), "code"),
        "code without a name": (Path(layout_of.__code__.co_filename).read_text("utf-8"), "code"),
        "a tree of code": ({"a/x.py": "x = 1\n", "a/y.c": "int y;\n", "a/z.json": "{}"}, "code"),
        "Markdown": (joined(f"# H{n}\n\n{s}\n\n- item\n" for n, s in NUMBERED), "markdown"),
        "a tree of Markdown": ({"a.md": f"# A\n\n{tale}", "b.md": "text"}, "markdown"),
        "JSON in many lines": (json.dumps([{"n": n} for n in range(99)], indent=1), "mixed"),
        "words": (joined(WORDS.split() * 5), "mixed"),
    }
    for name, (source, kind) in sources.items():
        layout = layout_of(stage(source, tmp_path / name))
        assert (layout.kind, layout.shape) == (kind, None), name


def test_lines_of_which_some_fit_not(tmp_path: Path) -> None:
    lines = [
        f"2022-01-02 03:04:05 ERROR {s}\nTraceback\n  File {n}" if n % 3 == 0 else
        f"2022-01-02 03:04:05 INFO {s}"
        for n, s in NUMBERED
    ]  # fmt: skip
    corpus = stage(joined(lines), tmp_path / "context")
    layout = layout_of(corpus)
    records = Records(open_context(tmp_path / "context"), layout)
    assert layout.records == len(records) == 120
    assert layout.unfit == pytest.approx(80 / 200)
    assert layout.kind == "mixed"
    assert len(records.rest) == 80
    assert "80 other lines are no records: see records.rest." in card(corpus, layout)


def test_a_form_of_several_lines_is_no_dialogue(tmp_path: Path) -> None:
    text = "".join(f"Title: T{n}\nBy: B{n}\nText: {s}\n\n" for n, s in NUMBERED)
    assert layout_of(stage(text, tmp_path / "context")).kind == "lines"
    names = [f"Field{n}" for n in range(9)]
    loose = "".join(
        f"{name}: {sentence()}\n" for _ in range(40) for name in names if RANDOM.random() < 0.8
    )
    assert layout_of(stage(loose, tmp_path / "loose")).kind == "lines"


def test_large_contexts_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_WHOLE", 5_000)
    monkeypatch.setattr(sampling, "_HEAD", 3_000)
    monkeypatch.setattr(sampling, "_WIDE", (500, 2_000))
    text = "Facts:\n\n" + joined(f"id: {n}; caf\u00e9: {s}" for n, s in enumerate(SENTENCES * 50))
    layout = layout_of(stage(text, tmp_path / "one"))
    assert [field.name for field in layout.fields] == ["id", "caf\u00e9"]
    assert not layout.exact
    assert layout.records == pytest.approx(6_000, rel=0.05)
    assert layout.preamble == "Facts:"
    many = layout_of(stage(text.splitlines(), tmp_path / "many"))
    assert many.records == pytest.approx(6_000, rel=0.05)
    assert "`records` has its about" in card(stage(text, tmp_path / "card"), layout)
    wide = joined(json.dumps({"n": n, "s": "long " * 150}) for n in range(200))
    assert layout_of(stage(wide, tmp_path / "wide")).records == pytest.approx(200, rel=0.1)


def test_a_long_preamble_is_cut(tmp_path: Path) -> None:
    text = f"BEGIN {'word ' * 1_000} END\n" + joined(f"a: {n} | b: {n}" for n in range(50))
    corpus = stage(text, tmp_path / "context")
    layout = layout_of(corpus)
    assert len(layout.preamble) < 2_100
    told = card(corpus, layout)
    for cut in (layout.preamble, told):
        assert "BEGIN word" in cut
        assert "word  END" in cut
    assert len(told) < 1_100


def test_types_of_values() -> None:
    assert type_of(["1", "-2.5", "1,000", "3%", "$4", "1e5", ""]) == "number"
    assert type_of(["1.5", "x"]) == "text"
    assert type_of(["2022-01-01", "Jun 3, 2022"]) == "date"
    assert type_of(["yes", "no"] * 5) == "label"
    assert type_of([True, False]) == "label"
    assert type_of([1, 2.5, None]) == "number"
    assert type_of([["a"], {"b": 1}]) == "text"
    assert type_of([]) == "text"


def test_days_before_months(tmp_path: Path) -> None:
    text = joined(f"when: {n % 28 + 1:02}/02/2022 | n: {n}" for n in range(60))
    corpus = stage(text, tmp_path / "context")
    layout = layout_of(corpus)
    assert layout.fields[0].day_first is True
    assert "'when' (date: as_date(value, day_first=True))" in card(corpus, layout)


@given(
    st.lists(
        st.sampled_from(SHAPED_LINES) | st.text('aB1 ,:=|\t"{}\n', max_size=30), max_size=60
    ).filter(any),
    st.booleans(),
)
@settings(max_examples=100)
# A quote that is left open makes a table of lines that are none.
@example(
    lines=[
        '{"n": 3, "s": "a a boat nobody old old quiet rain old with."},',
        ',,"',
        "Date: Jun 1, 2022 || User: 0 || Text: oars small the, nobody old in its was, old small,.",
    ],
    apart=False,
)
def test_what_is_told_of_any_text_is_what_the_kernel_finds(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], apart: bool
) -> None:
    folder = tmp_path_factory.mktemp("layout") / "context"
    corpus = stage(lines if apart else joined(lines), folder)
    layout = layout_of(corpus)
    assert Layout.from_dict(json.loads(json.dumps(layout.as_dict()))) == layout
    records = Records(open_context(folder), layout)
    assert layout.exact
    assert len(records) == layout.records
    assert card(corpus, layout)
    if records:
        first = records[0]
        assert (corpus.documents[layout.start[0]].name, layout.start[1]) == (
            first.document,
            first.offset,
        )


def test_long_runs_of_blanks_take_no_longer(tmp_path: Path) -> None:
    blanks = " " * 100_000
    for text, _, _ in SHAPED.values():
        lines = text.splitlines()[:20]
        odd = [line.replace(" ", blanks, 1) for line in lines[:3]]
        folder = tmp_path / f"{hash(text)}"
        layout = layout_of(stage(joined([*lines, *odd]), folder))
        assert len(Records(open_context(folder), layout)) == layout.records


@pytest.mark.timeout(30)
@pytest.mark.parametrize("line", ["12:30\t" + "\t" * 50_000, ")" * 100_000 + "a"])
def test_long_runs_of_marks_take_no_longer(tmp_path: Path, line: str) -> None:
    corpus = stage(f"{line}x\n" * 5, tmp_path / "staged")
    assert layout_of(corpus).exact


def test_a_layout_travels_as_json(tmp_path: Path) -> None:
    for text, _, _ in SHAPED.values():
        (tmp_path / "context").mkdir(exist_ok=True)
        layout = layout_of(stage(text, tmp_path / f"context-{hash(text)}"))
        assert Layout.from_dict(json.loads(json.dumps(layout.as_dict()))) == layout


def test_the_card_of_a_tree_of_code(tmp_path: Path) -> None:
    tree = {f"pkg/{part}/{n}.py": "import os\n" * 9 for part in ("a", "b") for n in range(3)}
    corpus = stage({**tree, "pkg/b/x.c": "int y;\n"}, tmp_path / "context")
    told = card(corpus, layout_of(corpus))
    assert "Source code: 6 .py, 1 .c files.\n" in told
    assert "Largest folders, in characters: 'pkg/b' (277), 'pkg/a' (270).\n" in told


def test_the_card_of_markdown(tmp_path: Path) -> None:
    text = joined(f"# H{n}\n\n{s}\n\n```\n# no heading\n```\n- item" for n, s in NUMBERED[:10])
    corpus = stage(text, tmp_path / "context")
    told = card(corpus, layout_of(corpus))
    assert "Markdown with 10 headings, the first: # H0, # H1, # H2, # H3, # H4, # H5\n" in told


def short_rows(separator: str, *, every: int) -> str:
    rows = [[str(n), f"B{n % 7}", f"{n / 7:.2f}", "paid" if n % 3 else ""] for n in range(300)]
    for row in rows[::every]:
        del row[3 - len(row[0]) % 2 :]
    return joined(separator.join(row) for row in [["id", "buyer", "sum", "state"], *rows])


@pytest.mark.parametrize("every", [2, 5, 20])
@pytest.mark.parametrize(("separator", "name"), [(",", "a.csv"), ("\t", "a.tsv"), (";", "a.csv")])
def test_rows_of_a_table_that_lack_their_last_cells(
    tmp_path: Path, separator: str, name: str, every: int
) -> None:
    corpus = stage({name: short_rows(separator, every=every)}, tmp_path / "context")
    layout = layout_of(corpus)
    records = Records(open_context(tmp_path / "context"), layout)
    assert [field.name for field in layout.fields] == ["id", "buyer", "sum", "state"]
    assert len(records) == layout.records == 300
    assert dict(records[every]) == {
        "id": str(every),
        "buyer": f"B{every % 7}",
        "sum": "" if len(str(every)) % 2 else f"{every / 7:.2f}",
        "state": "",
    }


def test_what_stands_below_a_table_is_no_short_row(tmp_path: Path) -> None:
    rows = joined(f"{n},B{n % 7},{n / 7:.2f},paid" for n in range(100))
    text = f"id,buyer,sum,state\n{rows}" + joined(f"Total of B{n},{n}" for n in range(7))
    layout = layout_of(stage({"a.csv": text}, tmp_path / "context"))
    records = Records(open_context(tmp_path / "context"), layout)
    assert len(records) == 100
    assert len(records.rest) == 8


def test_a_value_of_several_lines_makes_no_short_rows(tmp_path: Path) -> None:
    notes = ("one,\n\n5,two", *["one, two"] * 8)
    rows = joined(f'{n},B{n % 7},"{notes[n % 9]}",paid' for n in range(100))
    corpus = stage({"a.csv": f"id,buyer,note,state\n{rows}"}, tmp_path / "context")
    layout = layout_of(corpus)
    records = Records(open_context(tmp_path / "context"), layout)
    assert len(records) == 100
    assert records[9]["note"] == "one,\n\n5,two"
