"""Output, answers and frames without end."""

from __future__ import annotations

import os
import sys
from typing import Any

from .attack import Aim, Stopped, attack

_OUTSIDE = "what fills the host is how it reads a kernel"
_MIB = 1 << 20


def _names() -> dict[str, Any]:
    from IPython.core.getipython import get_ipython

    names: dict[str, Any] = get_ipython().user_ns
    return names


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=5)
def many_small_writes(aim: Aim) -> str:
    """Output in small pieces, 400 MB of it."""
    for _ in range(4_000_000):
        print("x" * 100)
    return aim.mark


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=5)
def one_huge_line(aim: Aim) -> str:
    """One line of 200 MB."""
    print("x" * (200 * _MIB))
    return aim.mark


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=5)
def output_past_python(aim: Aim) -> str:
    """Output written to the descriptors themselves, and by programs."""
    for fd in (1, 2):
        for _ in range(200):
            os.write(fd, b"x" * _MIB)
    os.system("head -c 300000000 /dev/zero | tr '\\0' x")
    return aim.mark


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=5)
def display_data(aim: Aim) -> str:
    """Pictures and pages of 50 MB each."""
    from IPython.display import display

    for _ in range(8):
        display({"text/html": "x" * (50 * _MIB), "text/plain": "y" * (10 * _MIB)}, raw=True)
    return aim.mark


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=5)
def display_updates(aim: Aim) -> str:
    """A display that is changed for ever."""
    from IPython.display import display

    handle = display("x", display_id=aim.mark)
    for _ in range(20_000):
        handle.update("x" * 1000)
    return aim.mark


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=5)
def endless_exception(aim: Aim) -> str:
    """An exception whose message is 200 MB long, with a long chain of causes."""
    error: Exception = ValueError(aim.mark)
    for number in range(2000):
        try:
            raise RuntimeError("x" * 1000, number) from error
        except RuntimeError as one:
            error = one
    _names()["__builtins__"]
    sys.excepthook(Exception, Exception("x" * (200 * _MIB)), None)
    raise Stopped("the host looks how much it took")


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=8)
def huge_call(aim: Aim) -> str:
    """A call over the bridge that is larger than any frame."""
    try:
        return f"{_names()['llm_query']('x' * (300 * _MIB))!r:.100} {aim.mark}"
    except Exception as error:
        raise Stopped(f"{type(error).__name__}") from None


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=10)
def many_large_calls(aim: Aim) -> str:
    """Calls of a megabyte, sixty at once, that take their time."""
    names = _names()
    text = "x" * (900 << 10)
    answers = names["llm_query_batched"](
        [f"wait {number} {aim.mark}" for number in range(60)], text=text, return_exceptions=True
    )
    return f"{len(answers)} answers"


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=8)
def huge_answer(aim: Aim) -> str:
    """An answer of 100 MB."""
    _names()["answer"]["content"] = "x" * (100 * _MIB)
    return aim.mark


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=8)
def deep_answer(aim: Aim) -> str:
    """An answer that is nested 100,000 deep."""
    nested: Any = 1
    for _ in range(100_000):
        nested = [nested]
    _names()["answer"]["content"] = nested
    return aim.mark


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=8)
def answer_that_is_itself(aim: Aim) -> str:
    """An answer that holds itself, and one that fails when it is read."""

    class Trap(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            raise SystemExit(aim.mark)

        def get(self, *_: Any) -> Any:
            raise KeyboardInterrupt

    ring: list[Any] = []
    ring.append(ring)
    names = _names()
    names["answer"]["content"] = ring
    names["answer"] = Trap()
    return aim.mark


@attack("kernel", expected="contained", control=_OUTSIDE, seconds=8)
def deep_call(aim: Aim) -> str:
    """A call whose parameters are nested 100,000 deep."""
    nested: Any = 1
    for _ in range(100_000):
        nested = {"a": nested}
    try:
        return f"{_names()['llm_query']('x', schema=nested)!r:.100} {aim.mark}"
    except Exception as error:
        raise Stopped(type(error).__name__) from None
