"""The statements of a cell that can be run again without doing anything but binding a name."""

from __future__ import annotations

import ast
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# What may stand above a class or a method: it makes no calls that tell.
_DECORATORS = frozenset(("dataclass", "property", "staticmethod", "classmethod", "total_ordering"))


def definitions(code: str) -> dict[str, str]:
    """Source by name of the imports, functions and plain classes at the top of a cell.

    A cell that can't be parsed has none, and neither has one whose statement may do more than
    bind its name: a default that is computed, a decorator that is not known. A name that the cell
    binds once more, in another way, is left out.
    """
    if "def " not in code and "import " not in code and "class " not in code:
        return {}
    found: dict[str, str] = {}
    try:
        for statement in ast.parse(code).body:
            for name in _names(statement):
                found.pop(name, None)
            found.update(_of(statement))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return found


def bound(code: str) -> set[str]:
    """The names that a cell may bind, in whatever way; none of one that can't be parsed."""
    try:
        return set(_names(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()


def _names(tree: ast.AST) -> Iterator[str]:
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, (*_SCOPES, ast.Lambda)):
            # What stands inside binds names of its own, but for those it calls global.
            named = (one.names for one in ast.walk(node) if isinstance(one, ast.Global))
            yield from chain([getattr(node, "name", "")], *named)
            continue
        if isinstance(node, ast.comprehension):
            pending += (node.iter, *node.ifs)
            continue
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.partition(".")[0]
        elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)):
            yield node.name or ""
        elif isinstance(node, ast.MatchMapping):
            yield node.rest or ""
        pending += ast.iter_child_nodes(node)


def _of(statement: ast.stmt) -> Iterator[tuple[str, str]]:
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        for alias in statement.names:
            if alias.name == "*":
                continue
            name = alias.asname or alias.name.partition(".")[0]
            yield name, ast.unparse(_only(statement, alias))
        return
    if isinstance(statement, _SCOPES) and _plain(statement):
        yield statement.name, ast.unparse(statement)


def _only(statement: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    if isinstance(statement, ast.Import):
        return ast.Import([alias])
    return ast.ImportFrom(statement.module, [alias], statement.level)


def _plain(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        given = (*statement.args.defaults, *statement.args.kw_defaults)
        return _decorated(statement.decorator_list) and all(map(_constant, given))
    if isinstance(statement, ast.ClassDef):
        bases = all(isinstance(base, (ast.Name, ast.Attribute)) for base in statement.bases)
        known = bases and not statement.keywords and _decorated(statement.decorator_list)
        return known and all(map(_plain, statement.body))
    if isinstance(statement, (ast.Assign, ast.AnnAssign)):
        return _constant(statement.value)
    return isinstance(statement, ast.Pass) or (
        isinstance(statement, ast.Expr) and _constant(statement.value)
    )


def _decorated(decorators: list[ast.expr]) -> bool:
    named = (one.func if isinstance(one, ast.Call) else one for one in decorators)
    return all(_last_name(one) in _DECORATORS for one in named)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _constant(node: ast.expr | None) -> bool:
    if node is None:
        return True
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True
