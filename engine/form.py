"""The form that a question asks its answer to have: `in the form 'Total: number'`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# `in the form`, `use this format`, `Format:`; in which format something is, is a question.
_ASKED = re.compile(
    r"\b(?:(?:in|with|as|to|by|use|using|follow|following)\s+(?:(?!wh)\w+\s+){0,3}?"
    r"(?:form|format|template)\b|(?:form|format|template)\s*:)[^'\"\u201c\u2018\n]{0,24}"
    r"(?:'([^'\n]{2,120})'|\"([^\"\n]{2,120})\"|[\u201c\u2018]([^\u201d\u2019\n]{2,120})[\u201d\u2019])",
    re.IGNORECASE,
)
# What begins a remark behind a choice; within a word or a number, such as `blue-green` or `10,000`,
# it goes on.
_APPENDED = re.compile(r"\s*[(;]|\s*[:,=](?!(?<=\d.)\d)|\s+[-\u2013]|\s*[-\u2013]\s")
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

    def applied(self, answer: str, choices: Sequence[str] = ()) -> str:
        """A short answer in the form: its lead before it, and of a choice nothing but that.

        Args:
            answer: the answer.
            choices: what the question gives to choose from; `blue: 57` is then `blue`.
        """
        plain = answer.strip()
        if not self.lead or not plain or len(plain) > _LONGEST or "\n" in plain:
            return answer
        if plain[: len(self.lead)].casefold() == self.lead.casefold():
            plain = plain[len(self.lead) :].strip()
        elif self.lead.casefold() in plain.casefold():
            return answer
        for choice in choices:
            begins = plain[: len(choice)].casefold() == choice.casefold()
            if begins and _APPENDED.match(plain, len(choice)):
                return f"{self.lead} {choice}"
        return f"{self.lead} {plain}"
