"""Questions about a source tree whose answers its syntax trees tell.

Where is X defined, what is the default of Y of Z, what value has C, which classes derive from
X, what does X derive from, whose method is M: in turns, each in one of several wordings, about
names that no more than one definition in the tree has. Half of the names are for development,
half for reports.

An answer is right where it holds the value (numbers are compared as numbers), the file's path,
or the class. For "which classes" the class names of the tree that stand in the answer must be
all that are asked for and no others, the class in the question left aside.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tasks.item import Draw, Item, half
from tasks.source import facts, installed_vllm

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from tasks.item import Gold
    from tasks.source import Facts, Value

NAME, BINARY = "code", True
# The tree is as long as it is.
SIZES = (0,)

_LEAST_HEIRS, _MOST_HEIRS = 2, 6
_NUMBER = re.compile(r"(?<![\w.])-?(?:\d[\d_]*(?:,\d{3})*)(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")
_WORDINGS: dict[str, tuple[str, ...]] = {
    "class file": (
        "In which file is the class {name} defined? Give its path.",
        "Which file defines the class {name}? Answer with the path.",
        "Where is the class {name} defined? I need the path of the file.",
    ),
    "function file": (
        "In which file is the function {name} defined? Give its path.",
        "Which file holds the definition of the function {name}? Answer with the path.",
        "Where is the function {name} implemented? I need the path of the file.",
    ),
    "parameter": (
        "What is the default value of the parameter {name} of the function {owner}?",
        "If I call {owner} without giving {name}, what value does {name} have?",
        "The function {owner} has a parameter {name}. What does it default to?",
    ),
    "field": (
        "What is the default value of the field {name} of the class {owner}?",
        "Which default does the class {owner} give its field {name}?",
        "The class {owner} has a field {name}. What does it default to?",
    ),
    "constant": (
        "What value does the constant {name} have?",
        "What is {name} set to?",
        "To which value is {name} assigned in the source?",
    ),
    "derived": (
        "Which classes derive directly from {name}? List their names.",
        "List all classes that have {name} as a base class.",
        "What are the direct subclasses of {name}? Name all of them.",
    ),
    "base": (
        "Which class does {name} derive from?",
        "What is the base class of {name}?",
        "Name the parent class of the class {name}.",
    ),
    "method": (
        "Which class has the method {name}?",
        "In which class is the method {name} defined?",
        "The method {name} belongs to one class only. Which one?",
    ),
}

_Asked = tuple[str, dict[str, str], "Gold"]


def items(draw: Draw) -> Iterator[Item]:
    """The items of a draw; names are drawn without repeats as long as there are any."""
    tree = draw.tree if draw.tree is not None else installed_vllm()
    known = facts(tree)
    left: dict[str, list[_Asked]] = {}
    kinds = [kind for kind in _WORDINGS if _candidates(kind, known, draw)]
    if not kinds:
        raise SystemExit(f"{tree} holds nothing to ask about")
    for number in range(draw.samples):
        chance = draw.random(NAME, draw.split, number)
        kind = kinds[number % len(kinds)]
        if not left.get(kind):
            left[kind] = _candidates(kind, known, draw)
            draw.random(NAME, draw.split, kind).shuffle(left[kind])
        name, words, gold = left[kind].pop()
        yield Item(
            id=f"{number:03}-{kind.replace(' ', '-')}-{name}",
            question=_worded(kind, words, chance),
            context=tree,
            gold=gold,
            meta={"kind": kind},
        )


def score(item: Item, answer: str) -> float:
    """1 where the answer holds what is asked for; see the module."""
    gold, kind = item.gold, str(item.meta["kind"])
    if not isinstance(gold, str):
        assert not isinstance(item.context, str)
        words = set(re.findall(r"\w+", answer)) - set(re.findall(r"\w+", item.question))
        return float(words & facts(item.context).classes.keys() == set(gold))
    if kind.endswith("file"):
        return float(has_path(answer, gold))
    number = _as_number(gold)
    if number is not None:
        said = (_as_number(one.replace(",", "")) for one in _NUMBER.findall(answer))
        return float(number in said)
    before, behind = (r"(?<!\w)" if gold[0].isalnum() else ""), r"(?!\w)"
    return float(re.search(before + re.escape(gold) + behind, answer) is not None)


def has_path(answer: str, path: str) -> bool:
    """Whether a path stands in an answer, perhaps as the end of a longer one."""
    plain = answer.replace("\\", "/")
    return re.search(rf"(?<![\w.-]){re.escape(path)}(?!\w|\.\w)", plain) is not None


def _worded(kind: str, words: dict[str, str], chance: random.Random) -> str:
    return chance.choice(_WORDINGS[kind]).format(**words)


def _candidates(kind: str, known: Facts, draw: Draw) -> list[_Asked]:
    """What can be asked of a kind, in the split wanted."""
    makers: dict[str, Callable[[Facts], Sequence[_Asked]]] = {
        "class file": lambda known: _named(known.classes),
        "function file": lambda known: _named(known.functions),
        "method": lambda known: _named(
            {name: of for name, of in known.methods.items() if of in known.classes}
        ),
        "base": lambda known: _named(
            {name: of for name, of in known.bases.items() if of in known.classes}
        ),
        "derived": lambda known: [
            (name, {"name": name}, heirs)
            for name, heirs in sorted(known.derived.items())
            if _LEAST_HEIRS <= len(heirs) <= _MOST_HEIRS
        ],
        "constant": lambda known: _values(known.constants),
        "field": lambda known: _values(known.fields),
        "parameter": lambda known: _values(known.parameters),
    }
    return [asked for asked in makers[kind](known) if half(asked[0]) == draw.split]


def _named(table: dict[str, str]) -> list[_Asked]:
    return [
        (name, {"name": name}, gold)
        for name, gold in sorted(table.items())
        # A name of one short word can hardly be told from the rest of the question.
        if len(name) > 5 and not name.startswith("__") and gold.casefold() not in name.casefold()
    ]


def _values(values: list[Value]) -> list[_Asked]:
    return [
        (f"{one.owner}.{one.name}".strip("."), {"name": one.name, "owner": one.owner}, one.text)
        for one in values
        if one.text.casefold() not in f"{one.owner} {one.name}".casefold()
    ]


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
