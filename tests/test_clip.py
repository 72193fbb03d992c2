from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from outcore.engine.clip import clip


def test_what_fits_is_left_alone() -> None:
    assert clip("abc\n", 4) == "abc\n"


def test_cuts_at_line_ends_and_tells_how_much() -> None:
    text = "".join(f"line {number}\n" for number in range(100))
    cut = clip(text, 200)
    head, left_out, tail = re.fullmatch(
        r"(.*)\n\[\.\.\. ([\d,]+) characters left out \.\.\.\]\n(.*)", cut, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    assert head.startswith("line 0\n")
    assert tail.endswith("line 99\n")
    assert all(re.fullmatch(r"line \d+", line) for line in (head + "\n" + tail).splitlines())
    assert len(head) + int(left_out) + len(tail) == len(text)
    assert len(cut) > 150


def test_one_long_line_is_cut_within() -> None:
    cut = clip("a" * 1_000 + "b" * 1_000, 200)
    assert cut.startswith("aaaa")
    assert cut.endswith("bbbb")


@given(st.text(alphabet="ab\n", max_size=400), st.integers(-1, 300))
def test_never_longer_than_the_limit(text: str, limit: int) -> None:
    cut = clip(text, limit)
    assert len(cut) <= max(limit, 0) or cut == text
    head, found, tail = cut.partition("characters left out")
    if found:
        start, end = head.rpartition("\n[")[0], tail.partition("]\n")[2]
        assert text.startswith(start)
        assert text.endswith(end)
