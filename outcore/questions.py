"""The file of questions of a batch: one JSON object a line, all checked before anything starts."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from outcore.config import Budget, check_question, expanded
from outcore.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Id = str | int
_FIELDS = ("question", "id", "context", "budget", "extra")
_LIMITS = tuple(field.name for field in fields(Budget))
_MOST_TOLD = 20
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Task:
    """One question of a batch.

    Attributes:
        line: where it stands, counted from 1.
        id: what joins it with its answer; the line's number where none was given. A number and
            its digits as a text are one id.
        question: the question.
        context: what it is asked of, each path as it was named.
        budget: its limits.
        extra: what the answer's line is to carry along; None for nothing.
    """

    line: int
    id: Id
    question: str
    context: tuple[Path, ...]
    budget: Budget
    extra: Any = None

    @property
    def key(self) -> str:
        """The id, as it is compared."""
        return str(self.id)

    @property
    def head(self) -> dict[str, Any]:
        """How its answer's line begins."""
        head = {
            "id": self.id,
            "question": self.question,
            "context": [str(path) for path in self.context],
        }
        return head if self.extra is None else head | {"extra": self.extra}


@dataclass(frozen=True, slots=True)
class Reading:
    """How lines become questions.

    An unknown field is an error: let by, a misspelt `context` would have a question answered from
    another text, and one named `answer`, as data sets have it, would be taken for the answer. What
    is to be carried along goes into `extra`.

    Attributes:
        context: of questions that name none.
        budget: of questions that name none; one that names some limits has the others from here.
        plain: whether a line is a question, and no JSON.
    """

    context: tuple[Path, ...]
    budget: Budget
    plain: bool = False

    def read(self, data: bytes) -> list[Task]:
        """All questions, in the order of the file. Empty lines are counted and left out.

        Raises:
            ConfigError: some can't be used; it names line, fault and remedy of each, up to 20.
        """
        problems = [f"PATH {told}" for told in map(_fault_of, self.context) if told]
        tasks: list[Task] = []
        seen: dict[str, int] = {}
        for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
            if not line.strip():
                continue
            try:
                task = self._task(number, line)
                if (first := seen.setdefault(task.key, number)) != number:
                    raise ConfigError(
                        f"the id {task.id!r} is that of line {first} too; give each its own"
                    )
            except ConfigError as error:
                problems.append(f"line {number}: {error}")
                continue
            tasks.append(task)
        refuse(problems)
        if not tasks:
            raise ConfigError("there are no questions in it; write one a line")
        return tasks

    def _task(self, number: int, line: bytes) -> Task:
        try:
            text = line.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise ConfigError(f"byte {error.start} of it is not UTF-8; write it in UTF-8") from None
        row = {"question": text} if self.plain else _object(text)
        if unknown := [name for name in row if name not in _FIELDS]:
            raise ConfigError(
                f"unknown field {unknown[0]!r}; there are: {', '.join(_FIELDS)}. What is only to "
                "be carried along goes into extra"
            )
        question = row.get("question")
        if not isinstance(question, str):
            raise ConfigError(
                f"question must be text, not {_short(question)}"
                if "question" in row
                else 'there is no "question" in it'
            )
        check_question(question)
        given = row.get("id", number)
        if isinstance(given, bool) or not isinstance(given, (str, int)) or given == "":
            raise ConfigError(f"id must be text or a whole number, not {_short(given)}")
        return Task(
            number,
            given,
            question,
            self._context(row.get("context")),
            self._budget(row.get("budget")),
            row.get("extra"),
        )

    def _context(self, given: Any) -> tuple[Path, ...]:
        if given is None:
            if not self.context:
                raise ConfigError(
                    'it names no context; put PATHs on the command line, or a "context" here'
                )
            return self.context
        named = [given] if isinstance(given, str) else given
        if not isinstance(named, list) or not all(isinstance(one, str) and one for one in named):
            raise ConfigError(f"context must be a path or a list of paths, not {_short(given)}")
        if not named:
            raise ConfigError("context is an empty list; name a path, or leave it out")
        paths = tuple(expanded(one, "context") for one in named)
        for path in paths:
            if fault := _fault_of(path):
                raise ConfigError(f"context {fault}")
        return paths

    def _budget(self, given: Any) -> Budget:
        if given is None:
            return self.budget
        if not isinstance(given, dict):
            raise ConfigError(f"budget must be an object of limits, not {_short(given)}")
        if unknown := [name for name in given if name not in _LIMITS]:
            raise ConfigError(
                f"budget: unknown limit {unknown[0]!r}; there are: {', '.join(_LIMITS)}"
            )
        return replace(self.budget, **given)


def refuse(problems: Sequence[str]) -> None:
    """Raise if there are problems, with all of them up to a bound.

    Raises:
        ConfigError: there are.
    """
    if not problems:
        return
    lines = [*problems[:_MOST_TOLD]]
    if len(problems) > _MOST_TOLD:
        lines.append(f"and {len(problems) - _MOST_TOLD:,} more")
    raise ConfigError("\n".join(("nothing was started:", *(f"  {line}" for line in lines))))


def by_context(tasks: Sequence[Task]) -> Iterator[Task]:
    """The questions of one context one after the other, so that few contexts are there at once."""
    grouped: dict[tuple[Path, ...], list[Task]] = {}
    for task in tasks:
        grouped.setdefault(task.context, []).append(task)
    for group in grouped.values():
        yield from group


def _object(text: str) -> dict[str, Any]:
    try:
        row = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_number)
    except RecursionError:
        raise ConfigError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"no JSON at column {error.colno} ({error.msg}); write one object a line, or give "
            "--plain where each line is a question"
        ) from None
    except ValueError as error:  # a number of more digits than Python reads
        raise ConfigError(str(error)) from None
    if not isinstance(row, dict):
        raise ConfigError(
            f'it is {_short(row)} and no object; write {{"question": "..."}}, one a line'
        )
    return row


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"the field {twice!r} is there twice; leave one")
    return row


def _no_number(text: str) -> float:
    raise ConfigError(f"{text} is no JSON value")


def _fault_of(path: Path) -> str:
    try:
        if not path.exists():
            return (
                f"{path}: there is no such file or folder; paths are read from the working folder"
            )
    except OSError as error:
        return f"{path}: {error.strerror}"
    return "" if os.access(path, os.R_OK) else f"{path}: it may not be read by this user"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
