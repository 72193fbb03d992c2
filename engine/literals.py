"""Whether the answer that a cell gives was typed into it, or worked out by its code."""

from __future__ import annotations

import ast
from collections import Counter

from outcore.engine.source_code import tree


def typed(code: str) -> bool:
    """Whether a cell gives one answer only, and that a literal.

    A name counts as the literal that is assigned to it, where the cell assigns nothing else to
    it. Of several different literals, code has chosen one.
    """
    parsed = tree(code)
    if parsed is None:
        # Whatever IPython's own commands give is no literal.
        return False
    given: list[ast.expr] = []
    assigned: dict[str, ast.expr] = {}
    stored: Counter[str] = Counter()
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
    values = [
        assigned[one.id]
        if isinstance(one, ast.Name) and one.id in assigned and stored[one.id] == 1
        else one
        for one in given
    ]
    return len({ast.dump(one) for one in values}) == 1 and all(map(_is_literal, values))


def _is_literal(value: ast.expr) -> bool:
    if isinstance(value, ast.JoinedStr):
        return all(isinstance(part, ast.Constant) for part in value.values)
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return False
    return True
