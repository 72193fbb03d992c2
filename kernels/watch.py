"""Learning from the device what grouping would save, without waiting for it."""

from __future__ import annotations

import torch


class Watch:
    """Decides, some steps late, whether the next one is worth grouping.

    The host can't know what a batch shares without waiting for the device. What it can know is
    what an earlier batch shared, and batches change slowly: requests stay for many steps. A
    decision that comes late costs time and nothing else.

    Attributes:
        pays: whether the last figure that has arrived was at least `least`.
    """

    def __init__(self, device: torch.device, *, least: float, every: int) -> None:
        """Begin with a batch of which nothing is known.

        Args:
            device: that computes the figures.
            least: share of keys and values that must be saved.
            every: steps from one look to the next while it does not pay.
        """
        self.pays = False
        self._least = least
        self._every = every
        self._step = 0
        self._on_gpu = device.type == "cuda"
        self._figure = torch.zeros((), pin_memory=self._on_gpu)
        self._event = torch.cuda.Event() if self._on_gpu else None
        self._waiting = False

    def due(self) -> bool:
        """Begin a step: whether what its batch shares must be found out."""
        if self._waiting and (self._event is None or self._event.query()):
            self._waiting = False
            self.pays = float(self._figure) >= self._least
        self._step += 1
        return self.pays or self._step % self._every == 1 or self._every == 1

    def note(self, saving: torch.Tensor) -> None:
        """Take in a figure that the device has yet to compute: [] float32."""
        if self._waiting:
            return
        self._figure.copy_(saving, non_blocking=True)
        if self._event is not None:
            self._event.record()
        self._waiting = True
