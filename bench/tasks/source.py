"""What a Python source tree says of itself, read from its syntax trees.

A name counts as unambiguous when one definition in the whole tree has it: a class, a function
or method, or an assignment anywhere. Names that an import renames are no bases to ask about.
"""

from __future__ import annotations

import ast
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Value:
    """A literal, as its owner states it.

    Attributes:
        file: path in the tree.
        owner: the class or function it belongs to; empty for a module's constant.
        name: of the constant, field or parameter.
        text: a string's own characters, or a number as `repr` has it.
    """

    file: str
    owner: str
    name: str
    text: str


@dataclass(slots=True)
class Facts:
    """What is known of a tree.

    Attributes:
        names: how many definitions each name has.
        classes: file of each class that has an unambiguous name.
        functions: the same for functions at the top of a module.
        methods: class of each method that has an unambiguous name.
        bases: base of each class that has exactly one, both names unambiguous.
        derived: for each class with an unambiguous name, names of the classes that name it as
            a base; only where all of these are unambiguous, too.
        constants: values of names in capitals at the top of a module.
        fields: defaults of annotated fields of classes.
        parameters: defaults of parameters of functions.
    """

    names: Counter[str] = field(default_factory=Counter)
    classes: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    methods: dict[str, str] = field(default_factory=dict)
    bases: dict[str, str] = field(default_factory=dict)
    derived: dict[str, tuple[str, ...]] = field(default_factory=dict)
    constants: list[Value] = field(default_factory=list)
    fields: list[Value] = field(default_factory=list)
    parameters: list[Value] = field(default_factory=list)


def installed_vllm() -> Path:
    """Folder of the installed vLLM's source, found without importing it."""
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        raise SystemExit("vLLM is not installed; name another source tree with --tree")
    return Path(spec.origin).parent


@lru_cache(maxsize=2)
def facts(tree: Path) -> Facts:
    """Read a tree; takes some seconds per thousand files. Files that can't be parsed are left out.

    The order of everything is that of the sorted paths.
    """
    found, aliased, heirs = Facts(), set[str](), defaultdict[str, list[str]](list)
    for path in sorted(tree.rglob("*.py")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError, OSError):
            continue
        _module(module, path.relative_to(tree).as_posix(), found, aliased, heirs)
    single = {name for name, times in found.names.items() if times == 1}
    plain = single - aliased
    for table in (found.classes, found.functions, found.methods):
        _keep(table, single)
    found.bases = {
        name: base for name, base in found.bases.items() if name in single and base in plain
    }
    found.derived = {
        base: tuple(sorted(names))
        for base, names in heirs.items()
        if base in plain and base in found.classes and single.issuperset(names)
    }
    found.constants = [one for one in found.constants if one.name in single]
    times = Counter((one.owner, one.name) for one in found.fields)
    found.fields = [
        one
        for one in found.fields
        if one.owner in found.classes and times[one.owner, one.name] == 1
    ]
    found.parameters = [one for one in found.parameters if one.owner in found.functions]
    return found


def _keep(table: dict[str, str], names: set[str]) -> None:
    for name in table.keys() - names:
        del table[name]


def _module(
    module: ast.Module,
    file: str,
    found: Facts,
    aliased: set[str],
    heirs: defaultdict[str, list[str]],
) -> None:
    for node in ast.walk(module):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                if alias.asname and alias.asname != alias.name:
                    aliased |= {alias.name.rpartition(".")[2], alias.asname}
        elif isinstance(node, ast.ClassDef):
            found.names[node.name] += 1
            found.classes[node.name] = file
            names = [_last_name(base) for base in node.bases]
            for name in filter(None, names):
                heirs[name].append(node.name)
            if len(names) == 1 and names[0] and not node.keywords:
                found.bases[node.name] = names[0]
            _class(node, file, found)
        elif isinstance(node, Function):
            found.names[node.name] += 1
        elif isinstance(node, ast.stmt):
            for name, _ in _assigned(node):
                found.names[name] += 1
    for top in module.body:
        if isinstance(top, Function):
            found.functions[top.name] = file
            found.parameters += _defaults(top, file)
        for name, value in _assigned(top):
            if name.isupper() and (text := _literal(value)):
                found.constants.append(Value(file, "", name, text))


def _class(node: ast.ClassDef, file: str, found: Facts) -> None:
    for inner in node.body:
        if isinstance(inner, Function):
            found.methods[inner.name] = node.name
        for name, value in _assigned(inner):
            if isinstance(inner, ast.AnnAssign) and (text := _literal(value)):
                found.fields.append(Value(file, node.name, name, text))


def _assigned(node: ast.stmt) -> list[tuple[str, ast.expr | None]]:
    if isinstance(node, ast.Assign):
        return [(one.id, node.value) for one in node.targets if isinstance(one, ast.Name)]
    if isinstance(node, (ast.AnnAssign, ast.AugAssign)) and isinstance(node.target, ast.Name):
        return [(node.target.id, node.value)]
    return []


def _defaults(node: Function, file: str) -> list[Value]:
    spec = node.args
    positional = [*spec.posonlyargs, *spec.args]
    pairs = [
        *zip(positional[len(positional) - len(spec.defaults) :], spec.defaults, strict=True),
        *zip(spec.kwonlyargs, spec.kw_defaults, strict=True),
    ]
    return [
        Value(file, node.name, one.arg, text) for one, value in pairs if (text := _literal(value))
    ]


def _literal(value: ast.expr | None) -> str | None:
    """The text of a number or a string worth asking for; True, None and the like are guessed."""
    try:
        literal = ast.literal_eval(value) if value is not None else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(literal, str):
        plain = literal.strip() == literal and literal.isprintable()
        return literal if plain and 3 <= len(literal) <= 60 else None
    # A single digit stands in almost any answer.
    if type(literal) in (int, float) and len(repr(literal)) > 1:
        return repr(literal)
    return None


def _last_name(base: ast.expr) -> str:
    if isinstance(base, ast.Subscript):
        base = base.value
    if isinstance(base, ast.Attribute):
        return base.attr
    return base.id if isinstance(base, ast.Name) else ""
