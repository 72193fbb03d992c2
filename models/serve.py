"""A root model and a sub-LM, ready to answer: from names to engines."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from outcore.errors import ConfigError
from outcore.models.api_key import api_keys
from outcore.models.catalog import defaults
from outcore.models.http_engine import HttpEngine
from outcore.models.launch import Launch
from outcore.models.machine import Machine, usable
from outcore.models.need import need
from outcore.models.placement import place
from outcore.models.resolve import resolve
from outcore.models.start import start_engines
from outcore.models.supervisor import Supervised
from outcore.models.weights import ensure

if TYPE_CHECKING:
    from pathlib import Path

    from outcore.models.engine import Engine
    from outcore.models.model import Model
    from outcore.models.progress import Progress
    from outcore.models.vllm_engine import VllmEngine

# Profile of a root that stands behind an address, of which nothing is known.
_REMOTE_PROFILE = "coder"


@dataclass(frozen=True, slots=True)
class Served:
    """Two running models; both roles may share one engine.

    Attributes:
        root: answers the turns.
        sub: answers the sub-calls.
        profile: prompt profile that the root's catalog entry asks for.
        sub_judges: whether the sub-LM can be trusted with labels.
    """

    root: Engine
    sub: Engine
    profile: str
    sub_judges: bool = True

    @property
    def judge(self) -> Engine:
        """Which of the two chooses labels."""
        return self.sub if self.sub_judges else self.root

    async def close(self) -> None:
        """End both."""
        await self.root.close()
        if self.sub is not self.root:
            await self.sub.close()


async def serve(
    root: str | None,
    sub: str | None,
    *,
    scratch: Path,
    logs: Path,
    progress: Progress,
    shared_prefix: bool = True,
) -> Served:
    """Bring up the models named, fetching weights where they are missing.

    Args:
        root: catalog name, folder, hub id or address; None for this machine's default.
        sub: the same; None for the default, or the root's own server where that is an address.
        scratch: folder with a short path, for sockets.
        logs: folder for the engines' logs.
        progress: is told how things move.
        shared_prefix: whether the sub-LM's engine may attend with `outcore.kernels`.

    Raises:
        ConfigError: a name is unknown, the models don't fit this machine, or a key would go to
            two servers.
        WeightsError: weights can't be had.
        ModelError: an engine can't start, or an address does not answer.
    """
    if sub is None and _is_address(root):
        sub = root
    # Where nothing runs here, it is of no matter what this machine has.
    away = _is_address(root) and _is_address(sub)
    machine = Machine((), (), 0) if away else await asyncio.to_thread(usable)
    root_name, sub_name = _names(root, sub, machine)
    named = {"root": root_name, "sub": sub_name}
    addresses = {role: name for role, name in named.items() if _is_address(name)}
    keys = api_keys(addresses, os.environ)
    remote: dict[str, HttpEngine] = {}
    try:
        for name in dict.fromkeys(addresses.values()):
            remote[name] = await HttpEngine.connect(name, keys.get(name))
        local = await _local(
            None if root_name in remote else resolve(root_name),
            None if sub_name in remote else resolve(sub_name),
            machine,
            scratch,
            logs,
            progress,
            shared_prefix,
        )
    except BaseException:
        for engine in remote.values():
            await engine.close()
        raise
    return Served(
        root=remote.get(root_name) or local["root"],
        sub=remote.get(sub_name) or local["sub"],
        profile=_REMOTE_PROFILE if root_name in remote else resolve(root_name).profile,
        sub_judges=sub_name in remote or resolve(sub_name).judges,
    )


async def _local(
    root: Model | None,
    sub: Model | None,
    machine: Machine,
    scratch: Path,
    logs: Path,
    progress: Progress,
    shared_prefix: bool,
) -> dict[str, Engine]:
    if (root or sub) and importlib.util.find_spec("vllm") is None:
        raise ConfigError(
            "vLLM is not installed, so no model can be served here: pip install '.[cuda]' in "
            "outcore's folder (for processors see setup.sh), or give the address of a running "
            "server (--root http://...)"
        )
    folders: dict[str, Path] = {}
    names: dict[str, str] = {}
    for role, model in (("root", root), ("sub", sub)):
        if model is not None:
            folders[role] = await asyncio.to_thread(ensure, model, progress=progress)
            names[role] = model.name
    if not folders:
        return {}
    needs = {role: need(folder) for role, folder in folders.items()}
    placement = place(needs.get("root"), needs.get("sub"), machine)
    launches = [
        Launch(
            name=names[plan.roles[0]],
            folder=folders[plan.roles[0]],
            plan=plan,
            log=logs / f"engine-{'-'.join(plan.roles)}.log",
            shared_prefix=shared_prefix,
        )
        for plan in placement.engines
    ]
    engines = await start_engines(launches, scratch, progress)
    supervised: dict[str, Engine] = {}
    for launch, engine in zip(launches, engines, strict=True):
        outliving = Supervised(engine, partial(again, launch, scratch, progress))
        supervised |= dict.fromkeys(launch.plan.roles, outliving)
    return supervised


async def again(launch: Launch, scratch: Path, progress: Progress, number: int) -> VllmEngine:
    """Start an engine like one that has died, as the `number`th; its log is one of its own.

    It attends as vLLM does, in case the other died of attention by groups.

    Raises:
        WeightsError: its weights are not whole any more.
        ModelError: it can't start.
    """
    await asyncio.to_thread(need, launch.folder)
    log = launch.log.with_name(f"{launch.log.stem}-{number}{launch.log.suffix}")
    [engine] = await start_engines(
        [replace(launch, log=log, shared_prefix=False)], scratch, progress
    )
    return engine


def _names(root: str | None, sub: str | None, machine: Machine) -> tuple[str, str]:
    if root is not None and sub is not None:
        return root, sub
    default_root, default_sub = defaults(machine)
    return root or default_root.name, sub or default_sub.name


def _is_address(name: str | None) -> bool:
    if name is None:
        return False
    if "://" in name and not name.startswith(("http://", "https://")):
        raise ConfigError(f"{name}: an address begins with http:// or https://")
    return name.startswith(("http://", "https://"))
