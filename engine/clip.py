"""Cutting a text in the middle, where the least is lost."""

from __future__ import annotations

_NOTE = "[... {:,} characters left out ...]"
_NOTE_ROOM = len(_NOTE.format(10**12)) + 2


def clip(text: str, limit_chars: int) -> str:
    """`text` in at most `limit_chars` characters.

    A longer text keeps its head and its tail, cut at line ends where that loses no more than
    half of either, and a line between them tells how many characters were left out. A limit
    that has no room for that line cuts the end off.
    """
    if len(text) <= limit_chars:
        return text
    half = (limit_chars - _NOTE_ROOM) // 2
    if half < 1:
        return text[: max(0, limit_chars)]
    head, tail = text[:half], text[-half:]
    at = head.rfind("\n", half // 2)
    if at >= 0:
        head = head[:at]
    at = tail.find("\n", 0, half - half // 2)
    if at >= 0:
        tail = tail[at + 1 :]
    return f"{head}\n{_NOTE.format(len(text) - len(head) - len(tail))}\n{tail}"
