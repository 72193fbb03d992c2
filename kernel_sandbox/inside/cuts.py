"""Where to cut a text into pieces of a given size: after a line, else after a word."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .text import Text


def cuts(text: str | Text, size: int, overlap: int = 0) -> Iterator[tuple[int, int]]:
    """Bounds of pieces of at most `size` characters that cover the whole text in order.

    A piece ends after the last line end in its second half, else after the last space there,
    else at `size`. Without overlap every character is in exactly one piece; with it a piece
    begins up to `overlap` characters, less than half of `size`, before the last one's end.
    """
    start, length = 0, len(text)
    while length - start > size:
        end = start + _end(str(text[start : start + size + 1]), size)
        yield start, end
        start = end if overlap == 0 else _back(text, end, overlap)
    if start < length:
        yield start, length


def _end(window: str, size: int) -> int:
    """Length of the first piece of `window`, which goes one character beyond `size`."""
    for mark in ("\n", " "):
        at = window.rfind(mark, size // 2, size)
        if at >= 0:
            return at + 1
    # A hard cut between \r and \n would make two line ends of one.
    return size - 1 if size > 1 and window[size - 1 : size + 1] == "\r\n" else size


def _back(text: str | Text, end: int, overlap: int) -> int:
    """Start of the piece after one that ends at `end`: a line start, if there is one."""
    window = str(text[end - overlap : end])
    at = window.find("\n", 0, overlap - 1)
    return end - overlap + at + 1
