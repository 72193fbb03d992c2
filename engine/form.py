"""The form that a question asks its answer to have: `in the form 'Total: number'`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ASKED = re.compile(
    r"\b(?:form|format|template)\b[^'\"\u201c\u2018\n]{0,24}"
    r"(?:'([^'\n]{2,120})'|\"([^\"\n]{2,120})\"|[\u201c\u2018]([^\u201d\u2019\n]{2,120})[\u201d\u2019])",
    re.IGNORECASE,
)
_LEAD = re.compile(r"([A-Za-z][\w -]{0,30}:)\s*\S")
# A longer answer is no value to be put behind a lead.
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Form:
    """The form of an answer.

    Attributes:
        text: the form, as the question has it.
        lead: what an answer begins with, up to a colon; empty where the form has none.
    """

    text: str
    lead: str

    @classmethod
    def of(cls, question: str) -> Form | None:
        """The form that `question` asks for in quotes, or None."""
        found = _ASKED.search(question)
        if found is None:
            return None
        text = next(filter(None, found.groups())).strip()
        lead = _LEAD.match(text)
        return cls(text, lead[1] if lead else "")

    def applied(self, answer: str) -> str:
        """The answer with the form's lead before it, where a short one has none."""
        plain = answer.strip()
        if not self.lead or not plain or len(plain) > _LONGEST or "\n" in plain:
            return answer
        if self.lead.casefold() in plain.casefold():
            return answer
        return f"{self.lead} {plain}"
