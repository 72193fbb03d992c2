"""Contexts too large for memory, on small ones: the limits are lowered, the code is the same."""

from __future__ import annotations

import json
import operator
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outcore.engine.context.corpus import stage
from outcore.kernel_sandbox.inside import containers, staged, text
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.queries import as_text, pairs
from outcore.kernel_sandbox.inside.saying import as_answer
from outcore.kernel_sandbox.inside.staged import Staged
from outcore.kernel_sandbox.inside.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WORDS = st.text("ab\u00e9\U0001f642 \n\r\x85\u2028,", max_size=80)


@pytest.fixture(autouse=True, scope="module")
def small_windows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staged, "_WINDOW", 7)
        yield


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "PART", 10)
    monkeypatch.setattr(containers, "PART", 10)


def lazily(content: str, folder: Path) -> Text:
    """`content` as a Text that begins within the blob."""
    stage(["before\u00e9", content, "after"], folder)
    opened = Staged(folder)
    return Text(opened, *opened.bounds(1))


@given(WORDS, st.text("ab\u00e9\U0001f642 \n", max_size=3), st.integers(-90, 90), st.data())
@settings(max_examples=150)
def test_reads_like_a_str(
    tmp_path_factory: pytest.TempPathFactory, plain: str, part: str, start: int, data: Any
) -> None:
    lazy = lazily(plain, tmp_path_factory.mktemp("text") / "context")
    end = data.draw(st.none() | st.integers(-90, 90))
    step = data.draw(st.sampled_from([None, 1, 2, 5, -1, -3]))
    assert len(lazy) == len(plain)
    assert lazy == plain
    assert str(lazy) == plain
    assert "".join(lazy) == plain
    assert lazy[start:end:step] == plain[start:end:step]
    assert (part in lazy) == (part in plain)
    assert lazy.find(part, start, end) == plain.find(part, start, end)
    assert lazy.count(part, start, end) == plain.count(part, start, end)
    assert lazy.startswith(part) == plain.startswith(part)
    assert lazy.endswith(("x", part)) == plain.endswith(("x", part))
    for keepends in (False, True):
        assert list(lazy.splitlines(keepends)) == plain.splitlines(keepends)
    lines, expected = lazy.splitlines(), plain.splitlines()
    assert len(lines) == len(expected)
    assert lines[start:end:step] == expected[start:end:step]
    for at in range(len(expected)):
        assert lines[at] == expected[at]
        assert lines[at - len(expected)] == expected[at]
    if part:
        assert list(lazy.split(part)) == plain.split(part)
        assert len(lazy.split(part)) == len(plain.split(part))


def test_far_lines_and_pieces(tmp_path: Path) -> None:
    plain = "".join(f"{number} \u00e9\r\n" for number in range(5_000))
    lazy = lazily(plain, tmp_path / "context")
    assert lazy.splitlines()[4_321] == "4321 \u00e9"
    assert lazy.splitlines()[-1] == "4999 \u00e9"
    assert lazy.splitlines()[2_047:2_050] == plain.splitlines()[2_047:2_050]
    assert lazy.splitlines()[:3] == plain.splitlines()[:3]
    assert lazy.split("\r\n")[3_000] == "3000 \u00e9"
    assert lazy.split("\r\n")[5_000] == ""
    assert lazy.index("4000") == plain.index("4000")
    with pytest.raises(IndexError):
        lazy.splitlines()[5_000]
    with pytest.raises(IndexError):
        lazy[len(lazy)]
    with pytest.raises(ValueError, match="not found"):
        lazy.index("nowhere")


@pytest.mark.usefixtures("small_parts")
def test_what_needs_the_whole_text_says_what_to_use(tmp_path: Path) -> None:
    lazy = lazily("a long text that does not fit", tmp_path / "context")
    uses: list[Any] = [
        str,
        "{}".format,
        hash,
        lambda one: one.lower(),
        lambda one: one + "x",
        lambda one: "x" + one,
        lambda one: one.split(),
        lambda one: re.findall("a", one),
        lambda one: json.loads(one),
        lambda one: "".join(["a", one]),
        lambda one: one.splitlines()[0],
    ]
    for use in uses:
        with pytest.raises(TypeError, match=r"slices\(\)"):
            use(lazy)
    assert "a long text" in repr(lazy)
    assert isinstance(lazy[2:], Text)
    assert lazy[2:][5:9] == "text"
    assert lazy[2:8] == "long t"
    assert isinstance(lazy[2:8], str)
    with pytest.raises(AttributeError):
        operator.attrgetter("no_such_thing")(lazy)


@pytest.mark.usefixtures("small_parts")
def test_a_large_plain_text_is_a_text(tmp_path: Path) -> None:
    stage("0123456789a", tmp_path / "context")
    context = open_context(tmp_path / "context", eager_bytes=0)
    assert isinstance(context.value, Text)
    (document,) = context.documents
    assert document == ("context", context.value)


def test_a_lazy_list(tmp_path: Path) -> None:
    source = ["a", {"b": [1]}, "", "d"]
    stage(source, tmp_path / "context")
    context = open_context(tmp_path / "context", eager_bytes=0)
    value = context.value
    assert context.kind == "list"
    assert value == source
    assert value[-1] == "d"
    assert list(value[1:3]) == source[1:3]
    assert list(value[::-1]) == source[::-1]
    assert "d" in value
    assert value.index("d") == 3
    assert "list of 4" in repr(value)
    with pytest.raises(IndexError):
        value[4]
    assert list(context.documents) == [(0, "a"), (1, '{"b": [1]}'), (2, ""), (3, "d")]


def test_a_lazy_dict(tmp_path: Path) -> None:
    source = {"b": "x", "": "y", "\u00e9": {"k": None}, "a": "z", "ab": "w"}
    stage(source, tmp_path / "context")
    context = open_context(tmp_path / "context", eager_bytes=0)
    value = context.value
    assert list(value) == list(source)
    assert list(value.items()) == list(source.items())
    assert list(value.values()) == list(source.values())
    assert all(value[key] == source[key] for key in source)
    assert "a" in value
    assert all(key not in value for key in ("aa", 0, None, "\ud800"))
    assert value.get("zz", 3) == 3
    assert "dict of 5" in repr(value)
    with pytest.raises(KeyError):
        value["zz"]
    assert context.documents[2] == ("\u00e9", '{"k": null}')


def test_loads_what_fits_and_no_more(tmp_path: Path) -> None:
    # A character of 4 bytes makes all of them 4 bytes wide.
    stage("\U0001f642" + "a" * 999, tmp_path / "wide")
    assert Staged(tmp_path / "wide").meta.memory >= 4_000
    stage("a" * 1_000, tmp_path / "narrow")
    assert Staged(tmp_path / "narrow").meta.memory < 1_100
    stage(["\U0001f642", "a" * 999], tmp_path / "list")
    assert Staged(tmp_path / "list").meta.memory < 1_300


def test_a_folder_of_another_format(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"meta\.json"):
        open_context(tmp_path)


@pytest.mark.usefixtures("small_parts")
def test_lists_read_lazily_are_asked_about_like_those_in_memory(tmp_path: Path) -> None:
    given = (["one", "two \u00e9"], {"a": "\u00e9", "b": "two"})
    for number, source in enumerate(given):
        stage(source, tmp_path / str(number))
        texts = [
            as_text(open_context(tmp_path / str(number), eager_bytes=most).value)
            for most in (0, 1 << 30)
        ]
        assert texts[0] == texts[1]
        assert "\u00e9" in texts[0]
    lines = lazily("a longer\ntext\n", tmp_path / "lines").splitlines()
    assert as_text(lines) == "a longer\ntext"


@pytest.mark.usefixtures("small_parts")
def test_a_large_text_is_one_text_and_not_its_characters(tmp_path: Path) -> None:
    large = lazily("a text of some length", tmp_path / "context")
    assert pairs(["Who?", "When?"], large) == [("Who?", large), ("When?", large)]
    assert pairs("Who?", large) == [("Who?", large)]
    for use in (as_text, as_answer):
        with pytest.raises(TypeError, match="whole text in memory"):
            use(large)
