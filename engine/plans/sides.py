"""On which side of a date something lies, as a question says it: `before`, `no later than`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from outcore.engine.plans.wording import NEAR, placed
from outcore.kernel_sandbox.inside.dates import as_date

Side = Literal[">", ">=", "<", "<="]

# Records of a label that must all lie on one side of a date.
_DATE = (
    r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}"
    r"|[A-Z][a-z]+\.?\s+\d{1,2}(?:st|nd|rd|th)?,?\s+\d{4}"
    r"|\d{1,2}(?:st|nd|rd|th)?\s+(?:of\s+)?[A-Z][a-z]+\.?,?\s+\d{4}|[A-Z][a-z]+\.?,?\s+\d{4})"
)
_SIDES: tuple[tuple[str, Side], ...] = (
    ("on or after|no earlier than|not before|since|from", ">="),
    ("on or before|no later than|not after|until|till|up to|by", "<="),
    ("after|later than|following", ">"),
    ("before|earlier than|prior to", "<"),
)
_ALL = re.compile(
    r"\b(?i:all|every|each|only)\b(?P<what>(?:(?!\b(?:all|every|each|only)\b)[^.;?!])*?)\b(?:"
    + "|".join(rf"(?P<s{at}>(?i:{words}))" for at, (words, _) in enumerate(_SIDES))
    + rf")\s+(?:the\s+)?(?P<date>{_DATE})"
)
_LEADS = [
    (re.compile(rf"\b(?:{words})\s+(?:the\s+)?\Z", re.IGNORECASE), side) for words, side in _SIDES
]
# Words with which `all` is no longer about the label: `all pairs of users who have a refund`.
_OTHERS = re.compile(r"\b(?:pairs?|where|who|whose|such|has|have|had)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Timing:
    """On which side of a date all records with a label are.

    Attributes:
        label: the label.
        side: how a record's date compares with the date.
        date: the date, in ISO form.
    """

    label: str
    side: Side
    date: str

    def code(self, rows: str, date: str) -> str:
        """As Python; `date` is the expression for a record's date, in ISO form."""
        test = f"{date} {self.side} {self.date!r}"
        return f"all({test} for r in {rows} if r['label'] == {self.label!r})"


def timings(question: str, labels: tuple[str, ...]) -> tuple[Timing, ...]:
    """The sides of dates on which all records with a label must be."""
    found = []
    for match in _ALL.finditer(question):
        named = placed(match["what"], labels)
        date = as_date(match["date"])
        if named and date is not None and _of_all(match):
            [side] = [side for at, (_, side) in enumerate(_SIDES) if match[f"s{at}"]]
            found.append(Timing(named[-1][2], side, date.isoformat()))
    return tuple(dict.fromkeys(found))


def side_of(lead: str) -> Side | None:
    """How a record's date compares with the date that stands after `lead`; None: not at all."""
    near = lead[-NEAR:]
    return next((side for words, side in _LEADS if words.search(near)), None)


def without_timings(words: str) -> str:
    """`words` without what they say of the dates of all records with a label."""
    return _ALL.sub(lambda match: " " if _of_all(match) else match[0], words)


def _of_all(match: re.Match[str]) -> bool:
    return _OTHERS.search(match["what"]) is None
