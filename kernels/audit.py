"""Steps by groups held against FlashAttention, on what is really asked."""

from __future__ import annotations

import torch

from outcore.kernels.watch import Watch

# Both round to 16 bits, in other places, which makes some 0.01 of a head's largest number.
TOLERANCE = 0.05
# Steps by groups that are all audited at first, and of how many one is later.
_FIRST, _EVERY = 16, 512


class Audit:
    """Computes one layer of a step twice, by groups and by FlashAttention, and compares.

    All of the first steps are audited, later ones now and then; the layers take turns. Where
    the outputs differ by more than rounding the engine ends: an answer that is not given can be
    asked for again, and one that is wrong is believed.
    """

    def __init__(self, device: torch.device, layers: int) -> None:
        """Begin.

        Args:
            device: that computes.
            layers: that share a batch's metadata.
        """
        self._watch = Watch(device, 1)
        self._layers = layers
        self._steps = 0
        self._audited = 0
        self._before: int | None = None

    def due(self) -> bool:
        """Begin a step by groups: whether it is audited.

        Raises:
            RuntimeError: an earlier one was, and differed.
        """
        found = self._watch.found()
        if found is not None and not found[0] <= TOLERANCE:
            raise RuntimeError(
                f"shared-prefix attention differed from FlashAttention's by {found[0]:.3g} of a "
                f"head's largest number, and rounding makes {TOLERANCE:.3g} at most. It must not "
                "be used with this card, driver and versions: start without it "
                "(--no-shared-prefix, or vLLM without attention_backend), and please report it"
            )
        self._before = None
        self._steps += 1
        if self._steps > _FIRST and self._steps % _EVERY:
            return False
        self._before = self._audited % self._layers
        self._audited += 1
        return True

    def wants(self) -> bool:
        """Whether it is the turn of the layer that asks; each asks once in an audited step."""
        if self._before is None:
            return False
        self._before -= 1
        if self._before >= 0:
            return False
        self._before = None
        return True

    def compare(self, found: torch.Tensor, wanted: torch.Tensor) -> None:
        """Compare outputs, [tokens, heads, head] each, without waiting for them."""
        self._watch.note(apart(found, wanted)[None])


def apart(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How far outputs lie apart: the most of any head, [], as a share of its largest number.

    Args:
        found: [tokens, heads, head].
        wanted: the same.
    """
    wanted = wanted.float()
    largest = wanted.abs().amax(-1).clamp(min=torch.finfo(torch.float32).tiny)
    return ((found.float() - wanted).abs().amax(-1) / largest).amax()
