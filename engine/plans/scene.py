"""What a plan is made from: the question, and what is known of the context."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import PurePath
from typing import TYPE_CHECKING

from outcore.engine.plans.bounds import Bound, bounded, bounds, equals
from outcore.engine.plans.times import spans_of
from outcore.engine.plans.wording import listings, mentions
from outcore.kernel_sandbox.inside.dates import MONTHS
from outcore.kernel_sandbox.inside.shapes import parser

if TYPE_CHECKING:
    from outcore.engine.corpus import Corpus
    from outcore.kernel_sandbox.inside.layout import Field, Layout

_PLACES = 40
_LINE = 4_000
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
# Where a time begins in a question.
_WHEN = re.compile(rf"\b(?:{'|'.join(MONTHS)})\b|\d{{4}}|\d+[./-]\d")
_WORD = re.compile(r"[^\W\d_]{3,}")
# The words of a name, in whatever case it is put together.
_PART = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{3,}")
_OF_DATES = frozenset({"date", "day", "time", "datetime", "timestamp"})
_STEM = 4
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

    @property
    def nullable(self) -> bool:
        """Whether a field of a record may be None."""
        return self.layout.shape is not None and self.layout.shape.form in ("json", "documents")

    @cached_property
    def choices(self) -> tuple[Field, ...]:
        """The fields that a root has to choose from: where they are many, those named first."""
        if len(self.fields) <= _CHOICES:
            return self.fields
        named = [bool(mentions(self.question, field.name)) for field in self.fields]
        ranked = sorted(range(len(named)), key=lambda at: not named[at])
        return tuple(self.fields[at] for at in ranked[:_CHOICES])

    @cached_property
    def date_field(self) -> Field | None:
        """The field that tells when: of several, the one the question names, else the first."""
        dates = [field for field in self.fields if field.type == "date"]
        when = _WHEN.search(self.question)
        end = when.start() if when else len(self.question)
        named = {field.name: _last_said(self.question[:end], field.name) for field in dates}
        return max(dates, key=lambda field: named[field.name], default=None)

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
        bounding = [field for _, field in self.bounded]
        return tuple(
            field
            for field in self.fields
            if (field.type in ("label", "number") or self._is_key(field))
            and len(mentions(self.question, field.name)) > bounding.count(field)
        )

    @cached_property
    def bounds(self) -> tuple[Bound, ...]:
        """The numbers that the question bounds something by; none that belong to a date or year."""
        found: list[Bound] = []
        taken = [(one.start, one.end) for one in spans_of(self)]
        numbers = () if self.about_labels else self._numbers
        equal = (one for field in numbers for one in equals(self.question, field))
        for one in (*bounds(self.question), *equal):
            if all(one.end <= start or end <= one.start for start, end in taken):
                found.append(one)
                taken.append((one.start, one.end))
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
        pairs = ((one, bounded(self.question, one, numbers)) for one in self.bounds)
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

    def field_with(self, value: str) -> Field | None:
        """The field that has `value` as its value in some record, or None."""
        return next(iter(self.fields_with(value)), None)

    def fields_with(self, value: str) -> tuple[Field, ...]:
        """The fields that have `value` as their value in some record, as far as was looked."""
        # A value that stands nowhere costs a pass over the context, and several plans may ask.
        if value not in self._asked_for:
            wanted = value.strip().casefold()
            labels = (
                field
                for field in self.fields
                if field.type == "label" and any(one.casefold() == wanted for one in field.values)
            )
            self._asked_for[value] = tuple(labels) or self._fields_read(value)
        return self._asked_for[value]

    @cached_property
    def _asked_for(self) -> dict[str, tuple[Field, ...]]:
        return {}

    def _fields_read(self, value: str) -> tuple[Field, ...]:
        if self.layout.shape is None:
            return ()
        parse = parser(self.layout.shape)
        wanted = value.strip().casefold()
        held: dict[str, Field] = {}
        for place in self.corpus.find_all(value.strip(), _PLACES):
            found = parse(self._line(place.document, place.offset))
            for name, one in (found or {}).items():
                field = self.field(str(name))
                if field is not None and str(one).strip().casefold() == wanted:
                    held.setdefault(field.name, field)
        return tuple(held.values())

    def label_with(self, value: str) -> Field | None:
        """The field of labels that has `value` among those that were seen, or None."""
        wanted = value.strip().casefold()
        for field in self.fields:
            if field.type == "label" and any(one.casefold() == wanted for one in field.values):
                return field
        return None

    def is_record(self, word: str) -> bool:
        """Whether a word, or its plural, stands for a record: `row`, or `ticket` of tickets.csv."""
        names = (one.name for one in islice(self.corpus.documents, _FEW))
        stems = {PurePath(str(one)).stem.casefold() for one in names}
        plain = word.strip().casefold()
        return bool({plain, plain.removesuffix("s"), f"{plain}s"} & (stems | _RECORDS))

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

    def _line(self, document: str | int, offset: int) -> str:
        first = max(0, offset - _LINE)
        text = self.corpus.read(document, first, offset + _LINE)
        at = offset - first
        end = text.find("\n", at)
        return text[text.rfind("\n", 0, at) + 1 : end if end >= 0 else len(text)].rstrip("\r")


def _is_read(sample: str) -> bool:
    """Whether a text wants reading: more than the few words of a key or a name."""
    return len(sample) > _KEY or len(sample.split()) > _NAME_WORDS


def _last_said(text: str, name: str) -> int:
    """Where a word like one of a field's name stands last: `delivered` for `delivery_date`."""
    stems = [one.casefold() for one in _PART.findall(name) if one.casefold() not in _OF_DATES]
    return max(
        (
            match.start()
            for match in _WORD.finditer(text)
            for stem in stems
            if _alike(match[0].casefold(), stem)
        ),
        default=-1,
    )


def _alike(word: str, stem: str) -> bool:
    common = max(_STEM, min(len(word), len(stem)) - 2)
    return word == stem or word[:common] == stem[:common]


def _sound(name: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in name)


def said(text: str, labels: tuple[str, ...]) -> list[int]:
    """How often each label stands in `text`."""
    return [len(mentions(text, label)) for label in labels]


def sentences(text: str) -> list[str]:
    """The sentences of a text; a line end or a blank line ends one too."""
    parts: list[str] = []
    start = 0
    for at, char in enumerate(text):
        follows = text[at + 1 : at + 2]
        if char == "\n" or (char in ".!?" and (not follows or follows.isspace())):
            parts.append(text[start : at + 1].strip())
            start = at + 1
    parts.append(text[start:].strip())
    return [part for part in parts if part]
