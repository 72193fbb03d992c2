"""What lines without a common shape are: prose, Markdown, source code, or none of these."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.kernel_sandbox.inside.layout import Kind

# Source code is told by these alone; what comes along in a tree of it may also be one of those.
_SOURCES_LISTED = """
.py .pyi .ipynb .c .h .cc .cpp .cxx .hpp .hh .cu .cuh .mm .java .kt .scala .go .rs .js .jsx .ts
.tsx .mjs .vue .svelte .rb .php .pl .pm .lua .jl .cs .fs .swift .dart .sh .bash .zsh .ps1 .sql
.hs .ml .ex .exs .erl .clj .lisp .el .vim .zig .nim .sv .vhd .asm .proto .cmake .gradle .css .scss
.less
"""
_COMPANIONS_LISTED = ".html .htm .xml .toml .yaml .yml .ini .cfg .json .s .m .v .r"
_SOURCES = frozenset(_SOURCES_LISTED.split())
_CODE_NAMES = _SOURCES | frozenset(_COMPANIONS_LISTED.split())
_MARKDOWN_NAMES = frozenset((".md", ".markdown", ".mdx", ".mkd", ".qmd", ".rmd"))
_MOSTLY = 0.5
_CODE_LINE = re.compile(
    r"\s*+(?:(?:def|class|import|from|return|if|elif|else|for|while|try|except|with|function|const"
    r"|let|var|public|private|protected|static|void|int|func|fn|use|package|struct|enum|impl"
    r"|namespace|template|#include|#define|#if|#endif|case|switch)\b.*[:;{(,)=>\"']|[})\]]++[;,)]*+"
    r"|.*[;{}]|@\w[\w.]*.*|(?:[\w.\[\]]+)\s*(?:[-+*/|&]?=|:=)\s*\S.*|[\w.]+\(.*\)?,?|//.*|/?\*.*)\s*"
)
_CODE_LINES = 0.4
HEADING = re.compile(r" {0,3}#{1,6} +\S.*")
_MARK = re.compile(r"\s*(?:[-*+] |\d+\. |> |```|~~~|\|.*\|)|.*(?:\]\(|\*\*\w)")
_HEADINGS = 0.01
_MARKS = 0.05
_WORDS = 0.75
_PROSE_LINES = 0.6
_PROSE_WORDS = 5


def genre_of_names(names: Sequence[str]) -> Kind | None:
    """What files are by their names' endings; None where these don't tell."""
    endings = [PurePath(name).suffix.lower() for name in names]
    total = max(1, len(endings))
    coded = sum(one in _CODE_NAMES for one in endings)
    if coded > _MOSTLY * total and any(one in _SOURCES for one in endings):
        return "code"
    if sum(one in _MARKDOWN_NAMES for one in endings) > _MOSTLY * total:
        return "markdown"
    return None


def genre_of_lines(lines: Sequence[str], head: str) -> Kind:
    """What lines are, spread over the context; of one that is a single line, its head."""
    some = [line for line in lines or [head] if line.strip()]
    if not some:
        return "mixed"
    total = len(some)
    if sum(1 for line in some if _CODE_LINE.fullmatch(line)) > _CODE_LINES * total:
        return "mixed" if head[:1] in "[{" else "code"
    headings = sum(1 for line in some if HEADING.fullmatch(line))
    if headings >= max(2, _HEADINGS * total):
        marks = sum(1 for line in some if _MARK.match(line))
        if headings + marks >= _MARKS * total:
            return "markdown"
    letters = sum(sum(map(str.isalpha, line)) + line.count(" ") for line in some)
    if letters < _WORDS * sum(map(len, some)):
        return "mixed"
    # Scripts without spaces have few words to a line.
    long = sum(
        1 for line in some if len(line.split()) >= _PROSE_WORDS or not line.strip()[:1].isascii()
    )
    return "prose" if long >= _PROSE_LINES * total else "mixed"
