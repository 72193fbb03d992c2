"""Prompt profiles: how a kind of root is led.

One file a profile in `engine/prompts/`. The texts hold `$names` that a run fills in, limits
among them, which come from the served models.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from outcore.errors import ConfigError

_FOLDER = Path(__file__).parent / "prompts"


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile.

    Attributes:
        name: its file's name.
        opening: what the root's first reply is started with; empty lets it begin freely.
        opening_after: the same for the replies to an output. Started in a comment on what the
            output shows, a weak root reads before it acts.
        stop: texts that end a reply.
        reply_tokens: longest reply of the root.
        sub_tokens: longest reply of the sub-LM where a call does not say.
        output_chars: most characters of a cell's output that the root is shown.
        system, first, after, last, repair: the messages, as templates.
    """

    name: str
    opening: str
    opening_after: str
    stop: tuple[str, ...]
    reply_tokens: int
    sub_tokens: int
    output_chars: int
    system: str
    first: str
    after: str
    last: str
    repair: str

    @classmethod
    def load(cls, name: str) -> Profile:
        """Read the profile called `name`.

        Raises:
            ConfigError: there is none of that name.
        """
        path = _FOLDER / f"{name}.toml"
        known = sorted(file.stem for file in _FOLDER.glob("*.toml"))
        if name not in known:
            raise ConfigError(f"there is no profile {name!r}; there are: {', '.join(known)}")
        fields: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        fields["stop"] = tuple(fields["stop"])
        return cls(name=name, **fields)


def fill(template: str, **values: object) -> str:
    """A template with its `$names` filled in, without the blank lines around it."""
    return Template(template).substitute({k: str(v) for k, v in values.items()}).strip()
