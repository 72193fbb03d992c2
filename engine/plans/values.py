"""Which fields of the records hold a value that a question names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from outcore.kernel_sandbox.inside.shapes import parser

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.engine.context.corpus import Corpus
    from outcore.kernel_sandbox.inside.layout import Field, Layout

_PLACES = 40
_LINE = 4_000


class Values:
    """Looks values up, among the labels that were seen and then in the records themselves.

    Args:
        corpus: the context.
        layout: how it is laid out.
        fields: the fields that are known.
    """

    def __init__(self, corpus: Corpus, layout: Layout, fields: Sequence[Field]) -> None:
        self._corpus = corpus
        self._layout = layout
        self._fields = fields
        # A value that stands nowhere costs a pass over the context, and several plans may ask.
        self._known: dict[str, tuple[Field, ...]] = {}

    def fields(self, value: str) -> tuple[Field, ...]:
        """The fields that have `value` as their value in some record, as far as was looked."""
        if value not in self._known:
            self._known[value] = self._labels(value) or self._read(value)
        return self._known[value]

    def label(self, value: str) -> Field | None:
        """The field of labels that has `value` among those that were seen, or None."""
        return next(iter(self._labels(value)), None)

    def _labels(self, value: str) -> tuple[Field, ...]:
        wanted = value.strip().casefold()
        return tuple(
            field
            for field in self._fields
            if field.type == "label" and any(one.casefold() == wanted for one in field.values)
        )

    def _read(self, value: str) -> tuple[Field, ...]:
        if self._layout.shape is None:
            return ()
        parse = parser(self._layout.shape)
        wanted = value.strip().casefold()
        known = {field.name: field for field in self._fields}
        held: dict[str, Field] = {}
        for place in self._corpus.find_all(value.strip(), _PLACES):
            found = parse(self._line(place.document, place.offset))
            for name, one in (found or {}).items():
                if str(name) in known and str(one).strip().casefold() == wanted:
                    held.setdefault(str(name), known[str(name)])
        return tuple(held.values())

    def _line(self, document: str | int, offset: int) -> str:
        first = max(0, offset - _LINE)
        text = self._corpus.read(document, first, offset + _LINE)
        at = offset - first
        end = text.find("\n", at)
        return text[text.rfind("\n", 0, at) + 1 : end if end >= 0 else len(text)].rstrip("\r")
