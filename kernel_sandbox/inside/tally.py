"""`tally`: how often each label occurs, in all and by group."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .ordering import hashable, in_order
from .told import ENDS, Told, key_text, relation, shortened, times

_ROWS = 40
_LABELS = 15


class Tally(dict[str, int]):
    """Counts by label, the most common first; a label that was never counted has 0.

    t = tally(labels, by=months)
    print(t)                      all counts, and those of each group
    t["spam"], t.count("spam")    how often; upper and lower case are equal
    t.most(), t.least()           the label (the labels, where several tie)
    t.compare("spam", "ham")      which is more common, and in how many groups
    t.shares("spam")              its share of each group
    t.leaders("spam")             the groups that have most of it
    t.groups["May"]               the tally of one group
    t.sole                        in how many groups each label alone is the most frequent

    Attributes:
        groups: tally of each group, in order; empty without groups.
        skipped: entries that were no label: None, exceptions, empty text.
    """

    def __init__(self, counts: Mapping[str, int], groups: Mapping[Any, "Tally"], skipped: int = 0):
        super().__init__(counts)
        self.groups = dict(groups)
        self.skipped = skipped

    def __missing__(self, label: Any) -> int:
        return self.count(label)

    def __contains__(self, label: object) -> bool:
        return self._name(label) is not None

    def get(self, label: Any, default: Any = 0) -> Any:
        """The count of a label."""
        name = self._name(label)
        return default if name is None else super().__getitem__(name)

    def count(self, label: Any) -> int:
        """How often a label occurs."""
        return int(self.get(label))

    def total(self) -> int:
        """How many labels there are in all."""
        return sum(self.values())

    def most_common(self, n: int | None = None) -> list[tuple[str, int]]:
        """The n most common labels with their counts."""
        return list(self.items())[: None if n is None else int(n)]

    def most(self) -> Told:
        """The most common label; where several tie, all of them."""
        return self._extreme(max)

    def least(self) -> Told:
        """The least common label of those that occur; where several tie, all of them."""
        return self._extreme(min)

    @property
    def sole(self) -> "Tally":
        """In how many groups each label alone is the most frequent."""
        winners = [one.most().labels for one in self.groups.values() if one]
        won = Counter(dict.fromkeys(self, 0))
        won.update(labels[0] for labels in winners if len(labels) == 1)
        return Tally(dict(won.most_common()), {})

    def compare(self, a: Any, b: Any) -> Told:
        """Which of two labels is more common; with groups, in how many, and the first.

        Attributes: .a and .b, the counts; .more, .less and .equal, the number of groups in
        which `a` is more, less or equally frequent; .first, the first group in which it is more.
        """
        one, two = self.count(a), self.count(b)
        first, second = (self._name(label) or str(label) for label in (a, b))
        lines = [f"{relation(first, second, one, two)}: {one:,} and {two:,}"]
        lines += (f"no label {label!r} was counted" for label in (a, b) if label not in self)
        pairs = [(key, group.count(a), group.count(b)) for key, group in self.groups.items()]
        more = [key for key, x, y in pairs if x > y]
        less = sum(x < y for _, x, y in pairs)
        equal = len(pairs) - len(more) - less
        if pairs:
            lines.append(
                f"of {len(pairs)} groups, {first} is more frequent than {second} in {len(more)}, "
                f"less in {less}, equally in {equal}"
            )
            lines.append(
                f"the first group in which {first} is more frequent: {key_text(more[0])}"
                if more
                else f"there is no group in which {first} is more frequent"
            )
        return Told(
            "\n".join(lines),
            a=one,
            b=two,
            more=len(more),
            less=less,
            equal=equal,
            first=more[0] if more else None,
        )

    def leaders(self, label: Any, n: int = 5) -> Told:
        """The groups that have most of a label, with their counts.

        Attributes: .groups, these groups; .counts, how often each has it.
        """
        name = self._name(label) or str(label)
        ranked = sorted(self.groups.items(), key=lambda one: -one[1].count(label))[: int(n)]
        found = {key: one.count(label) for key, one in ranked}
        told = ", ".join(f"{key_text(key)} {count:,}" for key, count in found.items())
        return Told(
            f"groups with the most {name}: {told or 'none'}",
            groups=list(found),
            counts=list(found.values()),
        )

    def shares(self, label: Any) -> Told:
        """How common a label is in each group: its count, and its share of the group.

        Attributes: .shares, group -> share from 0 to 1; .most, the group with the largest.
        """
        name = self._name(label) or str(label)
        found = {key: (one.count(label), one.total()) for key, one in self.groups.items()}
        shares = {key: count / total if total else 0.0 for key, (count, total) in found.items()}
        rows = [
            f"{name} {key_text(key)}: {count:,} of {total:,} ({shares[key]:.1%})"
            for key, (count, total) in found.items()
        ]
        rows = shortened(rows, _ROWS)
        most = max(shares, key=shares.__getitem__, default=None)
        if len(shares) == 2:
            one, two = shares
            relation = (
                "as common"
                if shares[one] == shares[two]
                else "more common"
                if shares[one] > shares[two]
                else "less common"
            )
            joint = "as" if relation == "as common" else "than"
            rows.append(f"{name} is {relation} {key_text(one)} {joint} {key_text(two)}")
        return Told("\n".join(rows), shares=shares, most=most)

    def __repr__(self) -> str:
        if not self:
            return f"no labels{self._skipped()}"
        kinds = "1 label" if len(self) == 1 else f"{len(self)} different labels"
        rows = [f"{self.total():,} counted, {kinds}, most common first:{self._skipped()}"]
        # Behind a colon, a number is taken for a part of the label.
        every = [f"{label} ({times(count)})" for label, count in self.items()]
        rows += shortened(every, _LABELS)
        rows.append(f"least common: {self._said(self.least())}")
        rows.append(f"most common: {self._said(self.most())}")
        if self.groups:
            rows.append(f"by group ({len(self.groups)} groups):")
            lines = [f"{key_text(key)}: {one.line()}" for key, one in self.groups.items()]
            rows += shortened(lines, _ROWS)
            sole = self.sole
            won = ", ".join(f"{label} {count}" for label, count in sole.items())
            rows.append(f"groups in which a label alone is the most frequent: {won}")
            rows.append(f"groups with a tie: {len(self.groups) - sole.total()}")
        return "\n".join(rows)

    __str__ = __repr__

    def line(self) -> str:
        """The counts in one line."""
        return ", ".join(f"{label} {count:,}" for label, count in self.items()) or "none"

    def __reduce__(self) -> tuple[Any, ...]:
        return Tally, (dict(self), self.groups, self.skipped)

    def _name(self, label: object) -> str | None:
        if isinstance(label, str) and super().__contains__(label):
            return label
        wanted = _plain(str(label))
        return next((name for name in self if _plain(name) == wanted), None)

    def _extreme(self, which: Callable[[Iterable[int]], int]) -> Told:
        if not self:
            return Told("", labels=[], each=0)
        bound = which(self.values())
        labels = [label for label, count in self.items() if count == bound]
        return Told(", ".join(labels), labels=labels, each=bound)

    def _said(self, told: Told) -> str:
        often = times(told.each)
        if len(told.labels) > ENDS:
            return f"tie of {len(told.labels)} ({often} each)"
        tie = f"tie of {len(told.labels)}: " if len(told.labels) > 1 else ""
        return f"{tie}{told} ({often}{' each' if tie else ''})"

    def _skipped(self) -> str:
        return f" ({self.skipped:,} entries without a label left out)" if self.skipped else ""


def tally(labels: Any, by: Any = None) -> Tally:
    """Count labels, in all or by group.

    print(tally(labels))                          # counts, most and least common, ties
    t = tally(labels, by=[r.date.month for r in records]); print(t)
    print(t.compare("spam", "ham"))               # in all, and in how many groups
    t.most(), t["spam"]; help(t) tells more

    `labels` is a list of texts, such as of llm_classify, or a dict of them or of counts. `by`
    is a list of keys, as many as labels and in the same order: months, users, "before" and
    "after".
    """
    if isinstance(labels, str):
        raise TypeError("tally() takes a list of labels, not one text")
    if isinstance(labels, Mapping):
        if by is None and all(type(one) is int for one in labels.values()):
            return _summed((label, max(0, count)) for label, count in labels.items())
        if isinstance(by, Mapping):
            by = [by.get(key) for key in labels]
        labels = list(labels.values())
    every = list(labels)
    if by is None:
        return _counted(every)
    if isinstance(by, str) or not isinstance(by, Iterable):
        raise TypeError(
            f"by is a list of {len(every)} keys, one for each label, not {by!r:.60}: "
            "tally(labels, by=[... for r in records])"
        )
    keys = list(by)
    if len(keys) != len(every):
        raise ValueError(f"by has {len(keys)} keys, and there are {len(every)} labels")
    whole = _counted(every)
    names = {_plain(name): name for name in whole}
    groups: dict[Any, list[Any]] = {}
    for key, label in zip(keys, every, strict=True):
        if _is_label(label):
            label = names[_plain(str(label))]
        groups.setdefault(hashable(key), []).append(label)
    return Tally(whole, {key: _counted(groups[key]) for key in in_order(groups)}, whole.skipped)


def _counted(labels: list[Any]) -> Tally:
    return _summed((label, 1) for label in labels)


def _summed(counted: Iterable[tuple[Any, int]]) -> Tally:
    spellings: dict[str, Counter[str]] = {}
    skipped = 0
    for label, count in counted:
        if not _is_label(label):
            skipped += count
        elif count:
            text = str(label).strip()
            spellings.setdefault(_plain(text), Counter())[text] += count
    counts = {spelled.most_common(1)[0][0]: spelled.total() for spelled in spellings.values()}
    return Tally(dict(Counter(counts).most_common()), {}, skipped)


def _is_label(label: Any) -> bool:
    return label is not None and not isinstance(label, BaseException) and bool(str(label).strip())


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()
