"""How the text of a context is laid out: what the host found, and the kernel reads records by."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["prose", "lines", "jsonl", "csv", "markdown", "code", "dialogue", "mixed"]
# A plural, or a word for an amount.
_AMOUNT = re.compile(
    r"(?:[a-z](?<![sui])s|count|amount|quantity|qty|total|sum|price|cost|revenue)\Z", re.IGNORECASE
)
FieldType = Literal["text", "number", "date", "label"]
Form = Literal["pairs", "columns", "csv", "json", "documents", "pattern"]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the records.

    Attributes:
        name: its name, as the text has it, or made up where it has none.
        type: what its values are; a label has few distinct values.
        sample: one value, cut.
        values: the values of a label that were seen, sorted.
        day_first: for `as_date`, where its own rule would read dates of this field the wrong way.
        comma: for `as_number`, whether a comma is the decimal mark of all numbers of this field.
    """

    name: str
    type: FieldType
    sample: str
    values: tuple[str, ...] = ()
    day_first: bool | None = None
    comma: bool = False

    @property
    def is_amount(self) -> bool:
        """Whether its numbers can be added up, going by its name: `units`, and not `user`."""
        return self.type == "number" and _AMOUNT.search(self.name) is not None


@dataclass(frozen=True, slots=True)
class Shape:
    """What the records have in common.

    Attributes:
        form: `pairs` (named values), `columns` (split at a separator), `csv` (the same, quoted),
            `json` (an object a line), `documents` (an object a document), `pattern` (one of
            `inside/patterns.py`).
        names: the fields, in order.
        separator: what stands between fields.
        joint: what stands between a name and its value, in pairs.
        ordered: whether pairs always come in the order of `names`.
        rest: whether the last column may hold the separator.
        pattern: name of the pattern.
        digits: numbers of the columns of which one at least holds a digit, unless all are empty;
            none where that is not asked for.
        fewest: how many cells of columns a row has at least, where the last of them may be
            missing and are then empty; 0 where every row has all.
    """

    form: Form
    names: tuple[str, ...]
    separator: str = ""
    joint: str = ""
    ordered: bool = True
    rest: bool = False
    pattern: str = ""
    digits: tuple[int, ...] = ()
    fewest: int = 0


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a context.

    Attributes:
        kind: what it is.
        shape: what its records have in common, or None where it has no records.
        fields: their fields.
        preamble: the text before the first record, cut to about 2,000 characters.
        sample: a record, its values cut.
        records: how many there are, about.
        unfit: share of the lines looked at, the preamble apart, that are no records, 0 to 1.
        exact: whether the whole context was looked at, so that the figures are no estimates.
        start: number of the document, and character in it, where the first record stands.
    """

    kind: Kind
    shape: Shape | None = None
    fields: tuple[Field, ...] = ()
    preamble: str = ""
    sample: str = ""
    records: int = 0
    unfit: float = 0.0
    exact: bool = False
    start: tuple[int, int] = (0, 0)

    def as_dict(self) -> dict[str, Any]:
        """Values that JSON can hold, for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Layout:
        """Layout from what `as_dict` gave, also after JSON has made lists of its tuples."""
        shape = values["shape"]
        fields = [{**one, "values": tuple(one["values"])} for one in values["fields"]]
        document, offset = values["start"]
        held = {
            "shape": shape and _shape(shape),
            "fields": tuple(Field(**one) for one in fields),
            "start": (document, offset),
        }
        return cls(**{**values, **held})


def _shape(values: Mapping[str, Any]) -> Shape:
    tuples = {"names": tuple(values["names"]), "digits": tuple(values["digits"])}
    return Shape(**{**values, **tuples})
