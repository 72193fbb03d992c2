"""Plans made as one CUDA graph: some 250 small operations, launched by one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from outcore.kernels.groups import find

if TYPE_CHECKING:
    from outcore.kernels.groups import Plan
    from outcore.kernels.limits import Limits


class Planner:
    """Makes the plan of one step after another; each takes the place of the one before.

    On a GPU the operations are captured once, for the largest batch, when it is made, so that
    a step costs the host three copies and a launch. A plan made so has rows for the largest
    batch; those beyond the batch's own are of requests without tokens. Elsewhere the
    operations run as they are.
    """

    def __init__(self, requests: int, columns: int, steps: torch.Tensor, limits: Limits) -> None:
        """Allocate, and capture on a GPU.

        Args:
            requests: most in a batch.
            columns: most blocks of a request.
            steps: lengths that work may be split into; also says which device.
            limits: what is worth it.
        """
        self._steps = steps
        self._limits = limits
        self._graph: torch.cuda.CUDAGraph | None = None
        if steps.is_cuda:
            self._table = steps.new_zeros((requests, columns))
            self._lengths = steps.new_zeros(requests)
            self._graph, self._plan = self._captured()

    def __call__(self, table: torch.Tensor, lengths: torch.Tensor) -> Plan:
        """Plan a batch; see `groups.find`.

        Args:
            table: [requests, columns] int32.
            lengths: [requests] int32.
        """
        if self._graph is None:
            return find(table, lengths, self._steps, self._limits)
        # vLLM's bound on the longest request can be beyond what a request may have.
        table = table[:, : self._table.shape[1]]
        rows, columns = table.shape
        self._table[:rows, :columns].copy_(table)
        self._lengths.zero_()
        self._lengths[:rows].copy_(lengths)
        self._graph.replay()
        return self._plan

    def _captured(self) -> tuple[torch.cuda.CUDAGraph, Plan]:
        # Once outside the graph, for what is set up at the first use of an operation.
        beside = torch.cuda.Stream(self._table.device)
        beside.wait_stream(torch.cuda.current_stream(self._table.device))
        with torch.cuda.stream(beside):
            find(self._table, self._lengths, self._steps, self._limits)
        torch.cuda.current_stream(self._table.device).wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            plan = find(self._table, self._lengths, self._steps, self._limits)
        return graph, plan
