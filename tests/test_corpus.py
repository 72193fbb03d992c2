from __future__ import annotations

import json
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcore.engine.context.card import card
from outcore.engine.context.corpus import Corpus, Place, stage
from outcore.engine.context.layout import layout_of
from outcore.engine.context.textfile import read_parts
from outcore.errors import BadContext
from outcore.kernel_sandbox.inside.corpus import open_context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
AWKWARD = "\ufeffone\r\ntwo\rthree\n\x00 caf\u00e9 \u6771\u4eac \U0001f642 e\u0301\u2028end"


def written(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return folder


def seen(corpus: Corpus) -> Any:
    """What the root finds as `context`; loaded at once and read lazily, it is the same."""
    value = open_context(corpus.folder).value
    lazy = open_context(corpus.folder, eager_bytes=0).value
    if isinstance(value, str):
        assert lazy == value
    elif isinstance(value, list):
        assert list(lazy) == value
    else:
        assert dict(lazy.items()) == value
        assert list(lazy) == list(value)
        assert all(lazy[key] == value[key] for key in value)
    return value


@pytest.mark.parametrize(
    "source",
    [
        AWKWARD,
        "x",
        AWKWARD * 500,
        [AWKWARD, "", "b\n"],
        {"b": AWKWARD, "a": "", "\u00e9\n": "text", "": "named by nothing"},
        [{"id": 1, "text": AWKWARD}, None, 2.5, "plain", ["a", True]],
        {"title": "War and Peace", "year": 1869, "parts": {"one": ["a"]}, "text": AWKWARD},
        [1],
    ],
    ids=["awkward", "x", "long", "texts", "named", "values", "record", "number"],
)
def test_values_come_out_as_they_went_in(source: Any, tmp_path: Path) -> None:
    corpus = stage(source, tmp_path / "context")
    assert seen(corpus) == source
    assert corpus.kind == type(source).__name__


@given(TEXT | st.lists(TEXT, min_size=1) | st.dictionaries(TEXT, TEXT, min_size=1))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, source: Any) -> None:
    folder = tmp_path_factory.mktemp("any") / "context"
    texts = [source] if isinstance(source, str) else list(source)
    texts = list(source.values()) if isinstance(source, dict) else texts
    if not any(texts):
        with pytest.raises(BadContext, match="empty"):
            stage(source, folder)
        return
    corpus = stage(source, folder)
    assert seen(corpus) == source
    assert corpus.chars == sum(map(len, texts))
    assert corpus.bytes == sum(len(text.encode()) for text in texts)
    assert [one.chars for one in corpus.documents] == list(map(len, texts))


@given(
    st.lists(st.text("ab\u00e9\U0001f642\n", max_size=40), min_size=1),
    st.text("ab\u00e9\U0001f642\n", min_size=1, max_size=3),
)
def test_places_are_right(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], wanted: str
) -> None:
    texts = [*texts, "ends"]
    corpus = stage(texts, tmp_path_factory.mktemp("places") / "context")
    places = corpus.find_all(wanted, 1_000)
    expected = []
    for number, text in enumerate(texts):
        at = text.find(wanted)
        while at >= 0:
            expected.append(Place(number, at, wanted))
            at = text.find(wanted, at + len(wanted))
    assert places == expected
    for document, offset, text in places:
        assert corpus.read(document, offset, offset + len(text)) == wanted
    assert corpus.find(wanted) == (expected[0] if expected else None)


def test_places_beyond_the_first_marks(tmp_path: Path) -> None:
    text = "\u00e9\U0001f642a" * 3_000 + "needle" + "\u00e9b" * 3_000 + "needle"
    corpus = stage({"a": "needl", "b": text}, tmp_path / "context")
    assert corpus.find_all("needle") == [
        Place("b", 9_000, "needle"),
        Place("b", 15_006, "needle"),
    ]
    assert corpus.find_all("needle", 1) == [Place("b", 9_000, "needle")]
    assert corpus.read("b", 8_999, 9_007) == "aneedle\u00e9"
    assert corpus.read("b", -6) == "needle"
    assert corpus.find("") is None
    assert corpus.find("\ud800") is None
    assert corpus.find("needl\u00e9") is None


def test_a_quote_of_a_record_is_found_as_json_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"t": "caf\\u00e9 \\"no\\""}\n{"t": "two\\nlines"}\n')
    corpus = stage(path, tmp_path / "context")
    assert corpus.find('caf\u00e9 "no"') == Place(0, 7, 'caf\\u00e9 \\"no\\"')
    assert corpus.find("two\nlines") == Place(1, 7, "two\\nlines")
    assert stage("two\\nlines", tmp_path / "plain").find("two\nlines") is None


@pytest.mark.parametrize("data", [AWKWARD.encode()[3:].replace(b"\0", b""), b"\xef\xbb\xbfa\r\n"])
def test_a_file_is_kept_to_the_byte(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    corpus = stage(path, tmp_path / "context")
    assert seen(corpus).encode() == data
    assert (corpus.folder / "blob").read_bytes() == data
    assert corpus.documents[0].name == "a.json"


def test_a_character_across_two_reads(tmp_path: Path) -> None:
    text = "a" + "\U0001f642" * (1 << 18) + "\u00e9"
    path = tmp_path / "a.txt"
    path.write_text(text, encoding="utf-8")
    assert seen(stage(path, tmp_path / "context")) == text
    path.write_text(text, encoding="utf-16")
    assert seen(stage(path, tmp_path / "wide", "utf-16")) == text


def test_json_lines_give_their_values(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf\r\n{"a": "\xc3\xa9"}\r\n\r\n[1]\n"text"\nnull')
    corpus = stage(path, tmp_path / "context")
    assert seen(corpus) == [{"a": "\u00e9"}, [1], "text", None]
    assert (corpus.folder / "blob").read_bytes() == path.read_bytes()
    assert corpus.read(1) == "[1]\n"
    path.write_text('{"a": 1}\n{"a": }\n')
    with pytest.raises(BadContext, match=r"a\.jsonl, line 2, is not JSON: .* column 7"):
        stage(path, tmp_path / "broken")


def test_a_folder_is_a_dict_of_its_texts(tmp_path: Path) -> None:
    folder = written(
        tmp_path / "folder",
        {
            "b.txt": "b",
            "a/deep/c.md": "\u00e9\r\n",
            "a/empty.txt": "",
            ".hidden": "x",
            ".git/config": "x",
            "__pycache__/a.pyc": "x",
            "image.png": b"\x89PNG\r\n\x1a\n",
            "nul.bin": b"ab\0c",
            "latin.txt": "caf\u00e9".encode("latin-1"),
        },
    )
    written(tmp_path, {"outside.txt": "secret"})
    (folder / "out").symlink_to(tmp_path / "outside.txt")
    (folder / "up").symlink_to(tmp_path)
    (folder / "again").symlink_to(folder / "a")
    (folder / "same.txt").symlink_to("b.txt")
    (folder / "broken").symlink_to("nowhere")
    corpus = stage(folder, tmp_path / "context")
    texts = {"a/deep/c.md": "\u00e9\r\n", "a/empty.txt": "", "b.txt": "b", "same.txt": "b"}
    assert seen(corpus) == texts
    assert list(seen(corpus)) == sorted(texts)
    assert dict(corpus.skipped) == {
        ".git/": "hidden",
        ".hidden": "hidden",
        "__pycache__/": "compiled Python",
        "again": "a link to a folder",
        "broken": "a broken link",
        "image.png": "binary",
        "latin.txt": "not UTF-8 at byte 3",
        "nul.bin": "binary",
        "out": "a link out of the folder",
        "up": "a link out of the folder",
    }
    assert seen(stage(folder, tmp_path / "latin", "latin-1"))["latin.txt"] == "caf\u00e9"


def test_several_paths_are_named_from_the_folder_they_share(tmp_path: Path) -> None:
    written(tmp_path, {"x/a.txt": "a", "x/y/b.txt": "b", "x/y/z/c.txt": "c"})
    paths = [tmp_path / "x/y", tmp_path / "x/a.txt", tmp_path / "x/y/b.txt"]
    corpus = stage(paths, tmp_path / "context")
    assert seen(corpus) == {"a.txt": "a", "y/b.txt": "b", "y/z/c.txt": "c"}
    assert seen(stage(paths[1:2], tmp_path / "one")) == "a"
    with pytest.raises(BadContext, match="no file or folder"):
        stage([*paths, tmp_path / "missing"], tmp_path / "none")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"abc\xff\xfe", r"not UTF-8: ff \(hex\) at byte 3.*--encoding latin-1"),
        (b"a" * (1 << 20) + b"\xe2\x82", "at byte 1048576"),
        (b"a" * ((1 << 20) - 1) + b"\xe2\x82a", "at byte 1048575"),
        (b"ab\0cd", "looks binary: it has a NUL at byte 2"),
        (b"%PDF-1.7\n", "a PDF.*pdftotext"),
        (b"\x1f\x8b\x08\0", "gzip; decompress"),
        (b"PK\x03\x04", "zip"),
        ("text".encode("utf-16"), "--encoding utf-16"),
    ],
)
def test_a_file_that_is_no_text(data: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(BadContext, match=told) as caught:
        stage(path, tmp_path / "context")
    assert str(path) in str(caught.value)
    assert not (tmp_path / "context").exists()


def test_an_encoding_is_taken_at_its_word(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"caf\xe9\0")
    assert seen(stage(path, tmp_path / "latin", "latin-1")) == "caf\u00e9\0"
    with pytest.raises(BadContext, match="not ascii: it fails at byte 3"):
        stage(path, tmp_path / "ascii", "ascii")
    for name in ("no-such-thing", "rot13", "a\0b"):
        with pytest.raises(BadContext, match="no text encoding"):
            stage(path, tmp_path / "none", name)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    (tmp_path / "empty").mkdir()
    for name, told in (
        ("missing", "no file or folder"),
        ("pipe", "not a regular file"),
        ("socket", "can't read"),
        ("empty", "no text in"),
    ):
        with pytest.raises(BadContext, match=told):
            stage(tmp_path / name, tmp_path / "context")
        assert not (tmp_path / "context").exists()


@pytest.fixture
def without_rights() -> Iterator[Path]:
    """A folder, and no rights beyond its own: root, which may read everything, steps down."""
    root = os.geteuid() == 0
    with tempfile.TemporaryDirectory() as name:
        if root:
            os.chown(name, 65534, 65534)
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)


def test_a_file_that_may_not_be_read(without_rights: Path) -> None:
    folder = written(without_rights / "folder", {"a.txt": "a", "b.txt": "b"})
    (folder / "a.txt").chmod(0)
    with pytest.raises(BadContext, match="Permission denied"):
        stage(folder / "a.txt", without_rights / "context")
    skipped = stage(folder, without_rights / "rest").skipped
    assert skipped[0].reason.startswith("can't be read")


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text("a" * (3 << 20))
    parts = read_parts(path)
    next(parts)
    with path.open("a") as file:
        file.write("more")
    with pytest.raises(BadContext, match="changed while it was read"):
        list(parts)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("", "empty"),
        ([], "empty"),
        ({}, "empty"),
        (["", ""], "empty"),
        ("ab\ud800", "lone surrogate .* at character 2"),
        ("x" * (1 << 20) + "\udfff", "at character 1048576"),
        (["ok", "\udc00"], r"context\[1\] has a lone surrogate .* at character 0"),
        ({"k": "a\udc00"}, r"context\['k'\] has a lone surrogate .* at character 1"),
        ({"k\udc00": "a"}, "the key .* has a lone surrogate"),
        ({1: "a"}, "keys must be text"),
        ([{1: "a"}], r"context\[0\] has the key 1"),
        ([{"a": {1, 2}}], r"context\[0\]\['a'\] is set"),
        (42, "not int"),
        (None, "not NoneType"),
        (b"bytes", "not bytes; decode it first"),
        (["a", Path("b")], "paths alone"),
    ],
)
def test_what_is_no_context(source: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(BadContext, match=told):
        stage(source, tmp_path / "context")
    assert not (tmp_path / "context").exists()


def test_a_value_that_holds_itself(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(BadContext, match="nested too deeply"):
        stage(loop, tmp_path / "context")


def test_the_folder_must_be_empty_and_writable(tmp_path: Path) -> None:
    written(tmp_path, {"other": "x"})
    with pytest.raises(BadContext, match="holds files already"):
        stage("text", tmp_path)
    assert (tmp_path / "other").read_text() == "x"
    with pytest.raises(BadContext, match="can't stage into"):
        stage("text", tmp_path / "other")
    (tmp_path / "mine").mkdir()
    with pytest.raises(BadContext, match="empty"):
        stage("", tmp_path / "mine")
    assert list((tmp_path / "mine").iterdir()) == []


def test_what_is_staged_is_read_only(tmp_path: Path) -> None:
    corpus = stage(["a", "\u00e9", {"b": 1}], tmp_path / "context")
    assert {path.stat().st_mode & 0o777 for path in corpus.folder.iterdir()} == {0o444}


def test_equal_contexts_have_equal_digests(tmp_path: Path) -> None:
    sources: list[Any] = ["ab", ["ab"], ["a", "b"], {"a": "ab"}, {"b": "ab"}, [["ab"]], ['["ab"]']]
    digests = [stage(one, tmp_path / str(at)).digest for at, one in enumerate(sources)]
    assert len(set(digests)) == len(sources)
    assert stage(["a", "b"], tmp_path / "again").digest == digests[2]
    path = tmp_path / "a.txt"
    path.write_text("ab")
    assert stage(path, tmp_path / "file").digest == digests[0]


def test_a_folder_that_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(BadContext, match="no staged context"):
        Corpus.open(tmp_path)
    folder = stage("text", tmp_path / "context").folder
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").unlink()
    (folder / "meta.json").write_text(json.dumps(meta | {"format": 99}))
    with pytest.raises(BadContext, match="format 99"):
        Corpus.open(folder)


def test_a_document_that_is_not_there(tmp_path: Path) -> None:
    for source in (["a"], {"a": "a"}, "a"):
        corpus = stage(source, tmp_path / type(source).__name__)
        for name in (7, "zz", "\ud800", -1):
            with pytest.raises(BadContext, match="no document"):
                corpus.read(name)


def test_joined_and_samples(tmp_path: Path) -> None:
    corpus = stage({"a": "x" * 500, "b": "y" * 500}, tmp_path / "context")
    assert corpus.joined() == f"--- a ---\n{'x' * 500}\n--- b ---\n{'y' * 500}"
    assert corpus.samples(3, 10) == ["x" * 10, "x" * 5 + "y" * 5, "y" * 10]
    assert corpus.samples(3, 400) == ["x" * 500 + "y" * 500]


def test_the_card_tells_what_there_is(tmp_path: Path) -> None:
    folder = written(
        tmp_path / "folder",
        {"a.txt": "", "b.txt": "first line\nsecond\n", "c.txt": "c" * 900, ".git/x": "", ".y": ""},
    )
    corpus = stage(folder, tmp_path / "context")
    assert card(corpus, layout_of(corpus), 1_234) == (
        "context is a dict of 3 documents, name -> text: 918 characters (about 1,234 tokens).\n"
        "Mixed text: 3 lines of 306 characters on average.\n"
        "Names: 'a.txt', 'b.txt', 'c.txt'\n"
        "A document has 306 characters on average; the largest: 'c.txt' (900), 'b.txt' (18), "
        "'a.txt' (0).\n"
        "Left out: 2 files or folders (2 hidden).\n"
        "context['b.txt'] begins:\n"
        "  first line\n"
        "  second"
    )


def test_the_card_of_records_and_of_one_line(tmp_path: Path) -> None:
    corpus = stage([{"a": "x"}], tmp_path / "records")
    assert "{'a': 'x'}" in card(corpus, layout_of(corpus))
    corpus = stage("x" * 100_000, tmp_path / "line")
    assert len(card(corpus, layout_of(corpus))) < 400
