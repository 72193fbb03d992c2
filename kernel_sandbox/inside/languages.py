"""Source code of any common language: what is code by its name, and what a line defines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .staged import Name
    from .text import Text

_EXTENSIONS = frozenset(
    re.findall(
        r"\S+",
        "py pyi pyx pxd ipynb c h cc cpp cxx hpp hh hxx cu cuh m mm java kt kts scala groovy go rs "
        "js jsx mjs cjs ts tsx vue svelte rb php pl pm lua r jl swift cs fs vb dart ex exs erl hs "
        "ml mli clj lisp el sh bash zsh fish ps1 bat sql proto thrift graphql cmake mk gradle toml "
        "ini cfg conf yaml yml tf nix zig nim v sv vhd asm s f f90 pas d cr sol",
    )
)
_FILES = frozenset({"makefile", "dockerfile", "cmakelists.txt", "rakefile", "gemfile", "justfile"})
_MODIFIER = (
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|sealed|open|"
    r"override|virtual|inline|constexpr|const|async|unsafe|extern|pub(?:\([a-z]+\))?|partial|"
    r"data|suspend|local|declare|typedef|readonly)\s+)*"
)
_KEYWORD = (
    r"(?:def|class|struct|enum|union|interface|trait|protocol|object|record|function|func|fun|fn|"
    r"type|module|namespace|package|macro_rules!|message|service|impl|sub|procedure|"
    r"let|var|val|defmodule|defp?|#\s*define|CREATE\s+TABLE|create\s+table)"
)
# What stands where a name is defined, at the start of a line.
_DEFINED = re.compile(
    # A keyword and a name; for Go's methods with what they belong to between.
    rf"^[ \t]*{_MODIFIER}{_KEYWORD}(?:\s+mut|\s*\*)?[ \t]+(?:\([^)\n]*\)\s*)?"
    rf"(?:[A-Za-z_]\w*(?:\.|::))*([A-Za-z_$][\w$]*)"
    # `NAME =`, `NAME: type =`, `NAME: value`, `NAME := value`, `"NAME": value`, `self.NAME =`.
    rf"|^[ \t]*{_MODIFIER}(?:self\.|this\.)?[\"']?([A-Za-z_$][\w$]*)[\"']?[ \t]*"
    r"(?::(?!:)|=(?![=~>]))"
    # `[static] type name(` and `type NAME =`, as in C and Java.
    r"|^[ \t]*(?:[A-Za-z_][\w:<>,*&\[\]]*[ \t*&]+){1,4}([A-Za-z_]\w*)[ \t]*"
    r"(?:\([^;\n]*(?:\{|$)|=(?![=~>]))",
    re.MULTILINE,
)
_ASSIGNED = 2
# A line that others stand inside of, further to the right.
_SCOPE = re.compile(
    rf"\s*{_MODIFIER}(class|struct|interface|trait|impl|module|namespace|enum|def|fn|func|function|fun)"
    r"\s+(?:\([^)\n]*\)\s*)?([A-Za-z_$][\w$]*)"
)
_CLOSING = tuple(")]}")
# How far back it is looked for.
_SCOPE_CHARS = 200_000
_NO_NAMES = frozenset(
    re.findall(
        r"\S+",
        "if else elif for while return switch case try except finally with do not and or in is new "
        "throw raise yield await import from as lambda default assert del pass break continue",
    )
)


def is_code(name: Name) -> bool:
    """Whether a document of this name is source code or a file of settings."""
    if not isinstance(name, str):
        return False
    last = name.rsplit("/", 1)[-1].lower()
    return last in _FILES or ("." in last and last.rsplit(".", 1)[-1] in _EXTENSIONS)


class Definition(NamedTuple):
    """A name that a line seems to define.

    Attributes:
        name: the name.
        start: its first character.
        end: its last but one.
        sure: whether a keyword or a type says so; `NAME: ...` and `NAME = ...` may be prose.
    """

    name: str
    start: int
    end: int
    sure: bool


def definitions(text: str) -> Iterator[Definition]:
    """The names that lines of `text` define, in order."""
    for found in _DEFINED.finditer(text):
        group = found.lastindex or 0
        name = found.group(group)
        if name not in _NO_NAMES:
            yield Definition(name, *found.span(group), group != _ASSIGNED)


def scope(text: str | Text, at: int) -> str:
    """What the line at character `at` of source code stands in, by indentation.

    `class Cache, def get`; empty where it stands in nothing.
    """
    start = max(0, at - _SCOPE_CHARS)
    lines = str(text[start:at]).split("\n")
    end = str(text[at : at + _SCOPE_CHARS]).partition("\n")[0]
    depth = _depth(lines.pop() + end)
    found: list[str] = []
    for line in reversed(lines):
        if not depth:
            break
        if not line.strip() or _depth(line) >= depth or line.lstrip().startswith(_CLOSING):
            continue
        depth = _depth(line)
        if match := _SCOPE.match(line):
            found.append(f"{match[1]} {match[2]}")
    return ", ".join(reversed(found))


def _depth(line: str) -> int:
    expanded = line.expandtabs()
    return len(expanded) - len(expanded.lstrip())
