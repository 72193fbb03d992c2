"""What batches of calls have in common: given up together, and failures told together."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .errors import BatchError, SubcallError
from .results import Results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pending = Future[Any] | SubcallError


@contextmanager
def given_up_together(pending: list[Pending]) -> Iterator[None]:
    """Where the block is left by an exception, such as an interrupt, cancel all calls."""
    try:
        yield
    except BaseException:
        for one in pending:
            if isinstance(one, Future):
                one.cancel()
        raise


def submitted(submit: Callable[[], Future[Any]]) -> Pending:
    """A call under way, or why it can't be made."""
    try:
        return submit()
    except SubcallError as error:
        return error


def outcome(one: Pending, read: Callable[[Any], Any]) -> Any:
    """What a call came to, or the exception."""
    if isinstance(one, SubcallError):
        return one
    try:
        return read(one.result())
    except Exception as error:
        return error


def told(results: list[Any], *, return_exceptions: bool) -> list[Any]:
    """The results, as they are to be returned.

    Raises:
        BatchError: some calls failed and `return_exceptions` is not set.
    """
    if not return_exceptions and any(isinstance(one, Exception) for one in results):
        raise BatchError(results)
    return Results(results)
