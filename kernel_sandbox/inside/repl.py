"""The namespace of the cells: the tools in it, and their repair before each cell."""

from __future__ import annotations

import json
from collections import ChainMap
from pathlib import Path
from typing import Any

from . import errors
from .answer import Answer, Desk, named
from .bridge import Bridge
from .corpus import open_context
from .dates import as_date
from .dry_run.rehearsal import Rehearsal
from .extent import Extent
from .keeping import RESTORE, Keeping
from .layout import Layout
from .listing import Listing
from .look import Look
from .manual import Manual
from .numbers import as_number
from .pairing import group, pairs
from .queries import Queries
from .record_list import Records
from .recursion import Recursion
from .search import Search
from .staged import HINTS
from .tally import tally
from .typed import Typed


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
        if start["seccomp"]:
            bridge.keep_door()
        self._rehearsal = Rehearsal(bridge, start["hints"])
        queries = Queries(bridge, self._rehearsal)
        recursion = Recursion(bridge)
        self._typed = typed = Typed(queries)
        hidden: set[str] = set()
        self._hidden = hidden
        self._desk = Desk(bridge, self.names, hidden)
        self._keeping = Keeping(bridge, self.names, hidden)
        self._tools: dict[str, Any] = {
            "llm_query": queries.llm_query,
            "allm_query": queries.allm_query,
            "llm_query_batched": queries.llm_query_batched,
            "llm_map": typed.llm_map,
            "llm_filter": typed.llm_filter,
            "llm_classify": typed.llm_classify,
            "llm_extract": typed.llm_extract,
            "search": Search(bridge).search,
            "count_tokens": queries.count_tokens,
            "as_date": as_date,
            "as_number": as_number,
            "rlm_query": recursion.rlm_query,
            "rlm_query_batched": recursion.rlm_query_batched,
            "SubcallError": errors.SubcallError,
            "ModelError": errors.ModelError,
            "PromptTooLong": errors.PromptTooLong,
            "BadReply": errors.BadReply,
            "BudgetExceeded": errors.BudgetExceeded,
            "BatchError": errors.BatchError,
            "IncompleteAnswer": errors.IncompleteAnswer,
            "exit": _leave,
            "quit": _leave,
            **dict(named(self._desk)),
        }
        # Common words: a cell's own variable of such a name stays.
        self._yielding: dict[str, Any] = {"tally": tally, "group": group, "pairs": pairs}
        self._tools["help"] = Manual(ChainMap(self._tools, self._yielding))
        self.names["answer"] = Answer()
        self._folder = Path(start["context"])
        self._hints = start["hints"]
        self._late = start["late"]
        if not self._late:
            self._open()

    def _open(self) -> None:
        opened = open_context(self._folder)
        look, extent = Look(opened, self._hints), Extent(opened)
        own = {
            "context": opened.value,
            "grep": look.grep,
            "slices": look.slices,
            "llm_list": Listing(self._typed, opened, look).llm_list,
            "occurrences": extent.occurrences,
            "headings": extent.headings,
            "extent": extent.extent,
        }
        self._tools |= own
        self._hidden.update(own)
        found = self._hints.get("layout")
        layout = Layout.from_dict(found) if found else Layout("mixed")
        self._yielding["records"] = Records(opened, layout)

    def attach(self, shell: Any) -> None:
        """Repair the names before each cell; after it, send the answer and keep its variables."""
        self._install()
        self._hidden.update(self.names)
        self._hide()
        if self._hints.get(RESTORE):
            self._keeping.restore()
        self._rehearsal.attach(shell)
        shell.events.register("pre_run_cell", self._before)
        shell.events.register("post_run_cell", self._after)

    def _before(self, *_: Any) -> None:
        if self._late:
            self._late = False
            self._hints.update(json.loads((self._folder / HINTS).read_text("utf-8")))
            self._open()
        self._keeping.before()
        self._install()

    def _install(self) -> None:
        self.names.update(self._tools)
        for name, tool in self._yielding.items():
            self.names.setdefault(name, tool)
        self._hide()
        self._desk.install()

    def _hide(self) -> None:
        for name, tool in self._yielding.items():
            (self._hidden.add if self.names.get(name) is tool else self._hidden.discard)(name)

    def _after(self, result: Any) -> None:
        self._hide()
        self._keeping.after(result.info.raw_cell)
        self._desk.deliver()


def _leave(code: Any = None) -> None:
    """End this cell. The variables stay."""
    raise SystemExit(code)
