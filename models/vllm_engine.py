"""A model served here, by vLLM's `AsyncLLM`.

The engine proper runs in a process of its own. That process is forked from this one, which
has vLLM imported already, and it holds the worker itself: on two cores that halves the time
to the first token against vLLM's own choice of spawning two processes for each engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from outcore.errors import EngineDied, ModelError, ModelUnavailable
from outcore.models import pulse
from outcore.models.engine import CacheStats, Finish, Generation, check_fits
from outcore.models.engine_log import cause
from outcore.models.prompts import SUB_SYSTEM
from outcore.models.pulse import ProcessorTime, Pulse
from outcore.models.vllm_forms import packed, sampling_of, scored_of, tokens_input_of
from outcore.reaper import born, kill_tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from outcore.models.chat import ChatTokens, TokenDialogue
    from outcore.models.engine import Asked, Prompt, Request
    from outcore.models.meter import Meter


class VllmEngine:
    """A running vLLM engine. Made by `outcore.models.start`.

    One that hangs while calls wait is killed, and has died from then on (`outcore.models.pulse`).

    Args:
        chat: its tokenizer and chat template.
        llm: vLLM's `AsyncLLM`.
        meter: hears of its steps.
        log: file for the output of its processes.
        gpu: whether it computes on GPUs.

    Attributes:
        name: the model's name, for people.
        digest: of its weights and settings; None where they changed while it started.
        window: most tokens of prompt and reply together.
        in_flight: twice the sequences one step takes, so that the engine never runs dry.
        capacity: tokens that the KV cache of a replica holds, as vLLM has laid it out.
        block: tokens of one block of it.
        replicas: data-parallel copies.
        processes: ids of the engine's own processes.
    """

    def __init__(
        self,
        name: str,
        digest: str | None,
        chat: ChatTokens,
        llm: Any,
        meter: Meter,
        processes: tuple[int, ...],
        log: Path,
        *,
        gpu: bool = False,
    ) -> None:
        config = llm.vllm_config
        self.name = name
        self.digest = digest
        self.window = int(config.model_config.max_model_len)
        self.in_flight = 2 * int(config.scheduler_config.max_num_seqs)
        self.processes = processes
        self._born = {pid: born(pid) for pid in processes}
        self._llm = llm
        self._log = log
        self._meter = meter
        self.capacity = int(getattr(config.cache_config, "kv_cache_size_tokens", 0) or 0) or None
        self.block = int(config.cache_config.block_size)
        self.replicas = int(config.parallel_config.data_parallel_size)
        self._chat = chat
        self._labels = lru_cache(maxsize=32)(chat.labels)
        self._numbers = itertools.count()
        self._hung = ""
        self._closed = False
        self._pulse = Pulse(
            self._kill_hung,
            silent=pulse.SILENT_SECONDS,
            replicas=self.replicas,
            spent=ProcessorTime(processes, spins=gpu).spent,
            ask=getattr(llm, "is_sleeping", None),
        )
        meter.on_step = self._pulse.beat

    def dialogue(self, system: str) -> TokenDialogue:
        """A new chat that begins with a system message."""
        return self._chat.dialogue(system)

    def prompts(self, asked: Sequence[Asked]) -> list[Prompt]:
        """Make prompts of questions, whole blocks of the prefix cache up to a text's end."""
        return list(self._chat.prompts(SUB_SYSTEM, asked, self.block))

    def label_tokens(self, labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Each label's ids as a reply; one that others begin with ends with the end of turn."""
        return self._labels(tuple(labels))

    def length(self, prompt: Prompt) -> int:
        """Length of a prompt in tokens."""
        return len(packed(prompt))

    async def count_tokens(self, text: str) -> int:
        """Length of a text in tokens, counted in a thread."""
        return len(await asyncio.to_thread(self._chat.encode, text))

    async def generate(self, request: Request) -> Generation:
        """Answer one request. Cancelling it takes it out of the engine.

        Raises:
            PromptTooLong: prompt and reply don't fit the window.
            EngineDied: its process is gone, or hung and was killed.
            ModelError: the engine refused the request.
        """
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        ids = packed(request.prompt).ids()
        check_fits(self, len(ids), request.max_tokens)
        self._check_alive()
        last = None
        replica = request.replica if self.replicas > 1 else None
        try:
            with self._pulse.waiting(replica or 0):
                async for output in self._llm.generate(
                    tokens_input_of(ids),
                    sampling_of(request),
                    f"{self.name}-{next(self._numbers)}",
                    priority=int(request.priority),
                    data_parallel_rank=replica,
                ):
                    last = output
        except EngineDeadError as error:
            raise self.death() from error
        except EngineGenerateError as error:
            raise ModelUnavailable(f"{self.name} failed at a request: {error}") from error
        except ValueError as error:
            raise ModelError(f"{self.name} refused the request: {error}") from error
        if last is None or not last.outputs[0].finish_reason:
            raise (
                self.death()
                if self._llm.errored
                else ModelError(f"{self.name} ended a request without an answer")
            )
        out = last.outputs[0]
        if out.finish_reason == "error" and request.shape is not None:
            raise ModelError(
                f"{self.name} could not hold a reply to its form: the schema makes too large a "
                "grammar; use a simpler one"
            )
        if out.finish_reason not in ("stop", "length"):
            raise ModelUnavailable(f"{self.name} broke off a request ({out.finish_reason})")
        cached = int(last.num_cached_tokens or 0)
        if request.only:
            return scored_of(out, request.only, len(ids), cached)
        finish: Finish = "stop" if out.finish_reason == "stop" else "length"
        return Generation(
            text=out.text,
            ids=tuple(out.token_ids),
            finish=finish,
            tokens_in=len(ids),
            tokens_cached=cached,
            tokens_out=len(out.token_ids),
        )

    def cache_stats(self) -> CacheStats:
        """vLLM's own counters of the prefix cache."""
        return CacheStats(self._meter.queried, self._meter.hit, self.capacity or 0)

    async def close(self) -> None:
        """Kill the engine's processes and let vLLM tidy up. Takes well under two seconds.

        The log stays where the engine had failed.

        An engine holds nothing worth a slow goodbye: its KV cache dies with it either way.
        """
        if self._closed:
            return
        self._closed = True
        self._pulse.close()
        healthy = not self._llm.errored
        # vLLM would report the death of processes that are meant to die.
        if self._llm.output_handler is not None:
            self._llm.output_handler.cancel()
        self._llm.engine_core.resources.engine_dead = True
        self._kill()
        await asyncio.to_thread(self._llm.shutdown, 1.0)
        if healthy:
            self._log.unlink(missing_ok=True)

    def _kill(self) -> None:
        for pid, when in self._born.items():
            if born(pid) == when:
                kill_tree(pid)
            elif born(pid) == 0:
                # A forked engine has led a group of its own, in which its workers may live on.
                with contextlib.suppress(OSError):
                    os.killpg(pid, signal.SIGKILL)

    def _kill_hung(self, why: str) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        self._hung = why
        self._kill()
        # Not left to vLLM: what waits for a device in the kernel may not end when it is killed.
        self._llm.engine_core.resources.engine_dead = True
        self._llm.output_processor.propagate_error(EngineDeadError())

    def _check_alive(self) -> None:
        if self._closed:
            raise ModelError(f"{self.name}: the engine has been closed")
        if self._llm.errored:
            raise self.death()

    @property
    def dead(self) -> bool:
        """Whether its processes have died, or it was closed."""
        return self._closed or bool(self._llm.errored)

    def death(self) -> EngineDied:
        """What is known of its end."""
        if self._hung:
            return EngineDied(
                f"the engine of {self.name} hung and was killed ({self._hung}). Its log is "
                f"{self._log}. If it hangs again, see whether a GPU or a disk has failed or the "
                "machine swaps (`dmesg` tells), or choose another model (`outcore models list`)"
            )
        return EngineDied(
            f"the engine of {self.name} has died ({self._how()}). Its log is {self._log}. If "
            "memory ran out (`dmesg` tells), end other programs or choose a smaller model "
            "(`outcore models list`)"
        )

    def _how(self) -> str:
        manager = self._llm.engine_core.resources.engine_manager
        codes = [one.exitcode for one in getattr(manager, "processes", ())]
        if -signal.SIGKILL in codes:
            return "killed by SIGKILL, as Linux does when memory runs out"
        code = next((code for code in codes if code), None)
        return cause(self._log) or ("it is not known how" if code is None else f"exit code {code}")
