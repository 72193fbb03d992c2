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
    # Not over line ends: each line of a run of such words is looked at from its own start.
    r"data|suspend|local|declare|typedef|readonly)[^\S\n]+)*"
)
# Of what others stand inside of.
_BLOCK = (
    r"def|class|struct|enum|union|interface|trait|protocol|object|record|function|func|fun|fn|"
    r"type|module|namespace|message|service|impl|sub|procedure|defmodule|defp"
)
_KEYWORD = (
    rf"(?:{_BLOCK}|package|macro_rules!|let|var|val|#\s*define|CREATE\s+TABLE|create\s+table)"
)
# `[static] type` before a name, as in C and Java. Where a word ends is never in doubt, so that no
# line takes long.
_TYPED = r"(?:[A-Za-z_][\w:<>,\[\]]*[ \t*&]+){1,4}"
# What stands where a name is defined, at the start of a line.
_DEFINED = re.compile(
    # A keyword and a name; for Go's methods with what they belong to between.
    rf"^[ \t]*{_MODIFIER}{_KEYWORD}(?:\s+mut|\s*\*)?[ \t]+(?:\([^)\n]*\)\s*)?"
    rf"(?:[A-Za-z_]\w*(?:\.|::))*([A-Za-z_$][\w$]*)"
    # `NAME =`, `NAME: type =`, `NAME: value`, `NAME := value`, `"NAME": value`, `self.NAME =`.
    rf"|^[ \t]*{_MODIFIER}(?:self\.|this\.)?[\"']?([A-Za-z_$][\w$]*)[\"']?[ \t]*"
    r"(?::(?!:)|=(?![=~>]))"
    # `[static] type name(` and `type NAME =`, as in C and Java.
    rf"|^[ \t]*{_TYPED}([A-Za-z_]\w*)[ \t]*"
    r"(?:\([^;\n]*(?:\{|$)|=(?![=~>]))",
    re.MULTILINE,
)
_ASSIGNED = 2
# A line that others stand inside of, further to the right.
_SCOPE = re.compile(
    rf"\s*{_MODIFIER}({_BLOCK})(?:<[^>\n]*>)?\s+(?:\([^)\n]*\)\s*|self\.)?([A-Za-z_$][\w$]*)"
)
_FUNCTION = re.compile(rf"\s*{_TYPED}([A-Za-z_~][\w:]*)[ \t]*\([^;\n]*$")
# Brackets on lines of their own, comments, what is for a preprocessor: indented as they like.
_ASIDE = (")", "]", "}", "{", "#", "//", "/*", "*", "--")
_LABEL = re.compile(r"\s*(\w+)(?:\s+slots)?\s*:\s*")
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

    `class Cache, def get`, or `class Cache, get()` where no keyword says what it is; empty
    where it stands in nothing.
    """
    start = max(0, at - _SCOPE_CHARS)
    lines = str(text[start:at]).split("\n")
    end = str(text[at : at + _SCOPE_CHARS]).partition("\n")[0]
    depth = _depth(lines.pop() + end)
    found: list[str] = []
    for line in reversed(lines):
        if not depth:
            break
        if not line.strip() or _depth(line) >= depth or line.lstrip().startswith(_ASIDE):
            continue
        if (label := _LABEL.fullmatch(line)) and label[1] not in _NO_NAMES:
            continue
        depth = _depth(line)
        if name := _opened(line):
            found.append(name)
    return ", ".join(reversed(found))


def _opened(line: str) -> str:
    """What the lines after this one, further to the right, stand in."""
    if block := _SCOPE.match(line):
        return f"{block[1]} {block[2]}"
    function = _FUNCTION.match(line)
    if function is None or not _NO_NAMES.isdisjoint((line.split()[0], function[1])):
        return ""
    return f"{function[1]}()"


def _depth(line: str) -> int:
    expanded = line.expandtabs()
    return len(expanded) - len(expanded.lstrip())
