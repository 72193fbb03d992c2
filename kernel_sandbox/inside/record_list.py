"""`records`: the lines of the context as dicts, read when they are used."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, islice
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .entries import Entries, Entry, Place
from .hits import Part
from .record import Record

if TYPE_CHECKING:
    from .corpus import Context
    from .layout import Layout

# Items are read and held in blocks; where each begins is remembered.
_BLOCK = 512
_BLOCKS = 32
_SHOWN = 2
# Longer contexts are not gone through only to print how many records they have.
_COUNTED_CHARS = 20_000_000

T = TypeVar("T")


class Items(Sequence[T], Generic[T]):
    """A list in all but its memory. The first `len`, or use of the end, reads the whole context.

    Args:
        entries: what the items are made of.
    """

    def __init__(self, entries: Entries) -> None:
        self._entries = entries
        self._starts: dict[int, Place] = {0: (0, 0)}
        self._count = -1
        self._blocks: OrderedDict[int, list[T]] = OrderedDict()

    @abstractmethod
    def _wanted(self, entry: Entry) -> bool: ...

    @abstractmethod
    def _item(self, entry: Entry, number: int) -> T: ...

    def __len__(self) -> int:
        if self._count < 0:
            self._pass(None)
        return self._count

    def __bool__(self) -> bool:
        return next(iter(self), None) is not None

    def __iter__(self) -> Iterator[T]:
        for number in count():
            block = self._blocks.get(number)
            if block is None:
                yield from self._stream(number)
            else:
                yield from block
            if number + 1 not in self._starts:
                return

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return self._slice(key)
        at = key + len(self) if key < 0 else key
        if at >= 0:
            number, place = divmod(at, _BLOCK)
            block = self._block(number)
            if place < len(block):
                return block[place]
        raise IndexError(f"there are {len(self):,}, and no number {key}")

    def __add__(self, other: Iterable[Any]) -> list[Any]:
        return [*self, *other]

    def __radd__(self, other: Iterable[Any]) -> list[Any]:
        return [*other, *self]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, Items)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def _slice(self, key: slice) -> list[T]:
        start, stop, step = key.start, key.stop, key.step
        if all(one is None or one >= 0 for one in (start, stop)) and (step or 1) > 0:
            # The head can be had without counting what comes after it.
            skipped = min((start or 0) // _BLOCK, self._reached(start or 0))
            rest = chain.from_iterable(self._from(skipped))
            less = skipped * _BLOCK
            until = None if stop is None else max(0, stop - less)
            return list(islice(rest, (start or 0) - less, until, step))
        return [self[at] for at in range(*key.indices(len(self)))]

    def _from(self, number: int) -> Iterator[Iterable[T]]:
        while number in self._starts:
            yield self._blocks.get(number) or self._stream(number)
            number += 1

    def _reached(self, at: int) -> int:
        """The last block up to item `at` whose start is known, once it has been looked for."""
        number = at // _BLOCK
        if number not in self._starts and self._count < 0:
            self._pass(number)
        return number if number in self._starts else max(self._starts)

    def _block(self, number: int) -> list[T]:
        if self._reached(number * _BLOCK) < number:
            return []
        held = self._blocks.get(number)
        return list(self._stream(number)) if held is None else held

    def _stream(self, number: int) -> Iterator[T]:
        """Items of a block whose start is known; held once all have been read."""
        block: list[T] = []
        for entry in self._entries.read(self._starts[number]):
            if self._wanted(entry):
                item = self._item(entry, number * _BLOCK + len(block))
                block.append(item)
                if len(block) == _BLOCK:
                    self._starts[number + 1] = entry.end
                yield item
                if len(block) == _BLOCK:
                    break
        if len(block) < _BLOCK:
            self._count = number * _BLOCK + len(block)
        self._blocks[number] = block
        while len(self._blocks) > _BLOCKS:
            self._blocks.popitem(last=False)

    def _pass(self, until: int | None) -> None:
        """Find the starts of blocks up to one, or of all, and then how many items there are."""
        number = max(self._starts)
        some = 0
        for entry in self._entries.read(self._starts[number]):
            if self._wanted(entry):
                some += 1
                if some == _BLOCK:
                    some, number = 0, number + 1
                    self._starts[number] = entry.end
                    if number == until:
                        return
        self._count = number * _BLOCK + some


class Rest(Items[Part]):
    """The lines that are not blank and no records, each a `Part` with its place."""

    def __repr__(self) -> str:
        shown = "".join(f"\n{one!r}" for one in islice(self, 20))
        return f"<lines of the context that are no records>{shown}"

    def _wanted(self, entry: Entry) -> bool:
        return entry.values is None

    def _item(self, entry: Entry, number: int) -> Part:
        return Part(entry.text, self._entries.documents.name(entry.document), entry.offset)


class Records(Items[Record]):
    """The records of a context, a sequence of `Record`.

    for r in records: print(r["User"], r.line, r.document, r.offset)

    Args:
        context: the opened context.
        layout: how it is laid out.

    Attributes:
        fields: the fields' types (text, number, date, label) by their names. Of a text all
            values are strings.
        rest: the lines that are not blank and no record, each with .document and .offset.
    """

    def __init__(self, context: Context, layout: Layout) -> None:
        entries = Entries(context.documents, layout)
        super().__init__(entries)
        self._layout = layout
        self._short = context.chars <= _COUNTED_CHARS
        self._changed: dict[int, Record] = {}
        self.fields = {field.name: field.type for field in layout.fields}
        self.rest = Rest(entries)

    def __len__(self) -> int:
        return super().__len__() if self._layout.shape else 0

    def __iter__(self) -> Iterator[Record]:
        return super().__iter__() if self._layout.shape else iter(())

    def __repr__(self) -> str:
        if self._layout.shape is None:
            return (
                "<no records: the lines of this context share no shape; "
                "use context, search(), grep() or slices()>"
            )
        known = self._short or self._count >= 0
        many = f"{len(self):,}" if known else f"about {self._layout.records:,}"
        fields = ", ".join(f"{name} ({kind})" for name, kind in self.fields.items())
        shown = "\n".join(repr(one) for one in islice(self, _SHOWN))
        return f"<{many} records with the fields {fields}; the first {_SHOWN}:\n{shown}>"

    @property
    def changed(self) -> bool:
        """Whether cells have changed any."""
        return bool(self._changed)

    def keep(self, number: int, record: Record) -> None:
        """Give this one out from now on: a cell has changed it."""
        self._changed[number] = record

    def _wanted(self, entry: Entry) -> bool:
        return entry.values is not None

    def _item(self, entry: Entry, number: int) -> Record:
        changed = self._changed.get(number)
        if changed is not None:
            return changed
        name = self._entries.documents.name(entry.document)
        return Record(entry.values or {}, entry.text, name, entry.offset, self, number)
