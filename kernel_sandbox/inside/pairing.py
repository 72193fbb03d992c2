"""`group` and `pairs`: items by key, and the pairs of keys whose items meet a condition."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, islice
from typing import Any

from .ordering import hashable, in_order

_SHOWN = 10
_SHOWN_GROUPS = 20
_PAIRS_USAGE = "it is pairs(groups, one, other=None), where one(items) and other(items) tell"


class Groups(dict[Any, list[Any]]):
    """Lists of items by key, in the keys' order."""

    def __repr__(self) -> str:
        sizes = ", ".join(
            f"{key!r}: {len(items)}" for key, items in islice(self.items(), _SHOWN_GROUPS)
        )
        more = len(self) - _SHOWN_GROUPS
        cut = f", ... {more:,} more groups" if more > 0 else ""
        total = sum(map(len, self.values()))
        return f"{len(self):,} groups of {total:,} items, with their sizes: {sizes}{cut}"

    __str__ = __repr__


def group(items: Any, by: Any) -> Groups:
    """Put items into lists by a key.

    by_user = group(records, "user")                     # by a field
    by_month = group(records, lambda r: r.date.month)    # by what a function gives
    by_label = group(records, labels)                    # by keys, as many as items
    by_user["7"]                                         # a list of items

    Returns a dict of key to list, in the keys' order.
    """
    if isinstance(items, Mapping) and isinstance(by, Mapping):
        by = [by.get(key) for key in items]
    every = list(items.values() if isinstance(items, Mapping) else items)
    if callable(by):
        keys = [by(one) for one in every]
    elif isinstance(by, str):
        keys = [_field(one, by) for one in every]
    else:
        keys = list(by)
        if len(keys) != len(every):
            raise ValueError(f"by has {len(keys)} keys, and there are {len(every)} items")
    groups: dict[Any, list[Any]] = {}
    for key, one in zip(keys, every, strict=True):
        groups.setdefault(hashable(key), []).append(one)
    return Groups((key, groups[key]) for key in in_order(groups))


class Pairs(Sequence[tuple[Any, Any]]):
    """A list of pairs of ids, sorted, the lower id first; each pair is made when it is read.

    str() gives all of them, one a line.
    """

    def __init__(self, ids: Sequence[Any], ones: Sequence[bool], others: Sequence[bool]) -> None:
        self._ids = ids
        # An id takes part in four ways: it meets one condition, the other, both or none. With
        # whom it is paired hangs on the way alone.
        self._ways = [(bool(a), bool(b)) for a, b in zip(ones, others, strict=True)]
        self._partners = {
            way: [at for at, with_ in enumerate(self._ways) if _paired(way, with_)]
            for way in set(self._ways)
        }
        self._after = [bisect_right(self._partners[way], at) for at, way in enumerate(self._ways)]
        sizes = (
            len(self._partners[way]) - first
            for way, first in zip(self._ways, self._after, strict=True)
        )
        self._ends = list(accumulate(sizes))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        ids = self._ids
        for one, way, first in zip(ids, self._ways, self._after, strict=True):
            for at in islice(self._partners[way], first, None):
                yield one, ids[at]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            wanted = range(*key.indices(len(self)))
            return [self[at] for at in wanted]
        at = range(len(self))[key]
        row = bisect_right(self._ends, at)
        before = self._ends[row - 1] if row else 0
        partner = self._partners[self._ways[row]][self._after[row] + at - before]
        return self._ids[row], self._ids[partner]

    def __contains__(self, pair: object) -> bool:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            return False
        places = {one: at for at, one in enumerate(self._ids)}
        low, high = places.get(pair[0], -1), places.get(pair[1], -1)
        return 0 <= low < high and _paired(self._ways[low], self._ways[high])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, Pairs)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __str__(self) -> str:
        return "\n".join(f"({a}, {b})" for a, b in self)

    def __repr__(self) -> str:
        if not len(self):
            return "no pairs"
        shown = ", ".join(f"({a}, {b})" for a, b in islice(self, _SHOWN))
        more = f", ... {len(self) - _SHOWN:,} more" if len(self) > _SHOWN else ""
        noun = "pair" if len(self) == 1 else "pairs"
        return f"{len(self):,} {noun}: {shown}{more}"


def pairs(groups: Any, one: Any, other: Any = None) -> Pairs:
    """The pairs of different ids of which one meets a condition and the other another.

    by_user = group(records, "user")
    p = pairs(by_user, lambda items: any(r.label == "spam" for r in items))      # both do
    p = pairs(by_user, lambda items: len(items) > 3, lambda items: len(items) == 1)
    done(p)                                          # all of them, one "(a, b)" a line

    `groups` is a dict of id to its items, or a list of (id, item). `one` and `other` are
    functions of an id's items; without `other` both ids must meet `one`. Each pair comes once,
    the lower id first, sorted.
    """
    if not callable(one) or not (other is None or callable(other)):
        raise TypeError(f"the conditions of pairs() are functions: {_PAIRS_USAGE}")
    every = _by_id(groups)
    ids = in_order(every)
    ones = [_meets(one, key, every[key]) for key in ids]
    others = ones if other is None else [_meets(other, key, every[key]) for key in ids]
    return Pairs(ids, ones, others)


def _by_id(groups: Any) -> Mapping[Any, Any]:
    if isinstance(groups, Mapping):
        return groups
    every: dict[Any, list[Any]] = {}
    for entry in groups:
        if isinstance(entry, (str, Mapping)) or len(entry) != 2:
            raise TypeError(
                "groups is a dict of id to items, or a list of (id, item): make it with "
                f'group(items, "field"); {_PAIRS_USAGE}'
            )
        every.setdefault(entry[0], []).append(entry[1])
    return every


def _meets(condition: Callable[[Any], Any], key: Any, items: Any) -> bool:
    try:
        return bool(condition(items))
    except Exception as error:
        error.add_note(f"(in a condition of pairs(), for the id {key!r} with {items!r:.200})")
        raise


def _paired(a: tuple[bool, bool], b: tuple[bool, bool]) -> bool:
    return (a[0] and b[1]) or (a[1] and b[0])


def _field(item: Any, name: str) -> Any:
    """A field of a record, by its name whatever the case."""
    if isinstance(item, Mapping):
        if name in item:
            return item[name]
        alike = [key for key in item if str(key).casefold() == name.casefold()]
        if alike:
            return item[alike[0]]
        raise KeyError(f"{name!r}: an item has {', '.join(map(repr, item))}")
    return getattr(item, name)
