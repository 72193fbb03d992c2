"""Whether the answer that a cell gives was typed into it, or worked out by its code."""

from __future__ import annotations

import ast
from collections import Counter

from outcore.engine.source_code import tree

# What code can fill after it has been assigned.
_FILLED = (ast.List, ast.Dict, ast.Set)


def typed(code: str) -> bool:
    """Whether a cell gives one answer only, and that a literal.

    A name counts as the literal that is assigned to it, where the cell assigns nothing else to
    it; one of a list or the like, where the cell does nothing else with it either. Of several
    different literals, code has chosen one.
    """
    parsed = tree(code)
    if parsed is None:
        # Whatever IPython's own commands give is no literal.
        return False
    given: list[ast.expr] = []
    assigned: dict[str, ast.expr] = {}
    stored: Counter[str] = Counter()
    loaded: Counter[str] = Counter()
    for node in ast.walk(parsed):
        match node:
            case ast.Call(func=ast.Name(id="done" | "FINAL" | "SUBMIT"), args=[value, *_]):
                given.append(value)
            case ast.Call(func=ast.Name(id="done" | "FINAL" | "SUBMIT"), keywords=[first, *_]):
                given.append(first.value)
            case ast.Call(func=ast.Name(id="FINAL_VAR"), args=[ast.Constant(value=str(name))]) if (
                name.isidentifier()
            ):
                given.append(ast.Name(name, ast.Load()))
                loaded[name] += 1
            case ast.Assign(
                targets=[
                    ast.Subscript(value=ast.Name(id="answer"), slice=ast.Constant(value="content"))
                ],
                value=value,
            ):
                given.append(value)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                assigned[name] = value
            case ast.Name(id=name, ctx=ast.Store()):
                stored[name] += 1
            case ast.Name(id=name):
                loaded[name] += 1
    still = {
        name: value
        for name, value in assigned.items()
        if stored[name] == 1 and (loaded[name] == 1 or not isinstance(value, _FILLED))
    }
    values = [still.get(one.id, one) if isinstance(one, ast.Name) else one for one in given]
    # No literal is too deep to be written out.
    return all(map(_is_literal, values)) and len({ast.dump(one) for one in values}) == 1


def _is_literal(value: ast.expr) -> bool:
    if isinstance(value, ast.JoinedStr):
        return all(isinstance(part, ast.Constant) for part in value.values)
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return False
    return True
