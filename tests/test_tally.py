"""Counting labels: in all, by group, ties and comparisons."""

from __future__ import annotations

import pickle
from collections import Counter
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outcore.kernel_sandbox.inside.calls import Label
from outcore.kernel_sandbox.inside.ordering import in_order
from outcore.kernel_sandbox.inside.tally import tally


def test_counts_are_printed_most_common_first() -> None:
    counts = tally(["tin", "oak", "tin", "elm", " Tin", None, ValueError("x")])
    assert repr(counts) == (
        "5 counted, 3 different labels, most common first: (2 entries without a label left out)\n"
        "tin (3 times)\noak (once)\nelm (once)\n"
        "least common: tie of 2: oak, elm (once each)\nmost common: tin (3 times)"
    )
    assert counts == {"tin": 3, "oak": 1, "elm": 1}
    assert (counts["TIN"], counts.count("oak"), counts["ash"], "Elm" in counts) == (3, 1, 0, True)
    assert counts.most() == "tin"
    assert counts.least().labels == ["oak", "elm"]
    assert counts.least().each == 1


def test_labels_of_calls_and_counts_are_taken_too() -> None:
    label = Label("tin", {"tin": 0.9, "oak": 0.1})
    assert tally([label, "oak", "tin"]).most() == "tin"
    assert tally({"a": "tin", "b": "oak"}) == {"tin": 1, "oak": 1}
    assert tally({"tin": 2, "oak": 3}).most() == "oak"
    assert repr(tally([])) == "no labels"
    assert tally([]).most() == ""


def test_groups_come_in_order_with_their_winners() -> None:
    labels = ["tin", "oak", "tin", "oak", "oak", "tin"]
    counts = tally(labels, by=[10, 9, 9, 9, 10, 11])
    assert list(counts.groups) == [9, 10, 11]
    assert counts.sole == {"oak": 1, "tin": 1}
    shown = repr(counts)
    assert "9: oak 2, tin 1\n10: tin 1, oak 1\n11: tin 1\n" in shown
    assert shown.endswith(
        "groups in which a label alone is the most frequent: tin 1, oak 1\ngroups with a tie: 1"
    )
    told = counts.compare("tin", "oak")
    assert told == (
        "tin and oak are equally common: 3 and 3\n"
        "of 3 groups, tin is more frequent than oak in 1, less in 1, equally in 1\n"
        "the first group in which tin is more frequent: 11"
    )
    assert (told.a, told.more, told.less, told.equal, told.first) == (3, 1, 1, 1, 11)


def test_what_is_compared_may_not_have_been_counted() -> None:
    told = tally(["tin", "tin"]).compare("Tin", "ash")
    assert told == "tin is more common than ash: 2 and 0\nno label 'ash' was counted"


def test_a_group_spells_labels_as_the_whole_does() -> None:
    counts = tally(["Tin", "tin", "tin"], by=["before", "after", "after"])
    assert list(counts.groups) == ["before", "after"]
    assert counts.groups["before"] == {"tin": 1}


def test_shares_of_two_groups_say_which_is_larger() -> None:
    labels = ["tin", "oak", "tin", "oak", "oak"]
    told = tally(labels, by=["before", "before", "after", "after", "after"]).shares("TIN")
    assert told.startswith("tin before: 1 of 2 (50.0%)\ntin after: 1 of 3 (33.3%)\n")
    assert told.most == "before"
    assert told.shares == {"before": 0.5, "after": pytest.approx(1 / 3)}
    assert "more" in told.rpartition("\n")[2]


def test_shares_of_labels_and_groups_there_are_not() -> None:
    assert tally(["tin", "oak"]).shares("tin") == ""
    assert tally(["tin", "oak"]).shares("tin").most is None
    told = tally(["tin", None, "oak"], by=[1, 2, 3]).shares("ash")
    assert told == "ash 1: 0 of 1 (0.0%)\nash 2: 0 of 0 (0.0%)\nash 3: 0 of 1 (0.0%)"
    assert tally(["a"] * 100, by=range(100)).shares("a").count("\n") == 40


def test_the_groups_that_have_most_of_a_label() -> None:
    told = tally(["tin", "oak", "tin", "tin", "oak"], by=[1, 1, 2, 2, 3]).leaders("tin", 2)
    assert told == "groups with the most tin: 2 2, 1 1"
    assert (told.groups, told.counts) == ([2, 1], [2, 1])
    assert tally(["tin"]).leaders("tin") == "groups with the most tin: none"


def test_long_tables_are_cut_in_the_middle() -> None:
    counts = tally([f"l{n}" for n in range(100)], by=range(100))
    shown = repr(counts)
    assert "... 85 more ..." in shown
    assert "... 60 more ..." in shown
    assert len(shown) < 2_500


@pytest.mark.parametrize("by", ["month", 3])
def test_keys_are_a_list(by: object) -> None:
    with pytest.raises(TypeError, match="by is a list of 2 keys"):
        tally(["a", "b"], by=by)


def test_keys_are_as_many_as_labels() -> None:
    with pytest.raises(ValueError, match="by has 1 keys, and there are 2 labels"):
        tally(["a", "b"], by=["x"])
    with pytest.raises(TypeError, match="not one text"):
        tally("spam")


def test_it_survives_a_pickle() -> None:
    counts = tally(["a", "b", "a"], by=[1, 2, 2])
    again = pickle.loads(pickle.dumps(counts))
    assert (again, again.groups, repr(again)) == (counts, counts.groups, repr(counts))
    told = pickle.loads(pickle.dumps(counts.compare("a", "b")))
    assert told.a == 2


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5))))
def test_groups_add_up(rows: list[tuple[str, int]]) -> None:
    counts = tally([label for label, _ in rows], by=[key for _, key in rows])
    assert dict(counts) == dict(Counter(label for label, _ in rows))
    assert counts.total() == sum(one.total() for one in counts.groups.values())
    told = counts.compare("a", "b")
    assert told.more + told.less + told.equal == len(counts.groups)
    assert repr(counts)


@pytest.mark.parametrize(
    "ordered",
    [
        [2, 10, 100],
        ["2", "10", "100"],
        ["Jan", "March", "dec"],
        ["Jan 5, 2022", "2022-02-01", "1 March 2022"],
        [date(2021, 1, 1), date(2022, 1, 1)],
        [(2021, 12), (2022, 1)],
        ["before", "after"],
        ["monday", "Tue", "Sun"],
        ["alpha", "beta"],
    ],
)
def test_keys_in_the_order_people_expect(ordered: list[object]) -> None:
    assert in_order(reversed(ordered)) == ordered


def test_keys_of_different_kinds() -> None:
    assert in_order([None, "b", 3, "a2", "a10"]) == [None, 3, "a2", "a10", "b"]


@pytest.mark.timeout(30)
def test_large_counts_take_no_memory() -> None:
    counts = tally({"a": 5_000_000_000, "A ": 2, "b": 3, "none": 0, "": 4})
    assert counts == {"a": 5_000_000_002, "b": 3}
    assert counts.skipped == 4
