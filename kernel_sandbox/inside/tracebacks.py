"""Tracebacks as the root model reads them: the cell's own lines, no library, no colours."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from .texts import clean, cut

if TYPE_CHECKING:
    from types import TracebackType

CELL = "<cell "
_LONGEST = 4_000
_FRAMES = 12


def render(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> tuple[str, str]:
    """Traceback and message of an exception, at most 4,000 characters each.

    Frames outside the cells are left out; where an exception never passed through a cell,
    its last frame is kept. An exception whose own `__str__` raises is reported by its name.
    """
    try:
        report = "".join(_short(kind, error, trace).format()).rstrip()
        return cut(clean(report), _LONGEST), cut(clean(str(error)), _LONGEST)
    except Exception as broken:
        message = f"its message can't be shown: {type(broken).__name__}"
        return f"{kind.__name__}: {message}", message


def _short(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> traceback.TracebackException:
    report = traceback.TracebackException(kind, error, trace)
    part: traceback.TracebackException | None = report
    seen: set[int] = set()
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        part.stack = _own_frames(part.stack)
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    return report


def _own_frames(stack: traceback.StackSummary) -> traceback.StackSummary:
    own = [frame for frame in stack if frame.filename.startswith(CELL)] or list(stack[-1:])
    if len(own) > _FRAMES:
        own = own[: _FRAMES // 2] + own[-_FRAMES // 2 :]
    return traceback.StackSummary.from_list(own)
