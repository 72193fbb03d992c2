from __future__ import annotations

import asyncio
import contextlib
import fcntl
import multiprocessing
import os
import shutil
import signal
import threading
import time
from itertools import product
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcore.engine import desk
from outcore.engine.context import search
from outcore.engine.context.corpus import Corpus, stage
from outcore.engine.context.index_cache import IndexCache
from outcore.engine.context.ranking import Wanted
from outcore.engine.context.search import SearchIndex
from outcore.engine.context.terms import parts_of
from outcore.engine.quotes import alike
from outcore.errors import ConfigError, OutcoreError

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {
    "sea.txt": "The captain was betrayed by his cabin boy.\n" + "Waves came and went.\n" * 200,
    "code.py": "class GPUModelRunner:\n    def get_kv_cache(self): return HTTPServer2(3.14)\n",
    "dates.txt": "Signed on 2021-03-04 in caf\u00e9 Z\u00fcrich, for 1,234,567 francs.\n",
    "east.txt": "\u6771\u4eac\u30bf\u30ef\u30fc\u306f\u9ad8\u3044\u3002\n",
    "notes.txt": "The boy is not the captain of the cabin.\nThe kv store has a cache.\n",
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return stage(TEXTS, tmp_path_factory.mktemp("corpus") / "context")


@pytest.fixture(scope="module")
def index(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    return SearchIndex.open_or_build(corpus, cache=tmp_path_factory.mktemp("cache"))


def best(index: SearchIndex, query: str) -> str | int | None:
    found = index.query(query, 1)
    return found[0].document if found else None


@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("Who betrayed the captain?", "sea.txt"),
        ("BETRAYING", "sea.txt"),
        ("GPUModelRunner", "code.py"),
        ("gpu model", "code.py"),
        ("runner", "code.py"),
        ("get_kv_cache", "code.py"),
        ("kvCache", "notes.txt"),
        ("HTTPServer2", "code.py"),
        ("http", "code.py"),
        ("3.14", "code.py"),
        ("2021-03-04", "dates.txt"),
        ("1,234,567", "dates.txt"),
        ("zurich cafe", "dates.txt"),
        ("\u6771\u4eac\u30bf\u30ef\u30fc", "east.txt"),
        ("\u9ad8\u3044", "east.txt"),
        ('"cabin boy"', "sea.txt"),
        ("`captain of the cabin`", "notes.txt"),
        ("\u201ccaptain of the cabin\u201d", "notes.txt"),
        ('"betrayed boy', "sea.txt"),
        ("who is to be", "notes.txt"),
        ('"francs of gold"', "dates.txt"),
        ("1234567", "dates.txt"),
        ("where is get_kv_cache defined", "code.py"),
        ("zebra", None),
    ],
)
def test_finds(index: SearchIndex, query: str, document: str | None) -> None:
    assert best(index, query) == document


def test_passages_stand_in_the_corpus_as_told(corpus: Corpus, index: SearchIndex) -> None:
    passages = index.query("waves came", 50)
    assert len(passages) > 3
    for one in passages:
        assert one.score > 0
        assert corpus.read(one.document, one.offset, one.offset + len(one.text)) == one.text
        assert len(one.text) <= 1_000
    assert [one.score for one in passages] == sorted((one.score for one in passages), reverse=True)


CODE = {
    "a.py": "from b import Engine\nengine = Engine()\n" + "Engine.start()\n" * 30,
    "b.py": '"""The engine."""\n\n\nclass Engine:\n    LIMIT_MS = 30\n',
    "c.py": "LIMIT_MS, LIMIT_MS, LIMIT_MS\n" * 5,
    "notes.txt": "The key of blue-harbour is 3,141.\nA blue boat in the harbour.\n",
    "more.txt": "blue blue blue harbour harbour key key\n" * 3 + "Ahab: the code is 7.\n",
}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> SearchIndex:
    corpus = stage(CODE, tmp_path_factory.mktemp("code") / "context")
    return SearchIndex.open_or_build(corpus, cache=tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize(
    ("query", "document", "word"),
    [
        ("class Engine", "b.py", "Engine"),
        ("What is the value of LIMIT_MS?", "b.py", "LIMIT_MS"),
        ("`Engine`", "b.py", "Engine"),
        ("key of blue-harbour", "notes.txt", "blue-harbour"),
        ("3141", "notes.txt", "3,141"),
    ],
)
def test_what_is_defined_or_whole_comes_first(
    code: SearchIndex, query: str, document: str, word: str
) -> None:
    found = code.query(query, 3)[0]
    assert found.document == document
    assert found.line == (1 if document == "b.py" else 0)
    assert word in {found.text[one.start : one.end] for one in found.marks}


def test_several_queries_are_mixed_and_none_comes_twice(code: SearchIndex) -> None:
    found = code.find(["class Engine", "3,141", "class Engine"], 2).passages
    assert [one.document for one in found[:2]] == ["b.py", "notes.txt"]
    assert len({(one.document, one.offset) for one in found}) == len(found)


def test_what_stands_nowhere_is_told_with_what_is_spelled_alike(code: SearchIndex) -> None:
    assert code.find(["key of blue-harbor"]).note == (
        "'blue-harbor' is nowhere in the context; spelled alike: 'blue-harbour'."
    )
    found = code.find(["Ahap"])
    assert found.passages == ()
    assert "'Ahap' is nowhere in the context; spelled alike: 'Ahab'" in found.note
    assert "more.txt @ 0 has it: " in found.note
    assert code.find(["Engine"]).note == ""


@pytest.mark.parametrize(
    ("quote", "stands"),
    [
        ("the key  of 'blue-harbour' is 3,141", "The key of blue-harbour is 3,141."),
        ("A BLUE BOAT\nin the \u201charbour\u201d.", "A blue boat in the harbour."),
        ("The key of blue-harbour is 7.", None),
    ],
)
def test_a_quote_with_other_marks_is_found(
    code: SearchIndex, quote: str, stands: str | None
) -> None:
    assert alike(code._corpus, code, quote) == stands


def test_fewer_than_asked_where_fewer_are_good(index: SearchIndex) -> None:
    assert [one.document for one in index.query('"cabin boy"', 5)] == ["sea.txt"]
    assert len(index.query("waves", 3)) == 3


def test_equal_passages_come_in_their_order(index: SearchIndex) -> None:
    found = index.query("waves", 3)
    assert [one.offset for one in found] == sorted(one.offset for one in found)


@pytest.mark.parametrize("query", ["", "   ", "?!", '""', "\n\U0001f642"])
def test_a_query_needs_words(index: SearchIndex, query: str) -> None:
    with pytest.raises(ConfigError, match="needs words or numbers"):
        index.query(query)


@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from(
            ["AND", "NOT", '"', "(", ")", "captain", "^2", "~", "*", "words:", "[a TO b]", "\ud800"]
        )
    ).map(" ".join)
)
def test_nothing_in_a_query_is_syntax(index: SearchIndex, query: str) -> None:
    with contextlib.suppress(ConfigError):  # where it holds no word
        assert len(index.query(query, 3)) <= 3


def test_a_long_query_is_no_trouble(index: SearchIndex) -> None:
    words = " ".join("".join(letters) for letters in product("bcdfghjklmnpqrstvwxz", repeat=3))
    assert index.query(f"betrayed captain {words}", 1)[0].document == "sea.txt"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", ["a", "A", "0a", "\u4e2da", "a.", "1'", '"a" ', "a_", "`b` "])
def test_no_query_takes_long(index: SearchIndex, piece: str) -> None:
    with contextlib.suppress(ConfigError):
        index.query(f"captain {piece * (1 << 20)}")


@pytest.mark.parametrize("name", ["getKVCache", "_private", "HTTPServer", "a.b_c", "x2Y", "$el_a"])
def test_names_in_a_query_are_seen(name: str) -> None:
    assert name.rpartition(".")[2] in Wanted.of(f"\u627e {name}\u3002", {}, 1).names


def test_parts_of_identifiers() -> None:
    assert parts_of("HTTPServer get_KVCache2 plain Title UPPER") == "HTTP Server get KV Cache 2"
    assert parts_of("caf\u00e9_na\u00efve x86_64 __init__") == "caf\u00e9 na\u00efve x 86 64 init"


async def test_not_all_that_was_ever_found_is_held(
    corpus: Corpus, index: SearchIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "_MOST_SHOWN", 3)
    built: asyncio.Future[SearchIndex] = asyncio.get_running_loop().create_future()
    built.set_result(index)
    none: Any = None
    run = desk.Desk(corpus, built, none, none)
    for query in ("waves", "captain", "francs"):
        await run.handle("search", {"query": query, "k": 2})
    assert len(run.shown) == 3
    assert run.shown[-1].document == "dates.txt"


def test_an_index_is_built_once(corpus: Corpus, tmp_path: Path) -> None:
    SearchIndex.open_or_build(corpus, cache=tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    before = (folder / "meta.json").stat().st_mtime_ns
    again = stage(TEXTS, tmp_path / "again" / "context")
    assert best(SearchIndex.open_or_build(again, cache=tmp_path), "betrayed") == "sea.txt"
    assert (folder / "meta.json").stat().st_mtime_ns == before


def test_the_cache_is_under_the_home(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTCORE_HOME", str(tmp_path))
    SearchIndex.open_or_build(corpus)
    assert (tmp_path / "index" / f"{corpus.digest}-2").is_dir()


@pytest.mark.parametrize("damage", ["cut", "flipped", "removed", "no manifest"])
def test_a_damaged_index_is_built_anew(corpus: Corpus, tmp_path: Path, damage: str) -> None:
    SearchIndex.open_or_build(corpus, cache=tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    victim = max(folder.glob("*.term"), key=lambda path: path.stat().st_size)
    data = victim.read_bytes()
    if damage == "no manifest":
        (folder / "manifest.json").unlink()
    else:
        # Not in place: the index that was built may still have the file mapped.
        victim.unlink()
    if damage == "cut":
        victim.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        victim.write_bytes(data[:40] + bytes([data[40] ^ 0xFF]) + data[41:])
    assert best(SearchIndex.open_or_build(corpus, cache=tmp_path), "betrayed") == "sea.txt"


def test_a_damaged_index_that_others_write_to_is_built_anew(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock of one that has it open appears in the folder while it is removed."""
    SearchIndex.open_or_build(corpus, cache=tmp_path)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    (folder / "manifest.json").unlink()
    plain = shutil.rmtree

    def busy(path: Path, **how: Any) -> None:
        plain(path, **how)
        if path == folder:
            folder.mkdir()
            (folder / ".tantivy-meta.lock").touch()

    monkeypatch.setattr(shutil, "rmtree", busy)
    assert best(SearchIndex.open_or_build(corpus, cache=tmp_path), "betrayed") == "sea.txt"


def _build_slowly(folder: Path, cache: Path) -> None:
    passages = search._passages
    first = threading.Event()

    def slow(corpus: Corpus):  # type: ignore[no-untyped-def]
        for passage in passages(corpus):
            if first.is_set():
                time.sleep(60)
            first.set()
            yield passage

    search._passages = slow
    SearchIndex.open_or_build(Corpus.open(folder), cache=cache)


def test_a_killed_build_leaves_nothing_that_looks_whole(corpus: Corpus, tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(
        target=_build_slowly, args=(corpus.folder, tmp_path)
    )
    child.start()
    deadline = time.monotonic() + 100
    while not list(tmp_path.glob("*.partial/meta.json")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert best(SearchIndex.open_or_build(corpus, cache=tmp_path), "betrayed") == "sea.txt"
    assert not list(tmp_path.glob("*.partial"))


def test_a_build_can_be_stopped(corpus: Corpus, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(OutcoreError, match="was stopped"):
        SearchIndex.open_or_build(corpus, cache=tmp_path, stop=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_the_wait_for_another_build_can_be_stopped(corpus: Corpus, tmp_path: Path) -> None:
    cache, stop = tmp_path / "cache", threading.Event()
    cache.mkdir()
    with (cache / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        threading.Timer(0.2, stop.set).start()
        with pytest.raises(OutcoreError, match="was stopped"):
            SearchIndex.open_or_build(corpus, cache=cache, stop=stop)
    assert SearchIndex.open_or_build(corpus, cache=cache).query("captain")


def test_an_index_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        made = IndexCache(tmp_path / "a" / "cache", 1 << 20).put("one", lambda folder: None)
    finally:
        os.umask(before)
    assert made.stat().st_mode & made.parent.stat().st_mode & 0o077 == 0
    assert made.parent.stat().st_mode & 0o077 == 0


def test_a_process_forked_in_a_build_keeps_no_later_one_waiting(tmp_path: Path) -> None:
    cache = IndexCache(tmp_path / "cache", 1 << 20)
    forked: list[int] = []

    def build(folder: Path) -> None:
        (folder / "x").write_text("x")
        # As engines are, and without their noise.
        if (pid := os.fork()) == 0:
            signal.pause()
        forked.append(pid)

    cache.put("one", build)
    stop = threading.Event()
    late = threading.Timer(60, stop.set)
    late.start()
    try:
        assert cache.put("two", lambda folder: None, stop).is_dir()
    finally:
        late.cancel()
        os.kill(forked[0], signal.SIGKILL)
        os.waitpid(forked[0], 0)


def test_threads_that_ask_for_the_same_index_share_it(corpus: Corpus, tmp_path: Path) -> None:
    found: list[str | int | None] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(
                best(SearchIndex.open_or_build(corpus, cache=tmp_path), "betrayed")
            )
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["sea.txt"] * 4
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1


def test_a_cache_that_can_not_be_written_to(corpus: Corpus, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="set OUTCORE_HOME"):
        SearchIndex.open_or_build(corpus, cache=tmp_path / "file")


def test_the_oldest_goes_first(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "data").write_bytes(b"x" * 1_000)

    cache = IndexCache(tmp_path, 3_500)
    for number, key in enumerate("abc"):
        os.utime(cache.put(key, build) / "manifest.json", (number, number))
    assert cache.get("a") == tmp_path / "a"  # used just now
    cache.put("d", build)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a", "c", "d"]
    IndexCache(tmp_path, 1).put("e", build)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["e"]
