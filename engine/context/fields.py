"""What the fields of records hold: numbers, dates, labels, text."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from outcore.kernel_sandbox.inside.dates import as_date, day_first_of, is_date
from outcore.kernel_sandbox.inside.layout import Field, FieldType

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_NUMBER = re.compile(
    r"[-+]?[$\u20ac\u00a3]?\s?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3})*,\d+"
    r"|(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)\s?%?"
)
# Numbers of which one mark or the other can't stand for thousands.
_BY_COMMA = re.compile(
    r"(?<![\d,.])(?:0|\d+(?:\.\d{3})*),(?:\d{1,2}|\d{4,})(?![\d,.])|(?<![\d,])0,\d"
)
_BY_POINT = re.compile(r",\d{3}\.\d|(?<![\d,.])(?:0|\d+)\.(?:\d{1,2}|\d{4,})(?![\d,.])")
_NEARLY = 0.95
_TYPED = 300
_LABELS = 20
_LABEL_CHARS = 40
_LABEL_USES = 3
_SAMPLE_CHARS = 80


def type_of(values: Iterable[Any]) -> FieldType:
    """Type of the values of one field, going by the first few hundred that are not empty."""
    held = [value for value in values if value not in ("", None)]
    some = held[:: max(1, len(held) // _TYPED)]
    if not some:
        return "text"
    if all(isinstance(value, bool) for value in some):
        return "label"
    if _share(some, _is_number) >= _NEARLY:
        return "number"
    if _share(some, _is_date) >= _NEARLY:
        return "date"
    if all(isinstance(value, str) and len(value) <= _LABEL_CHARS for value in held):
        distinct = len(set(held))
        if distinct <= min(_LABELS, len(held) // _LABEL_USES):
            return "label"
    return "text"


def fields_of(names: Sequence[str], records: Sequence[Mapping[str, Any]]) -> tuple[Field, ...]:
    """The fields of sampled records."""
    return tuple(_field(name, [record.get(name) for record in records]) for name in names)


def shown(value: Any, longest: int = _SAMPLE_CHARS) -> str:
    """A value as text, cut."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= longest else f"{text[:longest]}..."


def _field(name: str, values: Sequence[Any]) -> Field:
    kind = type_of(values)
    held = [value for value in values if value not in ("", None)]
    labels = sorted(set(map(shown, held))) if kind == "label" else ()
    day_first = _day_first(held) if kind == "date" else None
    comma = kind == "number" and _by_comma(held)
    return Field(name, kind, shown(held[0]) if held else "", tuple(labels), day_first, comma)


def _day_first(values: Sequence[Any]) -> bool | None:
    texts = [value for value in values if isinstance(value, str)]
    told = day_first_of(texts)
    differs = told is not None and any(as_date(text) != as_date(text, told) for text in texts)
    return told if differs else None


def _by_comma(values: Sequence[Any]) -> bool:
    texts = [value for value in values if isinstance(value, str)]
    return any(map(_BY_COMMA.search, texts)) and not any(map(_BY_POINT.search, texts))


def _share(values: Sequence[Any], fits: Any) -> float:
    return sum(1 for value in values if fits(value)) / len(values)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        return any(map(str.isdigit, value)) and _NUMBER.fullmatch(value.strip()) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_date(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _SAMPLE_CHARS and is_date(value)
