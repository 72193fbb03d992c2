"""Python as a model writes it: whether it compiles, and repairs that need no model."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROMPT = re.compile(r"^(>>>|\.\.\.)( |$)", re.MULTILINE)
_TYPOGRAPHIC = str.maketrans(
    {
        "\u201c": '"',
        "\u201d": '"',
        "\u2018": "'",
        "\u2019": "'",
        "\u00a0": " ",
        "\u2212": "-",
        "\u200b": "",
        "\ufeff": "",
    }
)
_DOING = (
    ast.Call,
    ast.Assign,
    ast.AugAssign,
    ast.Import,
    ast.ImportFrom,
    ast.For,
    ast.While,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
)


def syntax_error(code: str) -> str | None:
    """Why `code` can't run as a cell, with the line and its number; None where it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(code, "<cell>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError as error:
        number = error.lineno or 1
        lines = code.splitlines()
        line = lines[number - 1].strip() if number <= len(lines) else ""
        return f"line {number}: {error.msg}" + (f"\n    {line}" if line else "")
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return f"the code can't be read: {error or type(error).__name__}"
    return None


def tree(code: str) -> ast.Module | None:
    """The syntax tree of Python; None for anything else, such as IPython's own commands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def idle(code: str) -> str:
    """What stands in a cell that does nothing, such as `Answer: 16`; empty where it does.

    A root that means to answer writes so, and Python takes it for a remark on a type.
    """
    parsed = tree(code)
    if parsed is None or not parsed.body or not all(map(_is_idle, parsed.body)):
        return ""
    return "\n".join(_said(node, code) for node in parsed.body).strip()


def _said(node: ast.stmt, code: str) -> str:
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text.strip()
    return ast.get_source_segment(code, node) or ""


def _is_idle(node: ast.stmt) -> bool:
    if isinstance(node, ast.AnnAssign):
        return node.value is None and isinstance(node.target, ast.Name)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def blank(code: str) -> bool:
    """Whether a cell has nothing but comments."""
    parsed = tree(code)
    return parsed is not None and not parsed.body


def said_in(code: str) -> str:
    """What a cell says that can't run any more: what it would answer with, else its comments."""
    for node in ast.walk(tree(code) or ast.Module([], [])):
        match node:
            case ast.Call(func=ast.Name(id="done" | "FINAL" | "SUBMIT"), args=[value, *_]) if (
                isinstance(value, ast.Constant)
            ):
                return str(value.value)
    lines = (line.strip() for line in code.splitlines())
    return " ".join(line.lstrip("# ") for line in lines if line.startswith("#"))


def repaired(code: str) -> str:
    """`code` with the slips mended that leave no doubt; as it is where that does not help."""
    if syntax_error(code) is None:
        return code
    return next((one for one in _repairs(code) if syntax_error(one) is None), code)


def _repairs(code: str) -> Iterator[str]:
    code = textwrap.dedent(code.expandtabs(4) if "\t" in code else code).strip("\n")
    yield code
    lines = code.splitlines()
    # The first line lost its indentation with the fence, or alone kept one.
    yield "\n".join([lines[0].lstrip(), textwrap.dedent("\n".join(lines[1:]))]) if lines else code
    if _PROMPT.match(code):
        yield "\n".join(_PROMPT.sub("", line) for line in lines if _PROMPT.match(line))
    code = "\n".join(line for line in lines if line.strip(" `~") or not line.strip())
    code = code.strip().strip("`").strip("\n")
    yield code
    yield code.translate(_TYPOGRAPHIC)


def is_code(text: str) -> bool:
    """Whether `text` is Python that does something: not prose, a bare value or a lone name."""
    parsed = tree(text) if syntax_error(text) is None else None
    nodes = list(ast.walk(parsed)) if parsed is not None else []
    # "Paris (France)" is a call to Python, and prose to anyone else.
    return any(isinstance(node, _DOING) for node in nodes) and not any(
        isinstance(node, ast.Call) and _spaced(node, text) for node in nodes
    )


def _spaced(call: ast.Call, text: str) -> bool:
    func = call.func
    if not isinstance(func, ast.Name) or func.end_col_offset is None:
        return False
    line = text.splitlines()[func.lineno - 1].encode()
    return line[func.end_col_offset : func.end_col_offset + 1] == b" "
