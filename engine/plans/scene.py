"""What a plan is made from: the question, and what is known of the context."""

from __future__ import annotations

import re
from bisect import bisect
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING

from outcore.engine.plans.absence import absent
from outcore.engine.plans.bounds import Bound, bounded, bounds, equals
from outcore.engine.plans.naming import named_whole
from outcore.engine.plans.times import date_field, spans_of
from outcore.engine.plans.values import Values
from outcore.engine.plans.wording import listings, mentions, said, sentences

if TYPE_CHECKING:
    from outcore.engine.context.corpus import Corpus
    from outcore.kernel_sandbox.inside.layout import Field, Layout

# What calls a list one of labels, where it stands shortly before it.
_CALLED = re.compile(
    r"\b(?:labels?|labell?ed|categor\w+|class(?:es|ified)?|types?|kinds?|topics?|tags?|sentiments?"
    r"|emotions?|intents?|genres?)\b",
    re.IGNORECASE,
)
_SHORTLY = 80
# A question that is about labels without naming one.
_ABOUT_LABELS = re.compile(r"\b(?:labels?|categor(?:y|ies)|class(?:es)?)\b", re.IGNORECASE)
_LONG_LIST = 3
# A list of more things than this is one of data, not of labels.
_LABELS = 200
_FIELDS = 500
_CHOICES = 60
_NAME_CHARS = 200
_FEW = 20
# Characters of a name or a key, at most, and its words.
_KEY, _NAME_WORDS = 40, 2
# What tells files of one name apart.
_NUMBERED = re.compile(r"[\W_]*\d+\Z")
_RECORDS = frozenset({"record", "row", "line", "entry", "entries", "item"})


@dataclass(frozen=True)
class Scene:
    """A question over a context.

    Attributes:
        question: what is asked.
        card: description of the context.
        corpus: the context.
        layout: how it is laid out.
    """

    question: str
    card: str
    corpus: Corpus
    layout: Layout

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """Fields of the records, the first few hundred; none without records.

        None whose name no prompt can hold, being long or with half of a surrogate pair.
        """
        told = (one for one in self.layout.fields if len(one.name) <= _NAME_CHARS)
        return tuple(islice((one for one in told if _sound(one.name)), _FIELDS))

    @cached_property
    def worded(self) -> str:
        """The question, with fields that it names by a part of their name named whole."""
        return named_whole(self.question, [field.name for field in self.fields])

    @property
    def nullable(self) -> bool:
        """Whether a field of a record may be None."""
        return self.layout.shape is not None and self.layout.shape.form in ("json", "documents")

    @cached_property
    def choices(self) -> tuple[Field, ...]:
        """The fields that a root has to choose from: where they are many, those named first."""
        if len(self.fields) <= _CHOICES:
            return self.fields
        named = [bool(mentions(self.worded, field.name)) for field in self.fields]
        ranked = sorted(range(len(named)), key=lambda at: not named[at])
        return tuple(self.fields[at] for at in ranked[:_CHOICES])

    @cached_property
    def date_field(self) -> Field | None:
        """The field that tells when: of several, the one the question names, else the first."""
        return date_field(self.worded, self.fields)

    @cached_property
    def text_field(self) -> Field | None:
        """The field that has to be read: the text with the longest sample; no key, and no name."""
        texts = [one for one in self.fields if one.type == "text" and _is_read(one.sample)]
        return max(texts, key=lambda field: len(field.sample), default=None)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels that the preamble or the question lists; none where neither does."""
        best: tuple[str, ...] = ()
        most = 0
        for text in (self.layout.preamble, self.question):
            for one in listings(text):
                if len(one.items) > _LABELS:
                    continue
                rest = text[: one.start] + text[one.end :]
                elsewhere = rest if text is self.question else f"{rest}\n{self.question}"
                named = sum(bool(mentions(elsewhere, item)) for item in one.items)
                called = _CALLED.search(text[max(0, one.start - _SHORTLY) : one.start])
                rank = 2 * bool(called) + min(2, named) + (text is self.layout.preamble)
                if rank > most and (called or named):
                    best, most = tuple(dict.fromkeys(one.items)), rank
        return best

    @cached_property
    def named(self) -> tuple[str, ...]:
        """The labels that the question names, in the order in which it does."""
        text = self.question
        for one in sorted(listings(text), key=lambda one: one.start, reverse=True):
            if len(one.items) > 1 and set(one.items) == set(self.labels):
                text = text[: one.start] + text[one.end :]
        places = {label: mentions(text, label) for label in self.labels}
        found = [label for label in self.labels if places[label]]
        return tuple(sorted(found, key=lambda label: places[label][0]))

    @property
    def about_labels(self) -> bool:
        """Whether the question is about the labels that are listed."""
        return bool(self.labels) and bool(self.named or _ABOUT_LABELS.search(self.question))

    @cached_property
    def countable(self) -> bool:
        """Whether the records have labels, or fields that the question names, to count by."""
        return bool(self.fields) and (self.about_labels or bool(self.countables))

    @cached_property
    def countables(self) -> tuple[Field, ...]:
        """The fields that the question names whose values can be counted, short texts included."""
        limiting = [*(field for _, field in self.bounded), *self.absent]
        return tuple(
            field
            for field in self.fields
            if (field.type in ("label", "number") or self._is_key(field))
            and len(mentions(self.worded, field.name)) > limiting.count(field)
        )

    @cached_property
    def absent(self) -> tuple[Field, ...]:
        """The fields in which the records meant have no value; none where labels are counted."""
        return () if self.about_labels else absent(self.worded, self.fields)

    @cached_property
    def bounds(self) -> tuple[Bound, ...]:
        """The numbers that the question bounds something by; none that belong to a date or year."""
        found: list[Bound] = []
        taken = sorted((one.start, one.end) for one in spans_of(self))
        numbers = () if self.about_labels else self._numbers
        equal = (one for field in numbers for one in equals(self.worded, field))
        for one in (*bounds(self.worded), *equal):
            at = bisect(taken, (one.start, one.end))
            if all(
                one.end <= start or end <= one.start for start, end in taken[at and at - 1 : at + 1]
            ):
                found.append(one)
                taken.insert(at, (one.start, one.end))
        return tuple(sorted(found))

    @property
    def _numbers(self) -> tuple[Field, ...]:
        return tuple(one for one in self.fields if one.type == "number")

    @cached_property
    def bounded(self) -> tuple[tuple[Bound, Field], ...]:
        """Those that bound a field, with the field; none where the labels listed are counted."""
        numbers = self._numbers
        if self.about_labels or not numbers:
            return ()
        pairs = ((one, bounded(self.worded, one, numbers)) for one in self.bounds)
        return tuple((one, field) for one, field in pairs if field is not None)

    @cached_property
    def asked(self) -> str:
        """The question with its long lists left out, so that nobody copies them."""
        text = self.question
        for listing in sorted(listings(text), key=lambda one: one.start, reverse=True):
            if len(listing.items) > _LONG_LIST:
                text = f"{text[: listing.start]}[...]{text[listing.end :]}"
        return text

    def field(self, name: str) -> Field | None:
        """The field of that name, in whatever case."""
        wanted = name.strip().casefold()
        return next((one for one in self.fields if one.name.casefold() == wanted), None)

    @cached_property
    def values(self) -> Values:
        """Where values of records are found."""
        return Values(self.corpus, self.layout, self.fields)

    def is_record(self, word: str) -> bool:
        """Whether a word, or its plural, stands for a record: `row`, or `ticket` of tickets.csv."""
        names = (one.name for one in islice(self.corpus.documents, _FEW))
        stems = {PurePath(str(one)).stem.casefold() for one in names}
        plain = word.strip().casefold()
        return bool({plain, plain.removesuffix("s"), f"{plain}s"} & (stems | _RECORDS))

    def is_document(self, word: str) -> bool:
        """Whether the files are called by a word: `contract` of contract_01.txt and its like."""
        some = [str(one.name) for one in islice(self.corpus.documents, _FEW)]
        names = {_NUMBERED.sub("", PurePath(one).stem).casefold() for one in some}
        return self.corpus.kind == "dict" and len(some) > 1 and names == {word.casefold()}

    def guidance(self, labels: tuple[str, ...]) -> str:
        """The sentence that says what the labels are about, from the preamble or the question."""
        for text in (self.layout.preamble, self.question):
            told = [one for one in sentences(text) if sum(map(bool, said(one, labels))) >= 2]
            if told:
                return told[0]
        return ""

    def _is_key(self, field: Field) -> bool:
        """Whether a text is a name or a key, and not what has to be read of a record."""
        return field.type == "text" and field != self.text_field and len(field.sample) <= _KEY


def _is_read(sample: str) -> bool:
    """Whether a text wants reading: more than the few words of a key or a name."""
    return len(sample) > _KEY or len(sample.split()) > _NAME_WORDS


def _sound(name: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in name)
