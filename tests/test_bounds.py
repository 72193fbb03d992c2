"""Numbers that a question bounds a field by, and the records that are meant then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from planning import planned, scene_of

from outcore.engine.plans.bounds import bounds
from outcore.engine.plans.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path

ORDERS = "city,unit_price,items,opened\n" + "".join(
    f"Town{n % 3},{n}.5,{n % 7},2024-0{1 + n % 9}-11\n" for n in range(60)
)
ROWS = [(f"Town{n % 3}", n + 0.5, n % 7, 1 + n % 9) for n in range(60)]
CHOSEN = [price for _, price, items, _ in ROWS if 2 <= items <= 4]
AMOUNTS = "name,amount\n" + "".join(f"Bob{n},{n * 7}\n" for n in range(60))


@pytest.mark.parametrize(
    ("words", "low", "high"),
    [
        ("above 15", (">", 15), None),
        ("more than 1,000.50", (">", 1000.5), None),
        ("at least 3", (">=", 3), None),
        ("no less than 3", (">=", 3), None),
        ("greater than or equal to 3", (">=", 3), None),
        ("not over 7", None, ("<=", 7)),
        ("no more than 7", None, ("<=", 7)),
        ("under $20", None, ("<", 20)),
        ("below -4", None, ("<", -4)),
        ("<= 4", None, ("<=", 4)),
        ("> 4", (">", 4), None),
        ("5 or more", (">=", 5), None),
        ("5 kg or less", None, ("<=", 5)),
        ("between 2 and 4", (">=", 2), ("<=", 4)),
        ("from $2 to $4.5", (">=", 2), ("<=", 4.5)),
    ],
)
def test_bounds(words: str, low: tuple[str, float] | None, high: tuple[str, float] | None) -> None:
    [bound] = bounds(f"Which have a price {words}?")
    assert (bound.low, bound.high) == (low, high)
    assert f"Which have a price {words}?"[bound.start : bound.end] == words


@pytest.mark.parametrize(
    "words", ["of 15", "over the hills", "in 2024", "moreover 5", "above all", "number 7"]
)
def test_what_bounds_nothing(words: str) -> None:
    assert bounds(f"Which have a price {words}?") == ()


def meant(question: str, context: str, tmp_path: Path) -> tuple[str, ...]:
    return Limits.of(scene_of(tmp_path, question, context), ("15", "3")).fields


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        ("How many have a unit price above 15?", ("unit_price",)),
        ("How many have more than 3 items?", ("items",)),
        ("How many have items that are at least 3 with a unit price under 15?",
         ("items", "unit_price")),
        ("Which cities have more than 3 rows?", ()),
        ("How many rows opened more than 15 days ago?", ()),
    ],
)  # fmt: skip
def test_the_field_that_is_meant(tmp_path: Path, question: str, fields: tuple[str, ...]) -> None:
    assert meant(question, ORDERS, tmp_path) == fields


@pytest.mark.parametrize(
    ("question", "fields"),
    [
        ("How many are over $100?", ("amount",)),
        ("How many over 100 are there?", ("amount",)),
        ("How many have been here for more than 5 years?", ()),
    ],
)
def test_the_only_field_need_not_be_named(
    tmp_path: Path, question: str, fields: tuple[str, ...]
) -> None:
    assert meant(question, AMOUNTS, tmp_path) == fields


@pytest.mark.parametrize(
    ("question", "kind", "output"),
    [
        (
            "How many rows have a unit price above 15?",
            "count",
            f"{sum(price > 15 for _, price, *_ in ROWS)} records are meant",
        ),
        (
            "How many rows of Town1 opened after 2024-03-30 have at most 3 items?",
            "count",
            f"{sum(c == 'Town1' and m > 3 and i <= 3 for c, _, i, m in ROWS)} records are meant",
        ),
        (
            "What is the average unit price of rows with items between 2 and 4?",
            "measure",
            f"average of unit_price: {round(sum(CHOSEN) / len(CHOSEN), 4)}",
        ),
        (
            "List all rows whose unit price is not more than 3.5.",
            "gather",
            f"{sum(price <= 3.5 for _, price, *_ in ROWS)} records",
        ),
    ],
)
async def test_plans(tmp_path: Path, question: str, kind: str, output: str) -> None:
    asked = await planned(
        tmp_path, question, ORDERS, kind, {"values": [], "labels": [], "per": "none"}
    )
    assert asked.plan["kind"] == kind
    assert asked.output.startswith(output)
