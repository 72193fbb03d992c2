"""Contexts of any text and bytes: every offset is Python's own offset in the decoded text."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from fuzzing import examples, rounds
from hypothesis import assume, given
from hypothesis import strategies as st

from outcore.engine.context import blob, search, textfile
from outcore.engine.context.corpus import stage
from outcore.engine.context.layout import layout_of
from outcore.engine.context.search import SearchIndex
from outcore.errors import BadContext, ConfigError
from outcore.kernel_sandbox.inside import staged as staged_module
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.look import Look
from outcore.kernel_sandbox.inside.record_list import Records
from outcore.kernel_sandbox.inside.staged import Staged

if TYPE_CHECKING:
    from collections.abc import Iterator

ODD = (
    "ab \n\r\t\x00\x0b\x0c\x1c\x85\u2028\u2029\ufeff\u0301\u05d0\u200f\u00e9\u4e2d"
    "\U0001f642|:,\"'{}"
)
TEXT = st.text(ODD, max_size=60) | st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
WORDS = st.lists(
    st.sampled_from(["whale", "caf\u00e9", "\u05e9\u05dc\u05d5\u05dd", "x\u0301", "\U0001f642"])
    | st.sampled_from(["\r", "\n", "\r\n", "\x0c", "\u2028", " ", "\x00", "\ufeff", ": ", ","]),
    max_size=30,
).map("".join)
UNMARKED = {
    "utf-16": (b"\xff\xfe", b"\xfe\xff"),
    "utf-32": (b"\xff\xfe\0\0", b"\0\0\xfe\xff"),
}
ENCODINGS = (
    "ascii",
    "latin-1",
    "cp1252",
    "utf-8",
    "utf-8-sig",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
    "utf-7",
    "shift_jis",
    "gb18030",
    "big5",
    "euc_jp",
    "iso2022_jp",
)


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Tables and windows so small that every text is beyond the first of them."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (blob, staged_module):
            patch.setattr(module, "STRIDE", 4)
        patch.setattr(staged_module, "_WINDOW", 7)
        patch.setattr(search, "_PASSAGE_CHARS", 24)
        yield


@given(st.lists(TEXT, min_size=1, max_size=5), st.data())
@examples(150)
def test_offsets_are_pythons_own(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], data: st.DataObject
) -> None:
    assume(any(texts))
    corpus = stage(texts, tmp_path_factory.mktemp("any") / "context")
    whole = "".join(texts)
    opened = Staged(corpus.folder)
    assert opened.read(0, len(whole)) == whole
    for _ in range(5):
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, len(whole)))
        assert opened.read(start, end) == whole[start:end]
        assert opened.byte_of(start) == len(whole[:start].encode())
        assert opened.char_of(opened.byte_of(start)) == start
        if needle := whole[start : start + 3]:
            byte = opened.find(needle.encode(), 0, opened.meta.bytes)
            assert opened.char_of(byte) == whole.find(needle)
            for place in corpus.find_all(needle, 100):
                assert texts[int(place.document)].startswith(needle, place.offset)
    for number, text in enumerate(texts):
        assert corpus.read(number) == text
    assert corpus.lines == whole.count("\n")


@given(st.lists(WORDS | TEXT, min_size=1, max_size=4), st.sampled_from([0, 1 << 20]))
@examples(100)
def test_places_of_hits_and_slices(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], eager: int
) -> None:
    assume(any(texts))
    folder = tmp_path_factory.mktemp("hits") / "context"
    named = {f"{n}.txt": text for n, text in enumerate(texts)}
    stage(named, folder)
    look = Look(open_context(folder, eager_bytes=eager), {"slice_tokens": 3, "chars_per_token": 3})
    for pattern in ("whale", r"^.+$", r"\w+\s?", "caf\u00e9|\u05e9", "\u2028"):
        expected = {
            name: [m.span() for m in re.finditer(pattern, text, re.I | re.M) if m.group()]
            for name, text in named.items()
        }
        hits = look.grep(pattern, k=1_000)
        for hit in hits:
            text = named[str(hit.document)]
            assert text.startswith(hit.match, hit.offset)
            assert text.startswith(hit.text, hit.start)
            assert hit.start <= hit.offset
        found = {name: [h.offset for h in hits if h.document == name] for name in named}
        assert found == {name: [low for low, _ in spans] for name, spans in expected.items()}
    pieces: dict[str, str] = dict.fromkeys(named, "")
    for piece in look.slices():
        assert named[str(piece.document)].startswith(piece.text, piece.offset)
        assert len(pieces[str(piece.document)]) == piece.offset
        pieces[str(piece.document)] += piece.text
    assert pieces == named


@given(st.lists(WORDS, min_size=1, max_size=3))
@examples(12)
def test_places_of_passages(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    assume(any(texts))
    folder = tmp_path_factory.mktemp("search")
    corpus = stage(texts, folder / "context")
    index = SearchIndex.open_or_build(corpus, cache=folder / "index")
    for query in ("whale", "caf\u00e9 whale", "\u05e9\u05dc\u05d5\u05dd"):
        passages = index.query(query, 50)
        for one in passages:
            assert texts[int(one.document)].startswith(one.text, one.offset)
        if re.search(r"\bwhale\b", " ".join(texts)) and "whale" in query:
            assert passages


LINES = st.lists(
    st.sampled_from(
        [
            "id: 1 || user: a || text: x",
            "id: 2 || user: \u00e9 || text: \u2028y\x0c",
            '{"a": 1, "b": "x\\u2028"}',
            '{"a": 1e999, "b": NaN}',
            '{"a": ' + "9" * 5_000 + "}",
            "[" * 3_000,
            "a,b,c",
            '1,"two\n2",3',
            '1,"not closed',
            "2024-01-02 10:00:00 INFO all well",
            "Ann: hello",
            "Bob: hi",
            "# head",
            "\ufeffid: 3 || user: b || text: z",
            "",
            " ",
            "\x00",
            "plain words\rand a return",
        ]
    )
    | TEXT,
    min_size=1,
    max_size=12,
)


@given(st.lists(LINES, min_size=1, max_size=2), st.sampled_from(["\n", "\r\n", "\r", "\n\r\n"]))
@examples(120)
def test_records_and_the_rest_are_all_there_is(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[str]], end: str
) -> None:
    """Each line that is not blank stands in a record or in the rest, once, where it says."""
    texts = [end.join(lines) for lines in files]
    assume(any(texts))
    folder = tmp_path_factory.mktemp("records") / "context"
    corpus = stage(texts, folder)
    records = Records(open_context(folder), layout_of(corpus))
    entries = [(one.document, one.offset, str(one.line)) for one in records]
    entries += [(one.document, one.offset, one.text) for one in records.rest]
    for number, offset, line in entries:
        assert texts[int(number)].startswith(line, offset)
    for number, text in enumerate(texts):
        left = text
        for offset, line in sorted((o, t) for n, o, t in entries if n == number):
            assert left[offset : offset + len(line)] == line
            left = left[:offset] + " " * len(line) + left[offset + len(line) :]
        assert not left.strip(" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029\ufeff\u3000\xa0")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_any_bytes_in_any_encoding(
    encoding: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Python decodes is staged as it decodes it; else the fault is where Python has it."""
    monkeypatch.setattr(textfile, "_CHUNK", 5)
    folder = tmp_path_factory.mktemp("bytes")
    path = folder / "a.txt"
    for number, chance in enumerate(rounds(40)):
        text = "".join(chance.choice("ab \n\u00e9\u4e2d\U0001f642+~") for _ in range(12))
        data = text.encode(encoding, "ignore")
        if chance.random() < 0.6:
            at = chance.randrange(len(data) + 1)
            data = data[:at] + chance.randbytes(chance.randint(1, 4)) + data[at:]
        path.write_bytes(data)
        into = folder / f"context{number}"
        bare = data and not data.startswith(UNMARKED.get(encoding, b""))
        if bare:
            with pytest.raises(BadContext, match=f"no byte order mark.*{encoding}-le"):
                stage(path, into, encoding)
            continue
        try:
            expected = data.decode(encoding)
            expected.encode()
        except UnicodeEncodeError:
            with pytest.raises(BadContext, match="half of a surrogate pair"):
                stage(path, into, encoding)
            continue
        except UnicodeDecodeError as error:
            with pytest.raises(BadContext, match=r"at byte \d+") as caught:
                stage(path, into, encoding)
            told = re.search(r"at byte (\d+)", str(caught.value))
            assert told is not None
            # Python counts from after a mark at the start; some states have no place in the bytes.
            start = error.start + len(data) - len(error.object)
            if encoding not in ("utf-7", "iso2022_jp"):
                assert int(told[1]) == start, data
            continue
        if not expected:
            continue
        corpus = stage(path, into, encoding)
        assert corpus.read("a.txt") == expected
        assert corpus.chars == len(expected)


@given(st.binary(min_size=1, max_size=80))
@examples(150)
def test_any_bytes_without_an_encoding(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("plain")
    (folder / "a.txt").write_bytes(data)
    (folder / "a.jsonl").write_bytes(data)
    with suppress(BadContext):
        corpus = stage(folder / "a.txt", folder / "text")
        assert corpus.read("a.txt") == data.decode()
    with suppress(BadContext):
        corpus = stage(folder / "a.jsonl", folder / "lines")
        assert "".join(corpus.read(n) for n in range(len(corpus.documents))) == data.decode()
        open_context(corpus.folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.lists(JSON, min_size=1, max_size=4) | st.dictionaries(st.text(max_size=5), JSON, min_size=1)
)
@examples(100)
def test_any_values_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, source: Any
) -> None:
    folder = tmp_path_factory.mktemp("values") / "context"
    with suppress(BadContext):
        stage(source, folder)
        for eager in (0, 1 << 20):
            value = open_context(folder, eager_bytes=eager).value
            assert (list(value) if isinstance(source, list) else dict(value.items())) == source


@given(st.text(max_size=30))
@examples(60)
def test_any_query_is_answered_or_refused(
    tmp_path_factory: pytest.TempPathFactory, query: str
) -> None:
    index = _index(tmp_path_factory)
    with suppress(ConfigError):
        index.query(query)


_KEPT: list[SearchIndex] = []


def _index(factory: pytest.TempPathFactory) -> SearchIndex:
    if not _KEPT:
        folder = factory.mktemp("index")
        corpus = stage(["The whale.", "AND OR NOT (x) +y -z"], folder / "context")
        _KEPT.append(SearchIndex.open_or_build(corpus, cache=folder / "index"))
    return _KEPT[0]
