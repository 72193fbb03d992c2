"""Prompt profiles: how a kind of root is led.

One file a profile in `engine/prompts/`. The texts hold `$names` that a run fills in, limits
among them, which come from the served models. A profile that `extends` another says only what
differs; in its texts, `$inherited` stands for the other's.
"""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from string import Template
from typing import Any

from outcore.errors import ConfigError
from outcore.models.table import Table

_FOLDER = Path(__file__).parent / "prompts"
_INHERITED = "$inherited"
# What a run fills into each message.
_NAMES = {
    "system": {"context_type", "slice_tokens", "slice_chars", "output_chars", "advice"},
    "first": {"card", "question"},
    "after": {"output", "note", "question", "form"},
    "last": {"output", "note", "question", "form"},
    "repair": {"error"},
}
_KINDS: dict[str, type[Any]] = {"str": str, "int": int, "bool": bool, "tuple[str, ...]": list}


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
        mode: `plan` where the root had better fill in a plan at first, `code` where it writes
            its first program itself.
        direct_tokens: longest context that the root had better read itself, in one reply.
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
    mode: str = "code"
    # Below it the plain model is better (arXiv 2512.24601).
    direct_tokens: int = 1 << 14

    @classmethod
    def load(cls, name: str, folder: Path = _FOLDER) -> Profile:
        """Read the profile called `name`.

        Raises:
            ConfigError: there is none of that name, or its file holds anything a profile
                doesn't; the message names the file and the key.
        """
        known = sorted(file.stem for file in folder.glob("*.toml"))
        if name not in known:
            raise ConfigError(f"there is no profile {name!r}; there are: {', '.join(known)}")
        file = folder / f"{name}.toml"
        values = _parse(file)
        if "extends" in values:
            values = _extended(file, values, known)
        return _read(file, values)


def fill(template: str, **values: object) -> str:
    """A template with its `$names` filled in, without the blank lines around it."""
    return Template(template).substitute({k: str(v) for k, v in values.items()}).strip()


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: can't be read as a profile: {error}") from error


def _extended(file: Path, values: dict[str, Any], known: list[str]) -> dict[str, Any]:
    """The values of a profile, and where it has none those of the profile it extends."""
    table = Table(file, "top level", values)
    base = table.one_of("extends", tuple(one for one in known if one != file.stem))
    inherited = _parse(file.with_name(f"{base}.toml"))
    if "extends" in inherited:
        table.fail("extends", f"names {base!r}, which extends another itself; name that one")
    own = {key: value for key, value in values.items() if key != "extends"}
    for key, value in own.items():
        if isinstance(value, str) and _INHERITED in value:
            if not isinstance(inherited.get(key), str):
                table.fail(key, f"holds {_INHERITED}, and {base!r} has no such text")
            own[key] = value.replace(_INHERITED, inherited[key].strip())
    return inherited | own


def _read(file: Path, values: dict[str, Any]) -> Profile:
    table = Table(file, "top level", values)
    read: dict[str, Any] = {"name": file.stem}
    for field in fields(Profile):
        if field.name == "name" or (field.default is not MISSING and field.name not in values):
            continue
        kind = _KINDS[str(field.type)]
        if kind is list:
            texts = table.take(field.name, list)
            if not all(isinstance(one, str) for one in texts):
                table.fail(field.name, "must be a list of texts")
            read[field.name] = tuple(texts)
        else:
            whole = kind is int
            read[field.name] = table.positive(field.name) if whole else table.take(field.name, kind)
    table.end()
    if read.get("mode", "code") not in ("code", "plan"):
        table.fail("mode", f"is {read['mode']!r}; it can be one of: code, plan")
    for key, names in _NAMES.items():
        template = Template(read[key])
        if not template.is_valid():
            table.fail(key, "has a $ that begins no name; write $$ for the sign itself")
        if unknown := sorted(set(template.get_identifiers()) - names):
            told = ", ".join(f"${one}" for one in sorted(names))
            table.fail(key, f"holds ${unknown[0]}, which no run fills in; it can hold {told}")
    return Profile(**read)
