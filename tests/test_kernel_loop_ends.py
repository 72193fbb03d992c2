"""Kernels whose event loop ends while they start or end: nothing of them is left."""

from __future__ import annotations

import asyncio
import gc
import os
from typing import TYPE_CHECKING

import pytest
from leftovers import paths
from sandboxing import Host, descendants, stage

from outcore.kernel_sandbox import Kernel, KernelSpec
from outcore.kernel_sandbox.session import sessions_folder
from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path
    from typing import Any


def _run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run it in a loop of its own, and prove that nothing is left; what leaks raises here."""
    reaper()
    before = descendants()
    asyncio.run(main())
    gc.collect()
    assert descendants() <= before
    assert not paths(sessions_folder(), f"k-{os.getpid()}-*")


# Turns of the loop, and seconds after them: what is cancelled has not begun, or is at any step.
MOMENTS = [(1, 0.0), (2, 0.0), (3, 0.0), (5, 0.0), (0, 0.001), (0, 0.004), (0, 0.02)]


@pytest.mark.parametrize(("turns", "seconds"), MOMENTS)
def test_while_one_ends(tmp_path: Path, turns: int, seconds: float) -> None:
    async def main() -> None:
        kernel = await Kernel.start(KernelSpec(context=stage(tmp_path / "context")), Host())
        closing = asyncio.create_task(kernel.close())
        await _pass(turns, seconds)
        assert not closing.cancelled()

    _run(main)


@pytest.mark.parametrize(("turns", "seconds"), [*MOMENTS, (0, 0.08), (0, 0.15)])
@pytest.mark.parametrize("cancelled", [False, True])
def test_while_one_starts(tmp_path: Path, cancelled: bool, turns: int, seconds: float) -> None:
    async def main() -> None:
        starting = asyncio.create_task(
            Kernel.start(KernelSpec(context=stage(tmp_path / "context")), Host())
        )
        await _pass(turns, seconds)
        if starting.done():
            await starting.result().close()
        elif cancelled:
            starting.cancel()
            await asyncio.sleep(0)

    _run(main)


async def _pass(turns: int, seconds: float) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    if seconds:
        await asyncio.sleep(seconds)
