from __future__ import annotations

import operator
import pickle
import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcore.engine.context.corpus import stage
from outcore.kernel_sandbox.inside import grep
from outcore.kernel_sandbox.inside.corpus import Context, open_context
from outcore.kernel_sandbox.inside.cuts import cuts
from outcore.kernel_sandbox.inside.grep import compile_pattern
from outcore.kernel_sandbox.inside.look import Look
from outcore.kernel_sandbox.inside.staged import Staged
from outcore.kernel_sandbox.inside.text import Text

if TYPE_CHECKING:
    from pathlib import Path

HINTS = {"slice_tokens": 10, "chars_per_token": 3.0}


def opened(source: Any, folder: Path, *, eager_bytes: int = 1 << 20) -> Context:
    stage(source, folder)
    return open_context(folder, eager_bytes=eager_bytes)


@pytest.fixture(params=[1 << 20, 0], ids=["eager", "lazy"])
def look(request: pytest.FixtureRequest, tmp_path: Path) -> Look:
    source = {
        "one.txt": "The Captain\nsaw the whale. caf\u00e9 \U0001f642 Captain!\n",
        "two.txt": "",
        "three.txt": "No one saw the captain (again).\r\n",
    }
    return Look(opened(source, tmp_path / "context", eager_bytes=request.param), HINTS)


def test_hits_come_in_order_with_their_place(look: Look) -> None:
    hits = look.grep("captain", around=4)
    assert [(hit.document, hit.offset) for hit in hits] == [
        ("one.txt", 4),
        ("one.txt", 34),
        ("three.txt", 15),
    ]
    assert [hit.match for hit in hits] == ["Captain", "Captain", "captain"]
    assert [hit.text for hit in hits] == [
        "The Captain\nsaw",
        "\u00e9 \U0001f642 Captain!\n",
        "the captain (ag",
    ]
    assert [hit.start for hit in hits] == [0, 30, 11]


def test_case_counts_when_asked(look: Look) -> None:
    assert len(look.grep("captain", flags=0)) == 1
    assert len(look.grep(re.compile("Captain"))) == 2
    assert len(look.grep("CAPT.IN")) == 3


def test_lines_are_what_anchors_mean(look: Look) -> None:
    assert [hit.match for hit in look.grep(r"^\w+")] == ["The", "saw", "No"]
    assert [hit.match for hit in look.grep(r"whale\..*$")] == [
        "whale. caf\u00e9 \U0001f642 Captain!"
    ]


def test_no_more_hits_than_asked_for(look: Look) -> None:
    hits = look.grep("captain", k=2)
    assert len(hits) == 2
    assert repr(hits).startswith(
        "the first 2 hits for 'captain' ... 1 more: raise k or narrow the pattern\n[0] "
    )
    assert look.grep("captain", k=3).note == "3 hits for 'captain'"
    assert look.grep("whale").note == "1 hit for 'whale'"


def test_printing_shows_the_place_and_the_text(look: Look) -> None:
    assert str(look.grep("whale", around=8)) == (
        "1 hit for 'whale'\n[0] one.txt @ 20\nsaw the whale. caf\u00e9 \U0001f642"
    )
    assert isinstance(look.grep("captain")[:2], list)
    assert "[1]" in str(look.grep("captain")[:2])


def test_what_is_no_expression_is_taken_as_text(look: Look) -> None:
    hits = look.grep("captain (again")
    assert [hit.match for hit in hits] == ["captain (again"]
    assert "taken as plain text: missing ), unterminated subpattern" in hits.note
    assert look.grep("*").note.startswith("no hit for '*' (taken as plain text: nothing to repeat")


def test_nothing_found_tells_what_was_tried_and_what_is_near(look: Look) -> None:
    hits = look.grep(r"\bcaptain\b\s+Ahab")
    assert hits == []
    assert "upper and lower case taken as equal, in 76 characters of 3 documents" in hits.note
    assert hits.note.endswith("'captain' alone has 3: try grep('captain').")
    assert look.grep("captains").note.endswith("try grep('captai').")
    assert look.grep("zebra").note.endswith("Try search() with other words.")


@pytest.mark.parametrize("pattern", [None, 3, b"x", [3]])
def test_a_pattern_is_text(look: Look, pattern: Any) -> None:
    with pytest.raises(TypeError, match="pattern as text"):
        look.grep(pattern)


def test_an_empty_pattern_is_refused(look: Look) -> None:
    with pytest.raises(ValueError, match="empty pattern"):
        look.grep("")
    assert look.grep("x*") == []


def test_other_texts_can_be_looked_through(look: Look) -> None:
    assert look.grep("b", text="abc")[0].offset == 1
    assert [hit.document for hit in look.grep("b", text=["a", "b", "bb"])] == [1, 2, 2]
    assert look.grep("b", text={"k": "b"})[0].document == "k"
    assert look.grep("b", text=[{"b": 1}])[0].text == '{"b": 1}'
    for wrong in (3, b"b", object()):
        with pytest.raises(TypeError, match="text must be"):
            look.grep("b", text=wrong)


def test_parts_keep_their_place_when_looked_through(look: Look) -> None:
    again = look.grep("captain", text=look.grep("whale", around=25), k=1)
    assert (again[0].document, again[0].offset) == ("one.txt", 4)
    hits = look.grep("captain", text=look.slices(tokens=5))
    assert [hit.offset for hit in hits] == [hit.offset for hit in look.grep("captain")]


def test_the_context_itself_may_be_named(tmp_path: Path) -> None:
    for eager_bytes in (1 << 20, 0):
        context = opened(["a", "b", "cb"], tmp_path / str(eager_bytes), eager_bytes=eager_bytes)
        found = Look(context, {}).grep("b", text=context.value)
        assert [(hit.document, hit.offset) for hit in found] == [(1, 0), (2, 1)]
        assert [one.document for one in Look(context, {}).slices(context.value)] == [0, 1, 2]
    rest = Look(context, {}).grep("b", text=context.value[2:])
    assert rest[0].document == 2


def test_a_part_is_a_string_with_fields(look: Look) -> None:
    hit = look.grep("whale", around=0)[0]
    assert hit == "whale"
    assert "".join([hit, "s"]) == "whales"
    assert hit["text"] == hit.text == "whale"
    assert type(hit.text) is str
    assert (hit["document"], hit["offset"], hit.get("match"), hit.get("x", 1)) == (
        "one.txt",
        20,
        "whale",
        1,
    )
    assert hit[1:3] == "ha"
    assert {**hit}["document"] == "one.txt"
    with pytest.raises(KeyError, match="there are document"):
        hit["txt"]
    with pytest.raises(AttributeError):
        operator.attrgetter("txt")(hit)
    copy = pickle.loads(pickle.dumps(hit))
    assert (copy, copy.document, copy.offset, copy.match) == ("whale", "one.txt", 20, "whale")


def test_a_hit_is_its_line_unless_characters_are_asked_for(look: Look) -> None:
    hit = look.grep("whale")[0]
    assert (hit.text, hit.start, hit.offset) == (
        "saw the whale. caf\u00e9 \U0001f642 Captain!",
        12,
        20,
    )
    long = look.grep("needle", text="word " * 900 + "needle" + " word" * 900)[0]
    assert len(long.text) < 420
    assert long.text.startswith("word ")
    assert long.text.endswith(" word")


@pytest.mark.parametrize(
    "given",
    [
        {"k": "1"},
        {"limit": 1},
        {"max_results": 1.0, "context": 3},
        {"n": 1, "window": "10"},
        {"top_k": 1, "ignore_case": True},
    ],
)
def test_arguments_may_have_other_names(look: Look, given: dict[str, Any]) -> None:
    assert [hit.match for hit in look.grep("captain", **given)] == ["Captain"]


def test_patterns_as_roots_write_them(look: Look) -> None:
    assert look.grep("/whale/i")[0].match == "whale"
    assert [hit.match for hit in look.grep(["whale", "again"])] == ["whale", "again"]
    assert look.grep("b", ["abc"])[0].offset == 1
    assert look.grep(regex="whale")[0].match == "whale"
    assert look.grep("captain", case_sensitive=True)[0].offset == 15
    with pytest.raises(TypeError, match=r"no argument 'folder': it is grep\("):
        look.grep("a", folder="b")


def test_code_is_printed_with_the_numbers_of_its_lines(tmp_path: Path) -> None:
    look = Look(opened({"a.py": "import re\n\ndef f():\n    pass\n"}, tmp_path / "context"), {})
    assert str(look.grep("def")) == "1 hit for 'def'\n[0] a.py @ 11\n3: def f():"


def test_many_hits_print_a_cut(tmp_path: Path) -> None:
    look = Look(opened("a line with words in it\n" * 500, tmp_path / "context"), {})
    shown = str(look.grep("words", k=300))
    assert "200 more" in shown
    assert len(shown) < 2_000
    assert "not printed" in shown


@given(st.text("ab \n\u00e9", max_size=120), st.sampled_from(["a", "A b", "b+", "a$", r"(?<=b)a"]))
def test_windows_hide_no_match(
    tmp_path_factory: pytest.TempPathFactory, plain: str, pattern: str
) -> None:
    folder = tmp_path_factory.mktemp("grep") / "context"
    stage(["x", f"{plain}.", "aaa"], folder)
    staged = Staged(folder)
    compiled = compile_pattern(pattern, re.IGNORECASE)
    expected = [one.span() for one in re.finditer(pattern, f"{plain}.", re.I | re.M)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grep, "_WINDOW", 5)
        patch.setattr(grep, "_MARGIN", 130)
        assert list(grep.matches(compiled, Text(staged, *staged.bounds(1)))) == expected
    assert list(grep.matches(compiled, f"{plain}.")) == expected


def test_a_letter_that_changes_its_length(tmp_path: Path) -> None:
    # In lower case this capital is two characters, so offsets there are not those here.
    look = Look(opened("\u0130\u0130 Captain", tmp_path / "context"), {})
    assert look.grep("captain")[0].offset == 3
    assert look.grep("\u0130")[0].offset == 0


@given(
    st.text("ab \n\r\u00e9", max_size=300),
    st.integers(1, 40),
    st.integers(0, 19),
)
def test_pieces_cover_a_text(plain: str, size: int, overlap: int) -> None:
    bounds = list(cuts(plain, size))
    assert "".join(plain[start:end] for start, end in bounds) == plain
    assert all(0 < end - start <= size for start, end in bounds)
    if size > 1:
        assert not any(plain[end - 1 : end + 1] == "\r\n" for _, end in bounds)
    overlap = min(overlap, (size - 1) // 2)
    bounds = list(cuts(plain, size, overlap))
    assert all(0 < end - start <= size for start, end in bounds)
    covered = 0
    for start, end in bounds:
        assert covered - overlap <= start <= covered < end
        covered = end
    assert covered == len(plain)


def test_slices_end_at_lines_and_never_span_documents(look: Look) -> None:
    pieces = look.slices()
    assert [(one.document, one.offset) for one in pieces] == [
        ("one.txt", 0),
        ("one.txt", 27),
        ("three.txt", 0),
        ("three.txt", 23),
    ]
    assert pieces[0] == "The Captain\nsaw the whale. "
    assert "".join(pieces[2:]) == "No one saw the captain (again).\r\n"
    assert len(pieces) == 4
    assert pieces[-1].offset == 23
    assert repr(pieces) == "<4 slices, the longest of 27 characters>"
    with pytest.raises(IndexError):
        pieces[4]


def test_slices_of_a_size(look: Look) -> None:
    assert max(map(len, look.slices(tokens=4))) <= 12
    # What is larger than a sub-call takes would only fail there.
    assert max(map(len, look.slices(tokens=1_000))) <= 30
    assert list(look.slices("a\nb\n", tokens=1)) == ["a\n", "b\n"]
    assert [one.offset for one in look.slices("a\nb\n", tokens=1)] == [0, 2]
    lapping = look.slices("abcdefghijklmnop", tokens=3, overlap=1)
    assert list(lapping) == ["abcdefghi", "ghijklmno", "mnop"]
    assert look.slices(["a"]) + look.slices(["b"]) == ["a", "b"]
    for tokens, overlap in ((0, 0), (-1, 0), (4, 2), (4, -1)):
        with pytest.raises(ValueError, match=r"slices\(\): "):
            look.slices(tokens=tokens, overlap=overlap)


@given(st.lists(st.text("ab\n\u00e9", max_size=90), min_size=1), st.integers(1, 9))
def test_slices_join_to_the_text(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], tokens: int
) -> None:
    folder = tmp_path_factory.mktemp("slices") / "context"
    texts = [*texts, "end"]
    for eager_bytes in (1 << 20, 0):
        if eager_bytes:
            stage(texts, folder)
        look = Look(open_context(folder, eager_bytes=eager_bytes), HINTS)
        pieces = list(look.slices(tokens=tokens))
        assert "".join(pieces) == "".join(texts)
        for piece in pieces:
            assert isinstance(piece.document, int)
            whole = texts[piece.document]
            assert whole[piece.offset : piece.offset + len(piece)] == piece


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["f(", "bar"], ["f(", "bar"]),
        (["(?i)FOO", "bar"], ["bar", "foo"]),
        (["a)(b", "bar"], ["bar"]),
        (["ba.", "fo+"], ["bar", "foo"]),
    ],
)
def test_each_of_several_patterns_is_taken_as_it_would_be_alone(
    patterns: list[str], found: list[str], tmp_path: Path
) -> None:
    look = Look(opened("the f(x) and bar, foo\n", tmp_path / "context"), HINTS)
    assert [hit.match for hit in look.grep(patterns, flags=0)] == found


def test_a_text_that_begins_with_a_number_is_no_count(tmp_path: Path) -> None:
    look = Look(opened("3 cats sat\n", tmp_path / "context"), HINTS)
    assert not look.grep("cats", "3 dogs run")
    assert look.grep("dogs", "3 dogs run")[0].match == "dogs"
    for count in ("5", " 5.0 ", 5, 5.0):
        assert look.grep("cats", count)[0].match == "cats"
