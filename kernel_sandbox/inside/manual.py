"""`help`: what a tool does, as the root reads it."""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

import inspect
import pydoc
from collections.abc import Mapping
from typing import Any

_PACKAGE = __name__.rpartition(".")[0]


class Manual:
    """Prints how a tool is called; of anything else, what Python knows of it."""

    def __init__(self, tools: Mapping[str, Any]) -> None:
        self._tools = tools

    def __call__(self, *asked: Any) -> None:
        """Print the help of a tool, or the list of tools.

        help(search)
        help()
        """
        if not asked:
            print("\n".join(f"{name}: {_first_line(one)}" for name, one in self._listed()))
            return
        wanted = asked[0]
        if isinstance(wanted, str):
            wanted = self._tools.get(wanted.strip().removesuffix("()"), wanted)
        name = next((name for name, one in self._tools.items() if one is wanted), None)
        if name is not None and callable(wanted) and not isinstance(wanted, type):
            print(f"{name}{_signature(wanted)}\n\n{inspect.getdoc(wanted) or ''}")
        elif type(wanted).__module__.startswith(_PACKAGE) and type(wanted).__doc__:
            print(inspect.cleandoc(type(wanted).__doc__ or ""))
        else:
            pydoc.help(wanted)

    def __repr__(self) -> str:
        return "help(tool) prints how a tool is called; help() lists the tools"

    def _listed(self) -> list[tuple[str, Any]]:
        return [
            (name, one)
            for name, one in self._tools.items()
            if callable(one) and not isinstance(one, type) and name not in ("exit", "quit")
        ]


def _first_line(tool: Any) -> str:
    return (inspect.getdoc(tool) or "").partition("\n")[0]


def _signature(tool: Any) -> str:
    """The arguments of a tool without their types."""
    bare = [
        one.replace(annotation=inspect.Parameter.empty)
        for one in inspect.signature(tool).parameters.values()
        if one.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    return str(inspect.Signature(bare))
