"""Starting vLLM engines as a placement says.

On a CPU the engines start side by side; on GPUs one after the other, under a lock that all
processes of the machine share, since each measures the whole device while it starts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from outcore.config import private_folder
from outcore.errors import ModelError, WeightsError
from outcore.models import gpus
from outcore.models.arguments import engine_args, set_environment
from outcore.models.chat import ChatTokens
from outcore.models.digest import digest
from outcore.models.engine_log import cause
from outcore.models.forks import Start, forks
from outcore.models.meter import Meter
from outcore.models.prompts import SUB_SYSTEM
from outcore.models.shared_prefix import attention_backend
from outcore.models.vllm_engine import VllmEngine
from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from outcore.models.launch import Launch
    from outcore.models.progress import Progress

_LOG = logging.getLogger(__name__)


async def start_engines(
    launches: Sequence[Launch], scratch: Path, progress: Progress
) -> tuple[VllmEngine, ...]:
    """Start engines, in order; all of them, or none.

    Args:
        launches: what to start.
        scratch: short path of a folder for the engines' sockets.
        progress: is told how things move.

    Raises:
        ModelError: one of them could not start; it holds the end of the engine's log.
    """
    progress.say("loading vLLM")
    await asyncio.to_thread(set_environment, launches, scratch)
    started: list[VllmEngine] = []
    try:
        if any(launch.plan.device == "cuda" for launch in launches):
            async with gpus.turn(progress):
                for launch in launches:
                    progress.say(f"starting {launch.name}")
                    started.append(await _on_gpu(launch, scratch))
        else:
            progress.say("starting " + " and ".join(launch.name for launch in launches))
            started += await _side_by_side(launches, scratch)
    except BaseException:
        for engine in started:
            await engine.close()
        raise
    return tuple(started)


async def _on_gpu(launch: Launch, scratch: Path) -> VllmEngine:
    if attention_backend(launch) is None:
        return await _start(launch, scratch)
    try:
        return await _start(launch, scratch)
    except ModelError as error:
        # Whether it was that can't be told; what can be served without it must be.
        _LOG.warning("%s. It is started once more, without shared-prefix attention.", error)
    log = launch.log.with_name(f"{launch.log.stem}-plain{launch.log.suffix}")
    return await _start(replace(launch, log=log, shared_prefix=False), scratch)


async def _side_by_side(launches: Sequence[Launch], scratch: Path) -> list[VllmEngine]:
    tasks: list[asyncio.Task[VllmEngine]] = []
    try:
        for launch in launches:
            # A fork copies only the forking thread, with whatever locks the others hold. So the
            # next start waits for this one's fork; after it that thread only waits for its engine.
            forked = asyncio.Event()
            task = asyncio.create_task(_start(launch, scratch, forked))
            tasks.append(task)
            waiter = asyncio.create_task(forked.wait())
            try:
                await asyncio.wait((task, waiter), return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiter.cancel()
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, VllmEngine):
                await result.close()
        raise


async def _start(launch: Launch, scratch: Path, forked: asyncio.Event | None = None) -> VllmEngine:
    loop = asyncio.get_running_loop()

    def told() -> None:
        if forked is not None:
            loop.call_soon_threadsafe(forked.set)

    start = Start(told)
    future: asyncio.Future[VllmEngine] = loop.create_future()

    def work() -> None:
        result: VllmEngine | None = None
        failure: BaseException | None = None
        try:
            result = _build(launch, scratch, start)
        except BaseException as error:  # handed to whoever awaits
            failure = error
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, future, result, failure)

    thread = threading.Thread(target=work, name=f"start-{launch.name}", daemon=True)
    thread.start()
    try:
        engine = await asyncio.shield(future)
    except asyncio.CancelledError:
        start.cancel()
        raise
    if engine.digest is None:
        await engine.close()
        raise WeightsError(
            f"{launch.folder} changed while {launch.name} was loaded from it; start again when "
            "nothing writes there any more"
        )
    return engine


def _settle(
    future: asyncio.Future[VllmEngine], result: VllmEngine | None, failure: BaseException | None
) -> None:
    if failure is not None:
        if not future.cancelled():
            future.set_exception(failure)
            future.exception()
    elif result is not None:
        future.set_result(result)


def _build(launch: Launch, scratch: Path, start: Start) -> VllmEngine:
    import vllm
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.executor import Executor

    class Engine(AsyncLLM):  # type: ignore[misc]
        def __del__(self) -> None:
            # VllmEngine.close ends it. vLLM's own destructor would try again while the
            # interpreter is being taken down, and fail with a traceback.
            pass

    # Before the engine, which would have to be ended if the tokenizer were no good.
    chat = ChatTokens(launch.folder)
    meter = Meter()
    plan = launch.plan
    # What a question is laid out with is a part of it.
    served = (vllm.__version__, plan.dtype, plan.device, str(plan.block_size), SUB_SYSTEM)
    before = digest(launch.folder, *served)
    private_folder(launch.log.parent)
    with (
        launch.log.open("wb") as log,
        forks.watch(start, log.fileno(), scratch),
        gpus.visible(plan.gpus),
    ):
        try:
            config = AsyncEngineArgs(**engine_args(launch)).create_engine_config()
            if launch.plan.device == "cpu":
                # vLLM spawns a second process to bind threads; forked, one process does it all.
                config.parallel_config.distributed_executor_backend = "uni"
                os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"
            llm = Engine(
                vllm_config=config,
                executor_class=Executor.get_class(config),
                log_stats=False,
                log_requests=False,
                stat_loggers=[meter.logger()],
            )
        except Exception as error:
            raise ModelError(_why(launch, error)) from error
    # It reports an engine's death with a traceback; VllmEngine tells of it in a line. Said here,
    # since vLLM sets up its loggers anew for each engine.
    logging.getLogger("vllm.v1.engine.async_llm").setLevel(logging.CRITICAL)
    pids = tuple(process.pid for process in llm.engine_core.resources.engine_manager.processes)
    for pid in pids:
        reaper().adopt_process(pid)
    after = before if before == digest(launch.folder, *served) else None
    gpu = plan.device == "cuda"
    return VllmEngine(launch.name, after, chat, llm, meter, pids, launch.log, gpu=gpu)


def _why(launch: Launch, error: Exception) -> str:
    why = cause(launch.log) or str(error)
    plan = launch.plan
    return (
        f"{launch.name} could not start on {plan.device} (window {plan.window:,} tokens, KV cache "
        f"{plan.kv_cache_bytes / 2**30:.2f} GiB): {why}. The whole log is {launch.log}. If "
        "memory ran out, choose a smaller model (`outcore models list`) or end other programs"
    )
