"""Small readers of foreign text: dates, shapes, layouts, memo entries and keys; and results."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fuzzing import examples, mutated, rounds
from hypothesis import given
from hypothesis import strategies as st

from outcore.ask import as_json, show
from outcore.engine.batching import memo_entry
from outcore.engine.batching.identity import identity
from outcore.engine.budget import Usage
from outcore.engine.context.shapes import shape_of
from outcore.engine.result import Citation, Completion
from outcore.kernel_sandbox.inside.dates import as_date, dates_in, is_date, month_of
from outcore.kernel_sandbox.inside.layout import Layout
from outcore.kernel_sandbox.inside.patterns import PATTERNS
from outcore.kernel_sandbox.inside.shapes import parser
from outcore.models.engine import Asked, ChatPrompt, Generation, Message, Request, TokenPrompt

if TYPE_CHECKING:
    from outcore.models.engine import Prompt

DATE_PIECES = st.sampled_from(
    [
        "Jun",
        "June",
        "29",
        "2022",
        "22",
        "-",
        "/",
        ".",
        ",",
        " ",
        ":",
        "T",
        "Z",
        "th",
        "of",
        "mon",
        "10:00",
        "+02:00",
        "\u5e74",
        "\u6708",
        "\u65e5",
        "\u0663",
        "99999999999",
        "0000",
        "31",
        "am",
        "\n",
    ]
)
DATE_TEXT = st.lists(DATE_PIECES | st.text(max_size=3), max_size=14).map("".join)
DAYS = st.dates(date(1970, 1, 1), date(2069, 12, 31))
LINE = st.text("ab1 \t|,:;='\"[](){}-#.\u00e9\u2028\x00\\", max_size=50)


@given(DATE_TEXT, st.sampled_from([None, True, False]))
@examples(300)
def test_any_text_is_a_date_or_none(text: str, day_first: bool | None) -> None:
    found = as_date(text, day_first)
    assert found is None or isinstance(found, date)
    is_date(text)
    month_of(text)
    for start, end, day in dates_in(text, day_first):
        assert 0 <= start < end <= len(text)
        assert as_date(text[start:end], day_first) == day


@given(
    st.integers()
    | st.floats()
    | st.sampled_from([10**400, -(10**400), float("nan"), float("inf"), 10**11 - 1, 1e20])
)
@examples(200)
def test_any_number_is_a_date_or_none(number: float) -> None:
    found = as_date(number)
    assert found is None or isinstance(found, date)
    as_date(str(number) if abs(number) < 10**300 else "9" * 400)


@given(DAYS)
@examples(150)
def test_days_written_in_every_form_are_read(day: date) -> None:
    for form in ("%Y-%m-%d", "%d %B %Y", "%b %d, %Y", "%d.%m.%Y", "%m/%d/%Y", "%Y%m%d"):
        assert as_date(day.strftime(form)) == day, form
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    assert as_date(noon) == day
    if day > date(1973, 4, 1):
        assert as_date(int(noon.timestamp())) == day
        assert as_date(noon.timestamp() * 1_000) == day
    assert as_date(day + timedelta(0)) == day


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        "9" * 200_000,
        "Jun " * 50_000,
        "1-" * 100_000,
        "2022-06-29 10:00:" * 10_000,
        "2022-06-29T" * 10_000,
        " " * 200_000 + "2022",
        "1/1/" * 50_000,
        "mon " * 50_000 + "x",
        "2022\u5e74 " * 50_000,
    ],
    ids=lambda text: text[:10],
)
def test_long_texts_without_a_date_end(text: str) -> None:
    as_date(text)
    is_date(text)


@given(st.lists(LINE, max_size=30), st.booleans())
@examples(120)
def test_any_lines_have_a_shape_or_none(lines: list[str], named: bool) -> None:
    fit = shape_of(lines, lines[:10], named=named)
    if fit is None:
        return
    parse = parser(fit.shape)
    for line in lines:
        values = parse(line)
        assert values is None or isinstance(values, dict)
    layout = Layout("lines", fit.shape)
    assert Layout.from_dict(json.loads(json.dumps(layout.as_dict()))) == layout


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", sorted(PATTERNS))
@pytest.mark.parametrize("piece", ["a ", "1 ", ": ", "[a] ", '"', "a: ", "\\", "- ", "1.2"])
def test_no_line_takes_a_pattern_long(name: str, piece: str) -> None:
    PATTERNS[name].match(piece * 20_000)


HALVES = st.text(max_size=6) | st.just("\ud800")
PROMPTS: st.SearchStrategy[Prompt | Asked] = (
    st.builds(Asked, HALVES, st.none() | HALVES, common=st.booleans())
    | st.builds(TokenPrompt, st.binary(max_size=8).map(lambda b: b[: len(b) // 4 * 4]))
    | st.lists(
        st.builds(Message, st.sampled_from(["system", "user", "assistant"]), HALVES), max_size=3
    ).map(lambda some: ChatPrompt(tuple(some)))
)
REQUESTS = st.builds(
    Request,
    PROMPTS,
    st.integers(1, 3),
    temperature=st.sampled_from([0.0, 0.5]),
    seed=st.none() | st.integers(0, 1),
    stop=st.lists(HALVES, max_size=2).map(tuple),
    only=st.lists(st.integers(0, 3), max_size=2).map(tuple),
)


@given(REQUESTS, REQUESTS, st.sampled_from(["m", "m2", ""]))
@examples(300)
def test_requests_have_one_key_exactly_when_they_are_the_same(
    one: Request, other: Request, model: str
) -> None:
    key = identity(model, one)
    assert key == identity(model, replace(one))
    if key is None:
        assert one.temperature > 0
        assert one.seed is None
        return
    assert len(key) == memo_entry.KEY_BYTES
    assert key != identity(model + "x", one)
    # The seed of a greedy reply says nothing.
    same = [replace(two, seed=two.seed if two.temperature else None) for two in (one, other)]
    assert (key == identity(model, other)) == (same[0] == same[1])


GENERATION = Generation("\u00e9 \ud800", (1, 2, 2**32 - 1), "stop", 7, 3, 3, (-0.5, -1.0))


def test_no_spoilt_memo_entry_is_taken() -> None:
    key = bytes(range(32))
    whole = memo_entry.encode(key, GENERATION)
    assert memo_entry.decode(key, whole) == replace(GENERATION, origin="memo")
    for chance in rounds(500):
        spoilt = mutated(chance, whole)
        assert spoilt == whole or memo_entry.decode(key, spoilt) is None
        other = mutated(chance, key)[:32].ljust(32, b"\0")
        assert other == key or memo_entry.decode(other, whole) is None


@given(HALVES, st.lists(st.builds(Citation, HALVES, st.integers(0), HALVES), max_size=2), HALVES)
@examples(60)
def test_a_result_is_always_json(answer: str, citations: list[Citation], name: str) -> None:
    completion = Completion(
        answer=answer,
        complete=True,
        citations=tuple(citations),
        usage={"root": Usage(model=name), "sub": Usage(model="b")},
        turns=1,
        seconds=0.5,
        run_dir=Path("runs") / "x",
        sandbox="bwrap",
    )
    values: dict[str, Any] = completion.as_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    for encoding in ("utf-8", "ascii", "latin-1", "cp1252"):
        printed = io.BytesIO()
        with redirect_stdout(io.TextIOWrapper(printed, encoding=encoding)) as stdout:
            print(as_json(completion))
            stdout.flush()
            assert json.loads(printed.getvalue().decode(encoding)) == values
            show(completion)
            stdout.flush()
