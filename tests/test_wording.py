"""What plan mode reads off ordinary English: lists, numbers, conditions, sides of dates."""

from __future__ import annotations

import pytest

from outcore.engine.plans.conditions import COMPARED, Condition, Test, conditions
from outcore.engine.plans.sides import Side, Timing, timings
from outcore.engine.plans.wording import listings, mentions, number_of

LABELS = ("bug report", "feature request", "praise", "query")


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("Labels are 'a b', \"c\" and 'd'.", ("a b", "c", "d")),
        (
            "Each is one of: bug, billing and refunds, or praise.",
            ("bug", "billing and refunds", "praise"),
        ),
        ("It is one of these:\nred, green and blue", ("red", "green", "blue")),
        ("Choose from hot, cold or mild.", ("hot", "cold", "mild")),
        ("Every mail has a kind (spam, ham, phishing).", ("spam", "ham", "phishing")),
        ("Answer with one of [yes, no]", ("yes", "no")),
        ("severity: low | medium | high", ("low", "medium", "high")),
        ("The kinds:\n- crash: it ended\n- leak\n3. other.\n\nText", ("crash", "leak", "other")),
    ],
)
def test_lists(text: str, items: tuple[str, ...]) -> None:
    [found] = listings(text)
    assert found.items == items
    assert items[0] in text[found.start : found.end]
    assert items[-1] in text[found.start : found.end]


@pytest.mark.parametrize(
    "text",
    ["it's Bob's dog and Ann's cat", "At 10:30, 11:40 and 12:00 it rang.", "Who is it?", ""],
)
def test_what_is_no_list(text: str) -> None:
    assert listings(text) == ()


def test_words_stand_whole_in_whatever_case_and_number() -> None:
    assert mentions("Bugs, a bug; debug", "bug") == [0, 8]
    assert mentions("Categories of a CATEGORY", "category") == [0, 16]
    assert mentions("c++ is C++.", "C++") == [0, 7]
    assert mentions("a  \n b", "a b") == [0]
    assert mentions("anything", "  ") == []


def test_numbers() -> None:
    numbers = [number_of(one) for one in ("1,200", "Twelve", "zero", "an", "several", "²", "x")]
    assert numbers == [1200, 12, 0, 1, 2, None, None]


def one(label: str, test: Test, number: int) -> Condition:
    return Condition((label,), test, number)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("a praise", [one("praise", ">=", 1)]),
        ("at least two tickets labelled bug report", [one("bug report", ">=", 2)]),
        ("no fewer than three queries", [one("query", ">=", 3)]),
        ("no more than 2 bug reports", [one("bug report", "<=", 2)]),
        ("not more than one praise", [one("praise", "<=", 1)]),
        ("more than 2 bug reports", [one("bug report", ">=", 3)]),
        ("fewer than two queries", [one("query", "<=", 1)]),
        ("exactly twelve mails of the kind praise", [one("praise", "==", 12)]),
        ("2 or more bug reports", [one("bug report", ">=", 2)]),
        (
            "two bug reports or more and a query",
            [one("bug report", ">=", 2), one("query", ">=", 1)],
        ),
        ("two bug reports at most", [one("bug report", "<=", 2)]),
        ("sent a bug report at least three times", [one("bug report", ">=", 3)]),
        ("between two and four queries", [one("query", ">=", 2), one("query", "<=", 4)]),
        ("one or two queries", [one("query", ">=", 1), one("query", "<=", 2)]),
        ("several queries", [one("query", ">=", 2)]),
        ("zero queries", [one("query", "==", 0)]),
        ("not a single bug report", [one("bug report", "==", 0)]),
        ("without any praise", [one("praise", "==", 0)]),
        ("neither praise nor a query", [one("praise", "==", 0), one("query", "==", 0)]),
        ("a bug report but never praise", [one("bug report", ">=", 1), one("praise", "==", 0)]),
        (
            "at least two praise, one bug report and exactly one query",
            [one("praise", ">=", 2), one("bug report", ">=", 1), one("query", "==", 1)],
        ),
        ("either a praise or a query", [Condition(("praise", "query"), ">=", 1)]),
        (
            "at least two entries that are a bug report, a feature request or a query",
            [Condition(("bug report", "feature request", "query"), ">=", 2)],
        ),
        ("no praise or query", [Condition(("praise", "query"), "==", 0)]),
        (
            "all praise must be after 2 June 2022, and at least two queries",
            [one("query", ">=", 2)],
        ),
        ("nothing of the kind", []),
        ("queries at most three times", [one("query", "<=", 3)]),
        ("queries exactly three times", [one("query", "==", 3)]),
        ("a query fewer than three times", [one("query", "<=", 2)]),
        ("queries no more than three times", [one("query", "<=", 3)]),
        (
            "queries between 2 and 4 times",
            [one("query", ">=", 2), one("query", "<=", 4)],
        ),
        ("queries at least twice", [one("query", ">=", 2)]),
        ("a query more than once", [one("query", ">=", 2)]),
        ("twenty-five queries", [one("query", ">=", 25)]),
        ("thirty queries", [one("query", ">=", 30)]),
        ("a dozen queries", [one("query", ">=", 12)]),
        ("doesn't have praise", [one("praise", "==", 0)]),
        ("does not have at least two queries", [one("query", "<=", 1)]),
        ("not exactly two queries", [one("query", "!=", 2)]),
        (
            "more than two but fewer than five queries",
            [one("query", ">=", 3), one("query", "<=", 4)],
        ),
        (
            "two queries or a praise",
            [Condition(("query",), ">=", 2, (one("praise", ">=", 1),))],
        ),
        (
            "less than two queries or more than two praise",
            [Condition(("query",), "<=", 1, (one("praise", ">=", 3),))],
        ),
    ],
)
def test_conditions(words: str, expected: list[Condition]) -> None:
    assert list(conditions(words, LABELS)) == expected


def test_of_labels_that_overlap_the_longer_is_meant() -> None:
    found = conditions("one urgent bug and two bugs", ("bug", "urgent bug"))
    assert found == (one("urgent bug", ">=", 1), one("bug", ">=", 2))


@pytest.mark.parametrize(
    ("words", "side", "date"),
    [
        ("all bug reports must be after March 3, 2021", ">", "2021-03-03"),
        ("every bug report is from before 2021-03-03.", "<", "2021-03-03"),
        (
            "All pairs of users, where all bug reports were sent on or after 3 May 2021",
            ">=",
            "2021-05-03",
        ),
        ("each bug report was written no later than Jan. 6, 2023, as always", "<=", "2023-01-06"),
        ("only bug reports since 2020-01-01 count", ">=", "2020-01-01"),
    ],
)
def test_sides_of_dates(words: str, side: Side, date: str) -> None:
    assert timings(words, LABELS) == (Timing("bug report", side, date),)


def test_sides_of_several_labels() -> None:
    words = "all bug reports must be after 2023-01-06, and all praise before 2 June 2022"
    assert timings(words, LABELS) == (
        Timing("bug report", ">", "2023-01-06"),
        Timing("praise", "<", "2022-06-02"),
    )


@pytest.mark.parametrize(
    "words",
    [
        "List all pairs of users who both have a bug report after 2021-01-01",
        "all bug reports after lunch",
        "all users after 2021-01-01",
    ],
)
def test_what_says_no_side_of_all(words: str) -> None:
    assert timings(words, LABELS) == ()


def test_conditions_as_code() -> None:
    rows = [{"label": "praise", "d": "2021-05-01"}, {"label": "it's \\ ü\n", "d": "2020-01-01"}]
    odd = Condition(("it's \\ ü\n",), "==", 1)
    assert eval(odd.code("g"), {"g": rows}) is True
    assert eval(one("praise", ">=", 2).code("g"), {"g": rows}) is False
    for side, holds in ((">", False), (">=", True), ("<", False), ("<=", True)):
        timing = Timing("praise", side, "2021-05-01")  # type: ignore[arg-type]  # the four sides
        assert eval(timing.code("g", "r['d']"), {"g": rows}) is holds


@pytest.mark.parametrize(
    ("words", "compared"),
    [
        ("more queries than praise", True),
        ("the same number of queries and praise", True),
        ("twice as many queries as praise", True),
        ("more than two queries and fewer than three bug reports", False),
        ("two or more queries, and less than two praise", False),
    ],
)
def test_labels_that_are_held_against_each_other(words: str, compared: bool) -> None:
    assert bool(COMPARED.search(words)) is compared


def test_of_two_conditions_one_may_hold() -> None:
    [found] = conditions("two queries or a praise", LABELS)
    groups = [["query"], ["query", "query"], ["praise"], ["bug report"]]
    told = [eval(found.code("g"), {"g": [{"label": one} for one in some]}) for some in groups]
    assert told == [False, True, True, False]
