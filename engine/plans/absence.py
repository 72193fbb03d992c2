"""Fields that the records meant have no value in: `without a phone`, `no wait time recorded`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from outcore.engine.plans.wording import NEAR, spans

if TYPE_CHECKING:
    from collections.abc import Iterable

    from outcore.kernel_sandbox.inside.layout import Field

_NOTED = r"(?:recorded|given|known|set|filled in|listed|available|specified|entered|noted|stated)"
_WITHOUT = re.compile(
    r"\b(?:without|missing|lacks?|lacking|empty|blank|(?:not|n['\u2019]t) have)\s+"
    r"(?:an?\s+|any\s+)?\Z",
    re.IGNORECASE,
)
_NO = re.compile(r"\b(?:no|no known)\s+\Z", re.IGNORECASE)
# After `no`, which may belong to what a text says.
_ENDS = re.compile(
    rf"\s*(?:\w+\s+)?(?:value\b|entry\b|{_NOTED}\b)|\s*(?:[?.,;!]|\Z)", re.IGNORECASE
)
_IS = re.compile(
    rf"\s*(?:\w+\s+)?(?:(?:is|are|was|were)\s+)?(?:missing|empty|blank|unknown|not\s+{_NOTED})\b",
    re.IGNORECASE,
)
_NOTHING = ("", "-", "n/a", "na", "none", "null", "unknown")


def absent(question: str, fields: Iterable[Field]) -> tuple[Field, ...]:
    """The fields that a question wants no value in."""
    return tuple(field for field in fields if _is_absent(question, field))


def code(field: Field) -> str:
    """As Python over a record `r`; of a label with the value `no`, it has that."""
    value = f"str(r[{field.name!r}]).strip().casefold()"
    if any(one.casefold() == "no" for one in field.values):
        return f"{value} == 'no'"
    return f"(r[{field.name!r}] is None or {value} in {_NOTHING!r})"


def _is_absent(question: str, field: Field) -> bool:
    for start, end in spans(question, field.name):
        lead = question[max(0, start - NEAR) : start]
        if _WITHOUT.search(lead) or _IS.match(question, end):
            return True
        if _NO.search(lead) and _ENDS.match(question, end):
            return True
    return False
