"""`outcore ask` in a process of its own, with models that a script plays; all else is real.

python -P fault_host.py SCRIPT ask QUESTION PATH ...

SCRIPT is a JSON file with the fields of `Script`. Replies hang on their prompts alone, so that a
run that is killed and asked the same again goes on as it would have.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scripted import ScriptedEngine, said

from outcore import cli
from outcore.engine import rlm
from outcore.models.engine import ChatPrompt, Generation, Request
from outcore.models.serve import Served

LAST = "The last word."
_DIRECT = "You answer a question about a text. Answer from the text alone."


@dataclass(frozen=True)
class Script:
    """What the models do.

    Attributes:
        log: file that gets a line for each generation made, with who made it and its text.
        cells: the root's cells, by turn; the last one repeats.
        start_seconds: what starting the models takes.
        root_seconds: what a turn takes; a list gives it for each turn.
        sub_seconds: what a sub-call takes.
    """

    log: str
    cells: list[str]
    start_seconds: float = 0.0
    root_seconds: float | list[float] = 0.0
    sub_seconds: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """Put it where a host will read it."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    def made(self) -> list[str]:
        """Texts of the generations made so far, in order."""
        try:
            lines = Path(self.log).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line)["text"] for line in lines]


class Player(ScriptedEngine):
    """Plays one of the two models."""

    def __init__(self, script: Script, name: str) -> None:
        super().__init__([""], name=name, digest=name)
        self._script = script

    async def generate(self, request: Request) -> Generation:
        assert isinstance(request.prompt, ChatPrompt)
        script, roles = self._script, [one.role for one in request.prompt.messages]
        mark = hashlib.sha256(f"{said(request)} {request.shape}".encode()).hexdigest()[:12]
        if self.name == "sub" or said(request).startswith(_DIRECT):
            seconds, text = script.sub_seconds, f"about {mark}"
        else:
            turn = roles.count("assistant")
            each = script.root_seconds
            seconds = each[min(turn, len(each) - 1)] if isinstance(each, list) else each
            turn = min(turn, len(script.cells) - 1)
            text = f"Turn {turn}, {mark}.\n\n```repl\n{script.cells[turn]}\n```\n"
            if "no more code" in said(request).rpartition("\n")[2]:
                text = LAST
        await asyncio.sleep(seconds)
        line = json.dumps({"model": self.name, "text": text}) + "\n"
        fd = os.open(script.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, line.encode())
        os.close(fd)
        length = self.length(request.prompt)
        return Generation(text, (), "stop", length, 0, len(text.split()))


def serving(script: Script) -> Any:
    """Stands in for `models.serve.serve`."""

    async def serve(*_: Any, **__: Any) -> Served:
        await asyncio.sleep(script.start_seconds)
        return Served(Player(script, "root"), Player(script, "sub"), "coder")

    return serve


if __name__ == "__main__":
    chosen = Script(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    rlm.serve = serving(chosen)  # type: ignore[attr-defined]
    # None of the arguments, so that it is this process that a signal ends.
    sys.argv = ["outcore", *sys.argv[2:]]
    sys.exit(cli.main())
