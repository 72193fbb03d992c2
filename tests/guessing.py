"""A host that starts what a kernel foresees, and two kernels to compare."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandboxing import USUAL, Host, descendants, stage

from outcore.kernel_sandbox import Kernel, KernelSpec, Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from outcore.config import Tier
    from outcore.kernel_sandbox import CellResult


@dataclass
class GuessingHost(Host):
    """Starts foreseen calls at once and hands their answers over when they are made.

    Attributes:
        seconds: what a call takes.
        patience: how long a call that was not foreseen waits for the first guesses.
        guesses: calls under way that nothing has asked for yet.
        foreseen: calls started before they were made.
        unknown: calls foreseen without their prompts.
        used: calls that had been started when they were made.
    """

    seconds: float = 0.0
    patience: float = 0.0
    told: asyncio.Event = field(default_factory=asyncio.Event)
    guesses: dict[str, asyncio.Task[Any]] = field(default_factory=dict)
    foreseen: int = 0
    unknown: int = 0
    used: int = 0

    async def _reply(self, op: str, params: dict[str, Any]) -> Any:
        if op == "speculate":
            return self._start(params["calls"])
        if op != "llm_query":
            return await super()._reply(op, params)
        guess = self.guesses.pop(_key(params), None)
        if guess is not None:
            self.used += 1
            return await guess
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.told.wait(), self.patience)
        return await self._answer(params)

    def _start(self, calls: list[dict[str, Any] | None]) -> dict[str, int]:
        known = [one for one in calls if one is not None]
        for one in known:
            self.guesses.setdefault(_key(one), asyncio.create_task(self._answer(one)))
        self.told.set()
        self.foreseen += len(known)
        self.unknown += len(calls) - len(known)
        return {"started": len(known)}

    async def _answer(self, params: dict[str, Any]) -> Any:
        await asyncio.sleep(self.seconds)
        prompt = params["prompt"]
        if params.get("scores"):
            labels = params["choices"]
            return {"value": labels[-1], "scores": {one: 1 / len(labels) for one in labels}}
        if params["choices"]:
            return params["choices"][-1]
        if params["schema"]:
            return {"name": f"<{prompt}>", "age": len(prompt)}
        verb, _, rest = prompt.partition(" ")
        if verb == "number":
            return str(7 * len(rest))
        if verb == "json":
            return json.dumps({"n": len(rest), "items": ["a", rest]})
        return await super()._reply("llm_query", params)

    def forget(self) -> None:
        """Start counting afresh."""
        for one in self.guesses.values():
            one.cancel()
        self.guesses.clear()
        self.calls.clear()
        self.told.clear()
        self.foreseen = self.unknown = self.used = 0


def _key(params: dict[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)


@dataclass
class Side:
    """One kernel and its host."""

    kernel: Kernel
    host: GuessingHost

    async def run(self, code: str, seconds: float = 20) -> CellResult:
        """Run a cell; what was counted before is forgotten."""
        self.host.forget()
        return await self.kernel.run(code, seconds=seconds)


@dataclass
class Pair:
    """A kernel with dry runs and one without."""

    on: Side
    off: Side

    async def same(self, code: str, status: str = "ok") -> Side:
        """Run a cell in both and see that it does the same; returns the one with dry runs."""
        ahead, plain = await self.on.run(code), await self.off.run(code)
        assert ahead.status == status, ahead
        assert _plain(ahead) == _plain(plain)
        asked = self.on.host.of("llm_query")
        assert sorted(map(_key, asked)) == sorted(map(_key, self.off.host.of("llm_query")))
        assert self.off.host.of("speculate") == []
        return self.on


def _plain(result: CellResult) -> tuple[str, str | None]:
    return re.sub(r"<cell \d+>", "<cell>", result.output), result.error


@asynccontextmanager
async def side(
    folder: Path,
    *,
    tier: Tier = USUAL,
    speculate: bool = True,
    text: str = "Some text.",
    host: GuessingHost | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[Side]:
    """A kernel, and the proof afterwards that no process of it is left."""
    folder.mkdir(exist_ok=True)
    host = host or GuessingHost()
    context = stage(folder / f"context-{speculate}", text)
    before = descendants()
    spec = KernelSpec(
        context=context, tier=tier, limits=limits or Limits(), hints={"speculate": speculate}
    )
    kernel = await Kernel.start(spec, host)
    try:
        yield Side(kernel, host)
    finally:
        await kernel.close()
        host.forget()
    assert descendants() <= before
