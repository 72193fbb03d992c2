"""The attacks on the bridge, each against a broker of its own, without a kernel around them."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from outcore.errors import BudgetExceeded
from outcore.kernel_sandbox import Limits
from outcore.kernel_sandbox.attacks import Attack, suite
from outcore.kernel_sandbox.attacks.programs import line
from outcore.kernel_sandbox.attacks.programs.attack import Aim, Stopped
from outcore.kernel_sandbox.broker import Broker
from outcore.kernel_sandbox.inside.bridge import Bridge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOKEN = "a" * 64
CAP = 4 << 20
LIMITS = Limits(frame=CAP, calls_bytes=32 << 20, connections=64)
AIM = Aim(mark="0123456789ab")
ATTACKS = [one for one in suite() if one.family == "bridge"]


class Host:
    """Answers what the attacks ask, and remembers it."""

    def __init__(self) -> None:
        self.prompts: list[str] = []

    async def __call__(self, op: str, params: dict[str, Any]) -> Any:
        if op == "answer":
            return {"missing": []}
        prompt = params.get("prompt")
        if op != "llm_query" or not isinstance(prompt, str):
            raise BudgetExceeded("no such call")
        self.prompts.append(prompt)
        if prompt.startswith(("wait ", "sleep ")):
            await asyncio.sleep(0.5)
        return f"re: {prompt}"


@asynccontextmanager
async def attacked(folder: Path, host: Host) -> AsyncIterator[Broker]:
    broker = Broker(folder / "b.sock", TOKEN, os.geteuid(), host, LIMITS)
    await broker.start()
    # What the attacks find by looking through the objects of their process.
    line._found[:] = [Bridge(str(folder / "b.sock"), TOKEN, CAP)]
    try:
        yield broker
    finally:
        line._found.clear()
        await broker.close()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda one: one.name)
async def test_the_host_refuses_and_goes_on(attack: Attack, tmp_path: Path) -> None:
    host = Host()
    async with attacked(tmp_path, host):
        if attack.expected == "allowed":
            await asyncio.to_thread(attack.program, AIM)
        else:
            with pytest.raises(Stopped):
                await asyncio.to_thread(attack.program, AIM)
    assert not [one for one in host.prompts if one == "let me in"]
    # Each has shown that it can speak to the host before it was refused, or after.
    assert {"before", "still there?"} & set(host.prompts)


async def test_a_replayed_call_is_a_call_of_its_own(tmp_path: Path) -> None:
    host = Host()
    (replay,) = [one for one in ATTACKS if one.name == "frames_replayed"]
    async with attacked(tmp_path, host):
        await asyncio.to_thread(replay.program, AIM)
    assert host.prompts.count(f"replay {AIM.mark}") == 2


async def test_a_host_that_lets_anyone_in_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("outcore.kernel_sandbox.broker.hmac.compare_digest", lambda *_: True)
    host = Host()
    (wrong,) = [one for one in ATTACKS if one.name == "wrong_token"]
    async with attacked(tmp_path, host):
        assert "answered" in await asyncio.to_thread(wrong.program, AIM)
