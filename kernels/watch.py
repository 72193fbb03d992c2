"""Learning figures from the device without waiting for it."""

from __future__ import annotations

import torch


class Watch:
    """Brings the newest figures that the device has computed to the host, some steps late.

    The host can't know what a batch shares without waiting for the device. What it can know is
    what an earlier one shared, and batches change slowly: requests stay for many steps.
    """

    def __init__(self, device: torch.device, figures: int) -> None:
        """Begin without figures.

        Args:
            device: that computes them.
            figures: how many there are.
        """
        self._on_gpu = device.type == "cuda"
        self._buffer = torch.zeros(figures, pin_memory=self._on_gpu)
        self._event = torch.cuda.Event() if self._on_gpu else None
        self._waiting = False
        self._found: tuple[float, ...] | None = None

    def note(self, figures: torch.Tensor) -> None:
        """Take in figures that the device has yet to compute, unless earlier ones are under way.

        Args:
            figures: [figures] float32.
        """
        self.found()
        if self._waiting:
            return
        self._buffer.copy_(figures, non_blocking=True)
        if self._event is not None:
            self._event.record()
        self._waiting = True

    def found(self) -> tuple[float, ...] | None:
        """The newest figures that have arrived; None before the first."""
        if self._waiting and (self._event is None or self._event.query()):
            self._waiting = False
            self._found = tuple(self._buffer.tolist())
        return self._found
