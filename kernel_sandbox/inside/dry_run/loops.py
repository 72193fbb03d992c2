"""Loops that go on past exceptions, in a dry run alone.

The body of every loop in a cell becomes the body of a `try` whose `except` names nothing: an
exception passes through it as if it were not there, traceback and all. In a dry run the same
name stands for `Exception`.
"""

from __future__ import annotations

import ast
import builtins
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .rehearsal import Rehearsal

_LET_BY = "__let_by_exceptions__"
_SLIPPED = "__exception_let_by__"
# Python takes 20 blocks inside each other; beyond this a loop is left as it is.
_DEEPEST = 20
_LOOPS = (ast.For, ast.While, ast.AsyncFor)
_REPEATS = (*_LOOPS, ast.comprehension, ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_MADE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_ASKING = "llm_"


def install() -> None:
    """Put the names that transformed loops use where every cell finds them."""
    _settle((), lambda: None)


def let_exceptions_by(slipped: Callable[[], None]) -> None:
    """From now on loops go on past exceptions; `slipped` is called at each."""
    _settle((Exception,), slipped)


def _settle(kinds: tuple[type[Exception], ...], slipped: Callable[[], None]) -> None:
    setattr(builtins, _LET_BY, kinds)
    setattr(builtins, _SLIPPED, slipped)


class Loops:
    """IPython's transformer of cells: their loops, and whether a dry run could be of use.

    Args:
        rehearsal: is told what the cell looks like.
        names: namespace of the cells.
    """

    def __init__(self, rehearsal: Rehearsal, names: Mapping[str, Any]) -> None:
        self._rehearsal = rehearsal
        self._names = names

    def visit(self, tree: ast.AST) -> ast.AST:
        """Transform a parsed cell in place and return it."""
        if isinstance(tree, ast.Module) and self._rehearsal.enabled:
            self._rehearsal.expect(asks_again(tree, self._names), parts(tree, self._names))
            transform(tree)
        return tree


def transform(tree: ast.Module) -> None:
    """Put the body of each loop in `tree` into a `try` that lets all exceptions through."""
    for statement in tree.body:
        _open(statement, 0)


def _open(node: ast.AST, depth: int) -> None:
    if isinstance(node, _MADE):
        depth = 0
    depth += _blocks(node)
    for statement in _statements(node):
        _open(statement, depth)
    if isinstance(node, _LOOPS) and depth - _blocks(node) + _deepest(node) <= _DEEPEST:
        node.body = [_lenient(node.body)]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        part = getattr(node, field, None)
        # The body of a lambda or of an `if` expression is no list.
        if isinstance(part, list):
            yield from part


def _blocks(node: ast.AST) -> int:
    """How many of Python's 20 blocks a statement takes, with the `try` it may get."""
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return len(node.items)
    # On top of its `try`, a handler takes one that forgets its name, in `except*` one more.
    taking = (*_LOOPS, ast.Try, ast.TryStar, ast.ExceptHandler)
    return 2 if isinstance(node, taking) else 0


def _deepest(node: ast.AST) -> int:
    if isinstance(node, _MADE):
        return 0
    return _blocks(node) + max(map(_deepest, _statements(node)), default=0)


def _lenient(body: list[ast.stmt]) -> ast.Try:
    first, last = body[0], body[-1]
    called = ast.Expr(ast.Call(ast.Name(_SLIPPED, ast.Load()), [], []))
    handler = ast.ExceptHandler(ast.Name(_LET_BY, ast.Load()), None, [called])
    lenient = ast.Try(body, [handler], [], [])
    for node in (lenient, handler, *ast.walk(handler)):
        if isinstance(node, (ast.stmt, ast.expr, ast.excepthandler)):
            ast.copy_location(node, first)
    lenient.end_lineno, lenient.end_col_offset = last.end_lineno, last.end_col_offset
    return lenient


def asks_again(tree: ast.AST, names: Mapping[str, Any]) -> bool:
    """Whether a call to the sub-LM in `tree` may be followed by another; no means no.

    Args:
        names: namespace in which it will run.
    """
    calls = 0
    called: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, _REPEATS):
            return True
        if isinstance(node, ast.Call):
            called.add(id(node.func))
            if _of_a_cell(node.func, names):
                return True
        elif isinstance(node, ast.Name) and node.id.startswith(_ASKING):
            # A call, or the function itself given to something like `map`.
            calls += 1 if id(node) in called else 2
    return calls > 1


def parts(tree: ast.Module, names: Mapping[str, Any]) -> list[tuple[int, bool]]:
    """For each statement of a cell its last line, and whether it may hold many calls itself."""
    makes = {one.name for one in tree.body if isinstance(one, _MADE)}
    found = []
    for one in tree.body:
        repeats = not isinstance(one, _MADE) and (
            asks_again(one, names)
            or any(isinstance(part, ast.Name) and part.id in makes for part in ast.walk(one))
        )
        found.append((one.end_lineno or one.lineno, repeats))
    return found


def _of_a_cell(function: ast.expr, names: Mapping[str, Any]) -> bool:
    """Whether what is called was made by a cell, and so may hold loops and calls."""
    while isinstance(function, (ast.Attribute, ast.Subscript, ast.Call)):
        function = function.func if isinstance(function, ast.Call) else function.value
    found = names.get(function.id) if isinstance(function, ast.Name) else None
    return any(_module(one) == "__main__" for one in (found, type(found)))


def _module(value: Any) -> str:
    """Where a value says it was made, with none of its own code run."""
    try:
        said = object.__getattribute__(value, "__module__")
    except Exception:
        return ""
    return said if type(said) is str else ""
