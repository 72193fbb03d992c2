"""What vLLM's scheduler tells of its steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Meter:
    """Hears of every step, and adds up what is told of the prefix cache, over all replicas.

    Attributes:
        queried: tokens that were looked for in the prefix cache.
        hit: how many of them it held.
        on_step: is told, after each step, which replica made it.
    """

    def __init__(self) -> None:
        self.queried = 0
        self.hit = 0
        self.on_step: Callable[[int], None] = lambda _: None

    def logger(self) -> Any:
        """A factory of stat loggers for `AsyncLLM(stat_loggers=...)`."""
        from vllm.v1.metrics.loggers import StatLoggerBase

        meter = self

        class Logger(StatLoggerBase):  # type: ignore[misc]
            def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
                pass

            def record(
                self,
                scheduler_stats: Any,
                iteration_stats: Any,
                mm_cache_stats: Any = None,
                engine_idx: int = 0,
            ) -> None:
                meter.on_step(engine_idx)
                if scheduler_stats is not None:
                    meter.queried += scheduler_stats.prefix_cache_stats.queries
                    meter.hit += scheduler_stats.prefix_cache_stats.hits

            def log_engine_initialized(self) -> None:
                pass

        return Logger
