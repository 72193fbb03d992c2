"""The namespace of the cells: the tools in it, and their repair before each cell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import errors
from .answer import Answer, Desk, named
from .bridge import Bridge
from .corpus import open_context
from .look import Look
from .queries import Queries


class Repl:
    """Everything a cell finds.

    Args:
        start: the start file, see `bootstrap`.

    Attributes:
        names: the namespace; variables of the root live here too.
    """

    def __init__(self, start: dict[str, Any]) -> None:
        self.names: dict[str, Any] = {}
        bridge = Bridge(start["bridge"], start["token"], start["frame"])
        bridge.connect()
        opened = open_context(Path(start["context"]))
        queries = Queries(bridge)
        look = Look(opened, start["hints"])
        hidden: set[str] = set()
        self._hidden = hidden
        self._desk = Desk(bridge, self.names, hidden)
        self._tools: dict[str, Any] = {
            "context": opened.value,
            "llm_query": queries.llm_query,
            "allm_query": queries.allm_query,
            "llm_query_batched": queries.llm_query_batched,
            "search": queries.search,
            "count_tokens": queries.count_tokens,
            "grep": look.grep,
            "slices": look.slices,
            "SubcallError": errors.SubcallError,
            "ModelError": errors.ModelError,
            "PromptTooLong": errors.PromptTooLong,
            "BudgetExceeded": errors.BudgetExceeded,
            "BatchError": errors.BatchError,
            "exit": _leave,
            "quit": _leave,
            **dict(named(self._desk)),
        }
        self.names["answer"] = Answer()

    def attach(self, shell: Any) -> None:
        """Repair the names before each cell and send the answer after it."""
        self._before()
        self._hidden.update(self.names)
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)

    def _before(self, *_: Any) -> None:
        self.names.update(self._tools)
        self._desk.install()

    def _after(self, *_: Any) -> None:
        self._desk.deliver()


def _leave(code: Any = None) -> None:
    """End this cell. The variables stay."""
    raise SystemExit(code)
