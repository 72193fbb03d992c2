"""How the root answers: `answer`, `done` and the names other roots were taught.

The answer leaves over the bridge after the cell and before its reply, so nothing a cell
prints can be taken for it.
"""

# No `annotations` from `__future__`: help() in a cell would show the types in quotes.

from collections.abc import Iterable, Mapping
from typing import Any

from .bridge import Bridge
from .forgiving import Given
from .queries import as_text
from .saying import as_answer
from .texts import clean

_USAGE = "it is done(answer, quotes=[...])"
_VALUES = ("answer", "result", "text", "content", "final", "final_answer", "response", "output")
_QUOTES = ("quote", "citations", "citation", "evidence", "sources", "proof", "passages")


class Text(str):
    """A string that a cell shows as it prints."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Answer(dict[str, Any]):
    """The answer so far: `answer["content"]`, and `answer["ready"] = True` to end the run.

    Attributes:
        touched: whether a cell has set any of it since it was last sent.
    """

    touched = False

    def __init__(self, content: Any = "", ready: Any = False) -> None:
        super().__init__(content=content, ready=ready)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        self.touched = True


class Desk:
    """Takes the answer out of the namespace of the cells and hands it to the host.

    Args:
        bridge: way to the host.
        names: namespace of the cells.
        tools: names that are not the root's own variables.
    """

    def __init__(self, bridge: Bridge, names: dict[str, Any], tools: set[str]) -> None:
        self._bridge = bridge
        self._names = names
        self._tools = tools
        self._quotes: list[str] = []
        self._last: tuple[Any, Any] = ("", False)
        self._sent: tuple[Any, ...] = ("", False, ())

    def install(self) -> None:
        """Put an `Answer` back where a cell has replaced or removed it, keeping its content."""
        if not isinstance(self._names.get("answer"), Answer):
            self._names["answer"] = Answer(*self._read())

    def _read(self) -> tuple[Any, Any]:
        """Content and readiness; the last known where a cell has removed them."""
        found = self._names.get("answer")
        if isinstance(found, Mapping):
            self._last = found.get("content", ""), found.get("ready", False)
        elif found is not None:
            # A cell that writes `answer = "Paris"` means the content.
            self._last = found, False
        return self._last

    def deliver(self) -> None:
        """Send the answer if it has changed since it was last sent, or was said again."""
        found = self._names.get("answer")
        again = isinstance(found, Answer) and found.touched and bool(found.get("ready"))
        if again or self._state() != self._sent:
            self._send()

    def _state(self) -> tuple[Any, ...]:
        content, ready = self._read()
        return _said(content), bool(ready), tuple(self._quotes)

    def _send(self) -> Mapping[str, Any]:
        state = self._state()
        reply = self._bridge.call(
            "answer", {"content": state[0], "ready": state[1], "quotes": list(state[2])}
        )
        self._sent = state
        if isinstance(found := self._names.get("answer"), Answer):
            found.touched = False
        return reply if isinstance(reply, Mapping) else {}

    def done(self, value: Any = None, quotes: Any = (), **more: Any) -> list[str]:
        """End the run with a value as the answer.

        done("Paris")
        done(count)                                  # numbers, lists, dicts, pairs become text
        done("Paris", quotes=["He died in Paris."])   # passages copied from the context

        Quotes prove the answer and are returned as citations. Returns those that do not stand
        in the context. Called again, the last answer counts.

        Raises:
            ValueError: there is no value, or an empty one.
        """
        given = Given(_USAGE, more)
        value = given.take(_VALUES, value)
        quotes = given.take(_QUOTES, quotes)
        given.end()
        said = as_answer(value)
        if not said.strip() or (isinstance(value, Mapping) and not value):
            shown = "None" if value is None else "empty"
            raise ValueError(
                f"the answer is {shown}, so it was not taken. If nothing was found, look in "
                'another way first; if there truly is nothing, say so in words: done("none ...")'
            )
        proofs = [quotes] if isinstance(quotes, (str, Mapping)) else quotes or ()
        self._quotes = [clean(as_text(one)) for one in proofs]
        self._names["answer"] = Answer(value, True)
        reply = self._send()
        for quote, found in dict(reply.get("instead", {})).items():
            print(f"done: taken for the quote {quote!r:.200}, as it stands there: {found!r:.300}")
        missing = list(reply.get("missing", []))
        for quote in missing:
            print(
                f"done: this quote does not stand in the context: {quote!r:.300} (copy quotes from "
                "what was printed, word for word)"
            )
        return missing

    def final(self, value: Any) -> None:
        """End the run with `value` as the answer; the same as done(value)."""
        self.done(value)

    def final_var(self, name: Any) -> None:
        """End the run with the value of the variable called `name`.

        Raises:
            NameError: there is no such variable; the message lists those there are.
        """
        if not isinstance(name, str):
            self.done(name)
            return
        key = name.strip().strip("\"'")
        if key not in self._names:
            raise NameError(f"there is no variable {key!r}; there are: {self._listed()}")
        self.done(self._names[key])

    def show_vars(self) -> Text:
        """List the variables made so far, with their types and sizes."""
        rows = []
        for name in self._own():
            value = self._names[name]
            size = f"[{len(value):,}]" if hasattr(type(value), "__len__") else ""
            rows.append(f"{name}: {type(value).__name__}{size}")
        return Text("\n".join(rows) or "no variables yet")

    def _own(self) -> list[str]:
        return [name for name in self._names if name not in self._tools and name[:1] != "_"]

    def _listed(self) -> str:
        return ", ".join(self._own()) or "none"


def _said(content: Any) -> str:
    return clean(as_answer(content))


def named(desk: Desk) -> Iterable[tuple[str, Any]]:
    """The names under which a cell finds the desk's methods."""
    yield "done", desk.done
    yield "FINAL", desk.final
    yield "SUBMIT", desk.final
    yield "FINAL_VAR", desk.final_var
    yield "SHOW_VARS", desk.show_vars
