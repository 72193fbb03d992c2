"""Records in the kernel: whatever the layout says, every line is a record or in the rest."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sandboxing import Host

from outcore.engine.context.corpus import Corpus, stage
from outcore.engine.context.layout import layout_of
from outcore.kernel_sandbox import Kernel, KernelSpec, Pool
from outcore.kernel_sandbox.inside import lines as lines_module
from outcore.kernel_sandbox.inside import record_list
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.layout import Field, Layout, Shape
from outcore.kernel_sandbox.inside.lines import lines
from outcore.kernel_sandbox.inside.record import Record
from outcore.kernel_sandbox.inside.record_list import Records
from outcore.kernel_sandbox.inside.shapes import parser

if TYPE_CHECKING:
    from pathlib import Path

PAIRS = Shape("pairs", ("Date", "User", "Text"), "||", ":")
LAYOUTS = (
    Layout("lines", PAIRS),
    Layout("lines", Shape("pairs", ("a", "b"), " ", "=", ordered=False)),
    Layout("csv", Shape("csv", ("a", "b"), ",", digits=(0, 1))),
    Layout("csv", Shape("csv", ("a", "b", "c"), ",", rest=True)),
    Layout("lines", Shape("columns", ("a", "b"), "|", rest=True), start=(0, 5)),
    Layout("jsonl", Shape("json", ("a",))),
    Layout("dialogue", Shape("pattern", ("speaker", "text"), pattern="turn"), start=(1, 0)),
    Layout("prose"),
)
TEXTS = st.lists(
    st.lists(
        st.sampled_from(
            [
                "Date: 1 || User: 2 || Text: x || y",
                "Date:|| User:|| Text: caf\u00e9 \U0001f642",
                "a=1 b=2",
                'b="a=1" a=2',
                '"1","two\n2"',
                'un"closed,2',
                "1,2,3,4",
                "x | y | z",
                '{"a": [1]}',
                "Ann: hello",
                "\ufeff",
                "",
                " \t",
                "\r",
                "\u2028",
                "plain",
            ]
        ),
        max_size=12,
    ).map("\n".join),
    min_size=1,
    max_size=3,
).filter(lambda texts: any(texts))


def records_of(source: Any, folder: Path, layout: Layout | None = None, **how: Any) -> Records:
    corpus = stage(source, folder)
    layout = layout or layout_of(corpus)
    travelled = Layout.from_dict(json.loads(json.dumps(layout.as_dict())))
    assert travelled == layout
    return Records(open_context(folder, **how), travelled)


def check_nothing_is_lost(corpus: Corpus, records: Records) -> None:
    spans = sorted(
        [(one.document, one.offset, one.line) for one in records]
        + [(one.document, one.offset, one.text) for one in records.rest]
    )
    covered: dict[Any, int] = {}
    for document, offset, line in spans:
        assert corpus.read(document, offset, offset + len(line)) == line
        between = corpus.read(document, covered.get(document, 0), offset)
        assert not between.strip("\ufeff").strip(), between
        covered[document] = offset + len(line)
    for one in corpus.documents:
        end = corpus.read(one.name, covered.get(one.name, 0))
        assert not end.strip("\ufeff").strip(), end


@given(TEXTS, st.sampled_from(LAYOUTS), st.sampled_from([0, 1 << 20]), st.sampled_from([1, 2, 512]))
@settings(max_examples=200)
def test_every_line_is_a_record_or_in_the_rest(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[str],
    layout: Layout,
    eager_bytes: int,
    block: int,
) -> None:
    folder = tmp_path_factory.mktemp("records") / "context"
    corpus = stage(texts, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_list, "_BLOCK", block)
        patch.setattr(record_list, "_BLOCKS", 2)
        records = Records(open_context(folder, eager_bytes=eager_bytes), layout)
        check_nothing_is_lost(corpus, records)
        every = list(records)
        again = Records(open_context(folder, eager_bytes=eager_bytes), layout)
        assert len(again) == len(every) == len(records)
        assert [again[at] for at in range(len(every))] == every
        assert [again[at - len(every)].offset for at in range(len(every))] == [
            one.offset for one in every
        ]
        for cut in (slice(1, 3), slice(2, None), slice(None, None, 2), slice(-2, None), slice(3)):
            fresh = Records(open_context(folder, eager_bytes=eager_bytes), layout)
            assert fresh[cut] == every[cut]
        assert bool(again) == bool(every)
        with pytest.raises(IndexError):
            again[len(every)]


@given(st.text("ab\u00e9 \n\r\ufeff", max_size=60), st.integers(1, 9))
def test_lines_at_any_width(text: str, width: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        expected = list(lines(text))
        patch.setattr(lines_module, "_WINDOW", width)
        assert list(lines(text)) == expected
        patch.setattr(lines_module, "LONGEST", width)
        parts = list(lines(text))
    for line in (*expected, *parts):
        assert text[line.offset :].startswith(line.text)
        assert line.text.strip()
    bare = "".join(text.split())
    assert "".join("".join(line.text.split()) for line in parts) in (
        bare,
        bare.removeprefix("\ufeff"),
    )


def sample(count: int) -> str:
    return "Find out who asks most.\n\n" + "".join(
        f"Date: Jun {n % 28 + 1}, 2022 || User: {n % 7} || Text: what is caf\u00e9 {n}?\n"
        for n in range(count)
    )


def test_a_record_knows_its_fields_and_its_place(tmp_path: Path) -> None:
    records = records_of(sample(5), tmp_path / "context")
    first = records[0]
    assert first == {"Date": "Jun 1, 2022", "User": "0", "Text": "what is caf\u00e9 0?"}
    assert (first.user, first.Text, first["date"]) == ("0", "what is caf\u00e9 0?", "Jun 1, 2022")
    assert (first.document, first.offset) == ("context", 25)
    assert first.line == "Date: Jun 1, 2022 || User: 0 || Text: what is caf\u00e9 0?"
    assert records.fields == {"Date": "date", "User": "number", "Text": "text"}
    assert [one.text for one in records.rest] == ["Find out who asks most."]
    assert "user" in first
    assert "uses" not in first
    assert first.get("USER") == "0"
    assert first.get("uses", 3) == 3
    with pytest.raises(KeyError, match="'uses'; the fields are 'Date', 'User', 'Text'"):
        first["uses"]
    assert not hasattr(first, "uses")
    assert json.loads(json.dumps(first)) == first
    for made in (copy.copy(first), copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert isinstance(made, Record)
        assert (made, made.line, made.offset) == (first, first.line, first.offset)


def test_printing_records_shows_what_they_are(tmp_path: Path) -> None:
    records = records_of(sample(5), tmp_path / "context")
    assert repr(records) == (
        "<5 records with the fields Date (date), User (number), Text (text); the first 2:\n"
        "{'Date': 'Jun 1, 2022', 'User': '0', 'Text': 'what is caf\u00e9 0?'}\n"
        "{'Date': 'Jun 2, 2022', 'User': '1', 'Text': 'what is caf\u00e9 1?'}>"
    )
    assert "Find out who" in repr(records.rest)


def test_what_a_cell_sets_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_list, "_BLOCK", 4)
    monkeypatch.setattr(record_list, "_BLOCKS", 1)
    records = records_of(sample(20), tmp_path / "context")
    for number, one in enumerate(records):
        if number % 2:
            one["odd"] = number
    records[0].user = "nobody"
    records[2].update(x=1)
    records[4].setdefault("y", 2)
    del records[6]["Text"]
    assert records[8].pop("Date") == "Jun 9, 2022"
    tenth = records[10]
    tenth |= {"z": 3}
    assert [one["odd"] for one in records if "odd" in one] == list(range(1, 20, 2))
    assert records[0]["User"] == "nobody"
    assert (records[2]["x"], records[4]["y"], records[10]["z"]) == (1, 2, 3)
    assert "Text" not in records[6]
    assert "Date" not in records[8]
    with pytest.raises(AttributeError, match="can't be changed"):
        records[0].line = "x"


def test_a_context_read_lazily(tmp_path: Path) -> None:
    corpus_text = sample(30_000)
    eager = records_of(corpus_text, tmp_path / "eager")
    lazy = records_of({"a": corpus_text, "b": corpus_text}, tmp_path / "lazy", eager_bytes=0)
    assert lazy[:2] == eager[:2]
    assert lazy[29_999] == eager[-1]
    assert lazy[30_000].document == "b"
    assert lazy[-1].offset == eager[29_999].offset
    assert len(lazy) == 60_000
    assert len(lazy.rest) == 2
    assert sum(1 for _ in lazy) == 60_000
    assert lazy[40_000:40_002] == eager[10_000:10_002]
    assert len(lazy._blocks) <= record_list._BLOCKS


def test_objects_of_a_list(tmp_path: Path) -> None:
    source = [{"id": 1, "who": {"name": "A"}}, {"id": 2, "text": "x"}, "no object", [3]]
    for eager_bytes in (0, 1 << 20):
        folder = tmp_path / str(eager_bytes)
        records = records_of(source, folder, eager_bytes=eager_bytes)
        assert list(records) == [
            {"id": 1, "who": {"name": "A"}, "text": None},
            {"id": 2, "who": None, "text": "x"},
        ]
        assert [one.document for one in records] == [0, 1]
        assert [(one.document, one.text) for one in records.rest] == [(2, "no object"), (3, "[3]")]


def test_json_lines_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('\ufeff{"id": 1}\r\n\r\n{"id": 2}\r\n'.encode())
    corpus = stage(path, tmp_path / "context")
    records = Records(open_context(tmp_path / "context"), layout_of(corpus))
    assert list(records) == [{"id": 1}, {"id": 2}]
    check_nothing_is_lost(corpus, records)


def test_values_in_quotes_hold_line_ends(tmp_path: Path) -> None:
    rows = "".join(f'{n},"Doe, {n}","said ""so"",\nand left"\r\n' for n in range(20))
    corpus = stage(f"id,name,text\r\n{rows}", tmp_path / "context")
    records = Records(open_context(tmp_path / "context"), layout_of(corpus))
    assert len(records) == 20
    assert records[7] == {"id": "7", "name": "Doe, 7", "text": 'said "so",\nand left'}
    assert records[7].line == '7,"Doe, 7","said ""so"",\nand left"'
    check_nothing_is_lost(corpus, records)


def test_a_quote_that_stays_open_costs_one_line(tmp_path: Path) -> None:
    layout = Layout("csv", Shape("csv", ("a", "b"), ","))
    text = 'x,1\n"open,2\ny,3\nz,4\n'
    records = records_of(text, tmp_path / "context", layout)
    assert [one["b"] for one in records] == ["1", "3", "4"]
    assert [one.text for one in records.rest] == ['"open,2']


def test_no_records(tmp_path: Path) -> None:
    records = records_of("A tale.\n\nOf two cities.", tmp_path / "context", Layout("prose"))
    assert not records
    assert len(records) == 0
    assert list(records) == []
    assert "share no shape; use context, search(), grep() or slices()" in repr(records)
    assert [one.offset for one in records.rest] == [0, 9]
    with pytest.raises(IndexError):
        records[0]


def test_reads_like_a_list(tmp_path: Path) -> None:
    records = records_of(sample(3), tmp_path / "context")
    assert records.__add__([1]) == [*records, 1]
    assert records.__radd__([1]) == [1, *records]
    assert records == list(records)
    assert records != [1]
    assert records.index(records[1]) == 1
    assert next(reversed(records)) == records[-1]
    assert sorted(records, key=lambda one: one["User"], reverse=True)[0]["User"] == "2"


def test_a_field_called_like_an_attribute_is_a_key(tmp_path: Path) -> None:
    layout = Layout(
        "jsonl", Shape("json", ("line", "items")), (Field("line", "text", ""),), start=(0, 0)
    )
    records = records_of('{"line": 1, "items": 2}', tmp_path / "context", layout)
    assert records[0]["line"] == 1
    assert records[0]["items"] == 2
    assert records[0].line == '{"line": 1, "items": 2}'


HINTED = """
print(records[0].user, len(records), records.rest[0].text)
print(as_date(records[1]["Date"]), [name for name in ("records", "as_date") if name in SHOW_VARS()])
print(llm_query("Who?", text=records[2])[:7])
"""
HINTED_OUTPUT = "0 30 Find out who asks most.\n2022-06-02 []\nre: Who\n"


async def test_records_in_a_kernel(tmp_path: Path) -> None:
    corpus = stage(sample(30), tmp_path / "context")
    hints = {"layout": layout_of(corpus).as_dict()}
    spec = KernelSpec(corpus.folder, hints=hints)
    host = Host()
    async with await Kernel.start(spec, host) as kernel:
        assert (await kernel.run(HINTED, seconds=20)).output == HINTED_OUTPUT
        # A variable of that name is the root's own.
        await kernel.run("records = [1]", seconds=20)
        own = await kernel.run("print(records); del records", seconds=20)
        assert own.output == "[1]\n"
        assert (await kernel.run("print(len(records))", seconds=20)).output == "30\n"
    assert host.of("llm_query")[0]["text"] == list(records_of(sample(3), tmp_path / "x"))[2].line
    async with await Kernel.start(KernelSpec(corpus.folder), host) as kernel:
        told = await kernel.run("print(records)", seconds=20)
        assert "share no shape" in told.output


async def test_records_in_a_kernel_that_was_up_before(tmp_path: Path) -> None:
    pool = Pool(tmp_path / "pool", 1)
    try:
        for number in range(2):
            corpus = stage(sample(30), tmp_path / f"context-{number}")
            spec = KernelSpec(corpus.folder, hints={"layout": layout_of(corpus).as_dict()})
            async with pool.lend(spec, Host(), level=1, seconds=30) as kernel:
                assert (await kernel.run(HINTED, seconds=20)).output == HINTED_OUTPUT
            await asyncio.gather(*pool._warm)
    finally:
        await pool.close()


@pytest.mark.parametrize(("name", "rows"), [("table.csv", 42), ("lines.txt", 40)])
def test_rows_of_a_table_without_figures_are_rows(tmp_path: Path, name: str, rows: int) -> None:
    path = tmp_path / name
    known = "".join(f"N{n},{20 + n},{n % 7},Oslo\n" for n in range(40))
    path.write_text(f"name,age,score,city\n{known}Zoe,unknown,unknown,Oslo\nAbe,n/a,n/a,Oslo\n")
    corpus = stage(path, tmp_path / "context")
    assert len(Records(open_context(corpus.folder), layout_of(corpus))) == rows


def test_a_last_column_with_the_separator_leaves_quotes_alone() -> None:
    parse = parser(Shape("csv", ("a", "b", "c"), ",", rest=True))
    assert parse('1,"a,b",c, d') == {"a": "1", "b": "a,b", "c": "c, d"}
    assert parse("1,a,b") == {"a": "1", "b": "a", "c": "b"}
    assert parse("1,a") is None
