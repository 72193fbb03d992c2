"""Groups of items, and pairs of groups."""

from __future__ import annotations

from datetime import datetime
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcore.kernel_sandbox.inside.ordering import in_order
from outcore.kernel_sandbox.inside.pairing import group, pairs
from outcore.kernel_sandbox.inside.saying import as_answer

ITEMS = [{"User": "10", "n": 1}, {"User": "9", "n": 2}, {"User": "10", "n": 3}]


def test_items_are_grouped_by_field_function_or_keys() -> None:
    wanted = {"9": [ITEMS[1]], "10": [ITEMS[0], ITEMS[2]]}
    for by in ("User", "user", lambda one: one["User"], ["10", "9", "10"]):
        assert group(ITEMS, by) == wanted
        assert list(group(ITEMS, by)) == ["9", "10"]
    assert repr(group(ITEMS, "user")) == "2 groups of 3 items, with their sizes: '9': 1, '10': 2"
    with pytest.raises(KeyError, match="an item has 'User', 'n'"):
        group(ITEMS, "label")
    with pytest.raises(ValueError, match="by has 1 keys, and there are 3 items"):
        group(ITEMS, ["x"])


def test_pairs_come_once_the_lower_id_first() -> None:
    groups = {"10": [1], "9": [2], "2": [1, 2], "30": []}
    both = pairs(groups, lambda items: 1 in items)
    assert both == [("2", "10")]
    mixed = pairs(groups, lambda items: 1 in items, lambda items: 2 in items)
    assert mixed == [("2", "9"), ("2", "10"), ("9", "10")]
    assert str(mixed) == as_answer(mixed) == "(2, 9)\n(2, 10)\n(9, 10)"
    assert repr(mixed) == "3 pairs: (2, 9), (2, 10), (9, 10)"
    assert repr(pairs(groups, lambda items: False)) == "no pairs"
    assert (mixed[-1], mixed[:1], ("2", "9") in mixed) == (("9", "10"), [("2", "9")], True)
    assert ("9", "2") not in mixed


def test_pairs_of_id_and_item_are_groups() -> None:
    assert pairs([(1, "a"), (2, "a"), (1, "b")], lambda items: "a" in items) == [(1, 2)]


def test_what_is_no_group_or_condition_is_told() -> None:
    with pytest.raises(TypeError, match="are functions"):
        pairs({1: []}, "spam")
    with pytest.raises(TypeError, match="make it with group"):
        pairs(ITEMS, bool)
    with pytest.raises(KeyError) as raised:
        pairs({7: [{}]}, lambda items: items[0]["x"])
    assert "for the id 7" in raised.value.__notes__[0]


def test_many_ids_take_no_more_memory_than_few() -> None:
    every = pairs({number: [number] for number in range(2_000)}, lambda items: True)
    assert len(every) == 1_999_000
    assert every[1_998_999] == (1_998, 1_999)
    assert repr(every).endswith("... 1,998,990 more")
    assert str(every).count("\n") == 1_998_999


@given(st.dictionaries(st.integers(0, 40), st.tuples(st.booleans(), st.booleans()), max_size=12))
def test_pairs_are_those_of_all_combinations(groups: dict[int, tuple[bool, bool]]) -> None:
    wanted: list[tuple[Any, Any]] = [
        (a, b)
        for a, b in combinations(sorted(groups), 2)
        if (groups[a][0] and groups[b][1]) or (groups[a][1] and groups[b][0])
    ]
    found = pairs(groups, lambda way: way[0], lambda way: way[1])
    assert list(found) == wanted
    assert [found[at] for at in range(len(found))] == wanted


def test_times_of_one_day_are_in_order() -> None:
    hours = [datetime(2022, 6, 29, hour) for hour in (14, 9, 0)]
    assert in_order(hours) == hours[::-1]
    for some in (
        ["2022-06-28 23:00", "2022-06-29 09:00", "2022-06-29 10:00:05", "2022-06-29 10:00:30"],
        ["Jun 29, 2022 9:05 am", "Jun 29, 2022 12:10 pm", "Jun 29, 2022 1:00 PM"],
        ["2022-06-29", "2022-06-29T00:00:00Z", "2022-06-30"],
    ):
        assert in_order(some[::-1]) == some
    assert list(group([1, 2, 3], hours)) == hours[::-1]


def test_a_dict_is_grouped_by_a_dict_of_its_keys() -> None:
    assert group({"a": 1, "b": 2, "c": 3}, {"c": "y", "b": "x", "a": "y"}) == {
        "x": [2],
        "y": [1, 3],
    }
