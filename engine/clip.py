"""Long output, cut in the middle."""

from __future__ import annotations

# The beginning of an output tells more than its end: two thirds of what is kept.
_HEAD_SHARE = 2 / 3


def clip(text: str, limit: int) -> str:
    """`text` in at most about `limit` characters, its middle left out.

    The cuts fall at line ends where there are any nearby, and a line between them tells how
    many characters are missing.
    """
    if len(text) <= limit:
        return text
    head = text[: int(limit * _HEAD_SHARE)]
    tail = text[len(text) - (limit - len(head)) :]
    head_end = head.rfind("\n") + 1
    if head_end > len(head) // 2:
        head = head[:head_end]
    tail_start = tail.find("\n") + 1
    if 0 < tail_start < len(tail) // 2:
        tail = tail[tail_start:]
    missing = len(text) - len(head) - len(tail)
    return f"{head.rstrip()}\n[... {missing:,} characters left out ...]\n{tail}"
