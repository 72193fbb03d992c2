"""Whole CUDA graphs for the steps that do not go by groups.

vLLM replays a decode step as one CUDA graph, attention included, where the backend allows. Such
a graph holds FlashAttention's kernels, so a step by groups has to run in pieces, with attention
between them. vLLM asks a backend once, at the start, which graphs it can be part of, and never
of a single step. Therefore its dispatchers, of both model runners, are wrapped here: while the
next step is to go by groups they don't offer a whole graph.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcore.kernels.choice import Choice

_CHOICES: weakref.WeakSet[Choice] = weakref.WeakSet()
_MARK = "asks_outcore"


def whole_graphs(config: Any) -> bool:
    """Whether steps that don't go by groups can be whole graphs.

    They can't where several processes run a step together, since each decides for itself and
    all must run the same graphs, nor with drafts, which vLLM runs by graphs of their own.

    Args:
        config: vLLM's.
    """
    parallel = config.parallel_config
    alone = parallel.world_size == 1 and parallel.data_parallel_size == 1
    return (
        alone
        and not parallel.use_ubatching
        and config.speculative_config is None
        and all(_known(dispatch, name) for _, dispatch, name, _ in _dispatchers())
    )


def follow(choice: Choice) -> None:
    """Let vLLM's dispatchers in this process ask a choice, for as long as it exists."""
    for owner, dispatch, name, wrap in _dispatchers():
        if not hasattr(dispatch, _MARK) and _known(dispatch, name):
            wrapped = wrap(dispatch)
            setattr(wrapped, _MARK, True)
            owner.dispatch = wrapped
    _CHOICES.add(choice)


def _dispatchers() -> list[tuple[Any, Callable[..., Any], str, Callable[..., Any]]]:
    """Of both runners: class, method, the argument that matters here, and how to wrap it."""
    from vllm.v1.cudagraph_dispatcher import CudagraphDispatcher
    from vllm.v1.worker.gpu.cudagraph_utils import CudaGraphManager

    return [
        (owner, owner.dispatch, name, wrap)
        for owner, name, wrap in (
            (CudagraphDispatcher, "invalid_modes", _first),
            (CudaGraphManager, "uniform_token_count", _second),
        )
    ]


def _known(dispatch: Callable[..., Any], name: str) -> bool:
    return name in inspect.signature(dispatch).parameters


def _by_groups() -> bool:
    return any(choice.grouped for choice in _CHOICES)


def _first(dispatch: Callable[..., Any]) -> Callable[..., Any]:
    from vllm.config import CUDAGraphMode

    signature = inspect.signature(dispatch)

    @functools.wraps(dispatch)
    def asked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not _by_groups():
            return dispatch(self, *args, **kwargs)
        given = signature.bind(self, *args, **kwargs)
        unwanted = given.arguments.get("invalid_modes") or set()
        given.arguments["invalid_modes"] = {*unwanted, CUDAGraphMode.FULL}
        return dispatch(*given.args, **given.kwargs)

    return asked


def _second(dispatch: Callable[..., Any]) -> Callable[..., Any]:
    from vllm.config import CUDAGraphMode

    @functools.wraps(dispatch)
    def asked(
        self: Any, num_reqs: int, num_tokens: int, uniform_token_count: Any, *args: Any, **kw: Any
    ) -> Any:
        if not _by_groups():
            return dispatch(self, num_reqs, num_tokens, uniform_token_count, *args, **kw)
        # Graphs of decodes alone are made for batches of one length, which this one is then not.
        found = dispatch(self, num_reqs, num_tokens, None, *args, **kw)
        if found.cg_mode != CUDAGraphMode.FULL:
            return found
        return replace(found, cg_mode=CUDAGraphMode.NONE, num_tokens=num_tokens, num_reqs=num_reqs)

    return asked
