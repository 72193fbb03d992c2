"""A plan: what a kind of question needs decided, and the program that follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from outcore.engine.plans.scene import Scene

Kind = Literal["find", "count", "measure", "pairs", "gather", "summarize", "extent"]


class Maker(Protocol):
    """Makes the plans of one kind.

    Attributes:
        kind: the kind.
    """

    kind: ClassVar[Kind]

    def schema(self, scene: Scene) -> dict[str, Any] | None:
        """JSON schema of what the root fills in; None where nothing is left to it."""
        ...

    def plan(self, scene: Scene, filled: Mapping[str, Any]) -> Plan:
        """The plan from what the root has filled in.

        Raises:
            NoPlan: no program follows from it.
        """
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to be done.

    Attributes:
        kind: of the question.
        filled: what the root filled in, as it came.
        program: Python for the first cell.
    """

    kind: Kind
    filled: Mapping[str, Any]
    program: str

    def as_dict(self) -> dict[str, Any]:
        """For the trajectory."""
        return asdict(self)


class NoPlan(Exception):
    """What the root filled in makes no program; the message says why."""


def texts(value: Any) -> tuple[str, ...]:
    """The texts of a list that a model wrote, each once, without blank ones."""
    found = (
        (one.strip() for one in value if isinstance(one, str)) if isinstance(value, list) else ()
    )
    return tuple(dict.fromkeys(one for one in found if one))


def text(value: Any) -> str:
    """A text that a model wrote, in one line; empty where it is none."""
    return " ".join(value.split()) if isinstance(value, str) else ""


def objects(**properties: Any) -> dict[str, Any]:
    """JSON schema of an object that has all of these fields and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


TEXT: dict[str, Any] = {"type": "string"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
