"""`llm_list`: what the sub-LM lists of slices, and what of it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from outcore.engine.context.corpus import stage
from outcore.kernel_sandbox.inside.corpus import open_context
from outcore.kernel_sandbox.inside.errors import BadReply, BatchError, BudgetExceeded
from outcore.kernel_sandbox.inside.listing import Listing
from outcore.kernel_sandbox.inside.look import Look
from outcore.kernel_sandbox.inside.typed import Typed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from outcore.kernel_sandbox.inside.calls import Call
    from outcore.kernel_sandbox.inside.listing import Entries

NAMES = ("Ada Byron", "Bo", "Cyd", "Dov Levy")
SHIPS = ("Rachel", "Pequod")
FILLER = "Nothing happened on this long day, and nobody came by.\n"


class Asked:
    """In place of the queries: lists what `named` finds in a slice, and judges by `true`."""

    def __init__(
        self, named: Callable[[str], Sequence[str]], true: Callable[[str], bool] = lambda _: True
    ) -> None:
        self.named = named
        self.true = true
        self.read: list[str] = []
        self.judged: list[str] = []

    def batch(self, calls: Sequence[Call], *, return_exceptions: bool = False) -> list[Any]:
        results = [self._one(call) for call in calls]
        if not return_exceptions and any(isinstance(one, Exception) for one in results):
            raise BatchError(results)
        return results

    def _one(self, call: Call) -> Any:
        assert call.text is not None
        if call.form.choices is not None:
            self.judged.append(call.text)
            try:
                return "yes" if self.true(call.text) else "no"
            except (BadReply, BudgetExceeded) as error:
                return error
        self.read.append(call.text)
        try:
            return list(self.named(call.text))
        except (BadReply, BudgetExceeded) as error:
            return error


def listed(tmp_path: Path, asked: Asked, text: Any, **more: Any) -> Entries:
    stage(text, tmp_path / "context")
    context = open_context(tmp_path / "context")
    look = Look(context, {"slice_tokens": 400, "chars_per_token": 4.0})
    return Listing(Typed(asked), context, look).llm_list("all people", **more)  # type: ignore[arg-type]


def told(*names: str) -> str:
    return "".join(f"{FILLER * 9}Then {name} came.\n" for name in names)


def test_entries_stand_in_the_text_and_know_where(tmp_path: Path) -> None:
    texts = {"a": told("Ada Byron", "Bo"), "b": told("ADA\nBYRON", "Cyd")}
    asked = Asked(lambda part: ["ada  byron", "Bo", "Cyd", "Eve", "Cy", " "])
    entries = listed(tmp_path, asked, texts)
    assert entries == ["Ada Byron", "Bo", "Cyd"]
    assert [one.document for one in entries] == ["a", "a", "b"]
    assert all(texts[one.document].startswith(one, one.offset) for one in entries)
    assert [one.splitlines()[-1] for one in asked.judged] == ["Ada Byron", "Bo", "Cyd"]
    assert all("came." in one for one in asked.judged)


def test_each_entry_is_judged(tmp_path: Path) -> None:
    text = told("Ada Byron", "Rachel", "Bo", "Pequod")
    every = Asked(
        lambda part: [one for one in (*NAMES, *SHIPS) if one in part],
        lambda text: not text.endswith(SHIPS),
    )
    assert listed(tmp_path / "1", every, text) == ["Ada Byron", "Bo"]
    unchecked = listed(tmp_path / "2", every, text, check=False)
    assert unchecked == ["Ada Byron", "Rachel", "Bo", "Pequod"]


def test_a_part_with_a_full_list_is_read_in_halves(tmp_path: Path) -> None:
    names = [f"Ann{n}" for n in range(30)]
    text = "".join(f"Then {one} came, as they all did in those days.\n" for one in names)
    asked = Asked(lambda part: [one for one in names if f"{one} " in part][:12])
    entries = listed(tmp_path, asked, text)
    assert entries == names
    assert all(text.startswith(one, one.offset) for one in entries)
    assert len(asked.read) > 2


def test_a_list_that_never_ends_costs_a_part_and_not_the_rest(tmp_path: Path) -> None:
    def named(part: str) -> list[str]:
        if "Bo" in part:
            raise BadReply("cut off")
        return [one for one in NAMES if one in part]

    text = told(*NAMES)
    entries = listed(tmp_path, Asked(named), text)
    assert entries == ["Ada Byron", "Cyd", "Dov Levy"]
    [part] = entries.unread
    assert "Bo" in part
    assert len(part) <= 500
    assert repr(entries).endswith("(parts of the text without a list: 1)")


def test_the_end_of_the_budget_is_told(tmp_path: Path) -> None:
    def named(part: str) -> list[str]:
        raise BudgetExceeded("no calls are left")

    with pytest.raises(BatchError, match="no calls are left"):
        listed(tmp_path, Asked(named), told(*NAMES))


def test_where_nothing_is_named(tmp_path: Path) -> None:
    asked = Asked(lambda part: [])
    assert listed(tmp_path, asked, told(*NAMES)) == []
    assert not asked.judged


def test_what_is_not_judged_stays(tmp_path: Path) -> None:
    def true(text: str) -> bool:
        if text.endswith("Bo"):
            raise BadReply("none of the choices")
        return not text.endswith(SHIPS)

    asked = Asked(lambda part: [one for one in (*NAMES, *SHIPS) if one in part], true)
    assert listed(tmp_path, asked, told("Rachel", "Bo", "Cyd")) == ["Bo", "Cyd"]


def test_the_end_of_the_budget_while_they_are_judged(tmp_path: Path) -> None:
    def true(text: str) -> bool:
        raise BudgetExceeded("no calls are left")

    with pytest.raises(BatchError, match="no calls are left"):
        listed(tmp_path, Asked(lambda part: ["Bo"], true), told("Bo"))
