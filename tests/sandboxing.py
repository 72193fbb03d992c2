"""What the tests of the sandbox share: a host that answers, and a context on disk."""

from __future__ import annotations

import asyncio
import json
import os
from array import array
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import psutil

from outcore.errors import BudgetExceeded, PromptTooLong
from outcore.kernel_sandbox import Kernel, KernelSpec, Limits
from outcore.kernel_sandbox.inside.staged import FORMAT, TABLE_TYPE, Meta
from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from outcore.config import Tier

# The tier that tests take which name none; another where they are run once more.
USUAL: Tier = cast("Tier", os.environ.get("OUTCORE_TESTS_TIER", "auto"))
TEXT = "The captain is Ahab.\r\nThe whale is white.\n"


@dataclass
class Host:
    """Answers calls in ways the prompts name, and remembers them."""

    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    running: int = 0
    peak: int = 0
    cancelled: int = 0
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, op: str, params: dict[str, Any]) -> Any:
        self.calls.append((op, params))
        self.running += 1
        self.peak = max(self.peak, self.running)
        try:
            return await self._reply(op, params)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    async def _reply(self, op: str, params: dict[str, Any]) -> Any:
        if op == "answer":
            return {"missing": [one for one in params["quotes"] if one not in TEXT]}
        if op == "count_tokens":
            return len(params["text"].split())
        if op == "search":
            found = {"document": "moby", "offset": 4, "score": 1.5, "text": str(params["query"])}
            return {"passages": [found | {"marks": [], "line": 0, "scope": ""}], "note": ""}
        if op != "llm_query":
            raise BudgetExceeded(f"no such call: {op}")
        verb, _, rest = params["prompt"].partition(" ")
        if verb == "sleep":
            await asyncio.sleep(float(rest))
        elif verb == "meet":
            # Answered once so many calls are there at the same time, however long that takes.
            while self.peak < int(rest):
                await asyncio.sleep(0.005)
        elif verb == "wait":
            await self.told.wait()
        elif verb == "long":
            raise PromptTooLong("the prompt has 9 tokens; 5 fit", tokens=9, room=5)
        elif verb == "broke":
            raise BudgetExceeded("all 10 calls are spent")
        elif verb == "bug":
            raise KeyError("a secret of the host")
        elif verb == "typed":
            return {"n": 3}
        return f"re: {params['prompt']}"

    def of(self, op: str) -> list[dict[str, Any]]:
        """Parameters of all calls of one op."""
        return [params for name, params in self.calls if name == op]


def stage(folder: Path, text: str = TEXT) -> Path:
    """A staged context holding one ASCII text."""
    folder.mkdir()
    (folder / "blob").write_bytes(text.encode("ascii"))
    (folder / "byte_bounds").write_bytes(array(TABLE_TYPE, [0, len(text)]).tobytes())
    meta = Meta(
        format=FORMAT,
        kind="str",
        chars=len(text),
        bytes=len(text),
        lines=text.count("\n"),
        documents=1,
        memory=len(text) + 50,
        names=False,
        json=False,
        title="text",
        digest="",
    )
    (folder / "meta.json").write_text(json.dumps(meta._asdict()))
    return folder


@asynccontextmanager
async def running(
    folder: Path, host: Host, *, tier: Tier = USUAL, limits: Limits | None = None
) -> AsyncIterator[Kernel]:
    """A kernel, and the proof afterwards that nothing is left of it."""
    spec = KernelSpec(context=stage(folder / "context"), tier=tier, limits=limits or Limits())
    reaper()  # one for the whole process, and there to stay
    before = descendants()
    kernel = await Kernel.start(spec, host)
    try:
        yield kernel
    finally:
        await kernel.close()
    assert not kernel.folder.exists()
    assert descendants() <= before


def descendants() -> set[psutil.Process]:
    """Processes below this one, kernels and their sandboxes among them."""
    return set(psutil.Process().children(recursive=True))
