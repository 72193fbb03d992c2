"""What stands in for models in a bench: a root that follows a script, a sub-LM that waits.

The sub-LM's answers are `re: ` and the question, so that a cell can tell whether every call
got its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from outcore.config import home
from outcore.engine import rlm as rlm_module
from outcore.engine.rlm import RLM
from outcore.models.engine import (
    Asked,
    CacheStats,
    ChatPrompt,
    Engine,
    Generation,
    Message,
    Prompt,
    Request,
)
from outcore.models.http_engine import MessageDialogue
from outcore.models.serve import Served

sys.path.insert(0, str(Path(__file__).parent))
from server import fenced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence


def real_text(chars: int) -> str:
    """The first `chars` characters of the standard library's source."""
    text = ""
    for path in sorted(Path(os.__file__).parent.glob("*.py")):
        text += path.read_text(encoding="utf-8", errors="replace")
        if len(text) >= chars:
            return text[:chars]
    raise SystemExit(f"the standard library holds only {len(text):,} characters")


@contextlib.contextmanager
def own_home() -> Iterator[Path]:
    """An empty `$OUTCORE_HOME` with the weights of the true one: no memo, no index."""
    real = home()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        for name in ("weights", "torchinductor"):
            (real / name).mkdir(parents=True, exist_ok=True)
            (Path(scratch) / name).symlink_to(real / name)
        before = os.environ.get("OUTCORE_HOME")
        os.environ["OUTCORE_HOME"] = scratch
        try:
            yield Path(scratch)
        finally:
            if before is None:
                del os.environ["OUTCORE_HOME"]
            else:
                os.environ["OUTCORE_HOME"] = before


@contextlib.contextmanager
def rlm_with(start: Callable[[], Awaitable[Served]], **settings: Any) -> Iterator[RLM]:
    """An `RLM` whose models `start` brings up; all else of it is real."""

    async def serve(*_: Any, **__: Any) -> Served:
        return await start()

    patch = mock.patch.object(rlm_module, "serve", serve)
    with patch, RLM(direct="never", **settings) as rlm:
        yield rlm


@dataclass
class ScriptedRoot:
    """A root model whose replies are cells given beforehand.

    Attributes:
        cells: what is still to be run.
        on_turn: called before each reply.
    """

    cells: list[str]
    on_turn: Callable[[], None] = lambda: None
    name: str = "scripted"
    digest: str | None = None
    window: int = 1 << 20
    in_flight: int = 64
    capacity: int | None = None
    block: int = 16
    replicas: int = 1

    def dialogue(self, system: str) -> MessageDialogue:
        return MessageDialogue([Message("system", system)])

    def prompts(self, asked: Sequence[Asked]) -> list[Prompt]:
        return [ChatPrompt((Message("user", one.question),)) for one in asked]

    def label_tokens(self, labels: Sequence[str]) -> None:
        return None

    def length(self, prompt: Prompt) -> int:
        return 1

    async def count_tokens(self, text: str) -> int:
        return len(text) // 4

    async def generate(self, request: Request) -> Generation:
        self.on_turn()
        return Generation(fenced(self.cells.pop(0)), (), "stop", 1, 0, 1)

    def cache_stats(self) -> CacheStats | None:
        return None

    async def close(self) -> None:
        pass


@dataclass
class StandInSub(ScriptedRoot):
    """A sub-LM that answers each call after `seconds`, however many there are at once."""

    cells: list[str] = field(default_factory=list)
    seconds: float = 0.0
    in_flight: int = 100_000

    def prompts(self, asked: Sequence[Asked]) -> list[Prompt]:
        return [
            ChatPrompt((Message("user", f"{one.text or ''}\n\n{one.question}"),)) for one in asked
        ]

    async def generate(self, request: Request) -> Generation:
        await asyncio.sleep(self.seconds)
        assert isinstance(request.prompt, ChatPrompt)
        question = request.prompt.messages[-1].content.rpartition("\n\n")[2]
        return Generation(f"re: {question}", (), "stop", 8, 0, 8)


def served(root: Engine, sub: Engine) -> Callable[[], Awaitable[Served]]:
    """`start` of `rlm_with` for engines that are there already."""

    async def start() -> Served:
        return Served(root=root, sub=sub, profile="coder")

    return start
