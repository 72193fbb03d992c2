"""Which replica of a model answers: the one that will be done first.

A replica that has computed a slice before holds it in its prefix cache; for any other, the
slice counts as that much more work. So the questions on a slice stay with its home until
waiting there costs more than computing the slice a second time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from outcore.models.engine import ID_BYTES, TokenPrompt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.engine.batching.admission import Admission
    from outcore.models.engine import Prompt

_REMEMBERED = 65_536


class Affinity:
    """Knows which replicas have had which slices."""

    def __init__(self, replicas: Sequence[Admission]) -> None:
        self._replicas = replicas
        self._homes: OrderedDict[int, set[int]] = OrderedDict()

    def choose(self, prompt: Prompt, length: int, max_tokens: int) -> tuple[int, int]:
        """A call's replica, and what it costs there: tokens to be computed.

        Args:
            prompt: decides the home by its shared part.
            length: of the prompt, in tokens.
            max_tokens: of the reply.
        """
        slice_ids = prompt.shared if isinstance(prompt, TokenPrompt) else b""
        shared = len(slice_ids) // ID_BYTES
        own = length - shared + max_tokens
        # A hash will do: should two slices share one, a call is only placed less well.
        key = hash(slice_ids)
        homes = self._homes.pop(key, set())

        def cost(number: int) -> int:
            return own if number in homes else own + shared

        chosen = min(
            range(len(self._replicas)),
            key=lambda number: self._replicas[number].backlog + cost(number),
        )
        spent = cost(chosen)
        if slice_ids:
            self._homes[key] = homes | {chosen}
            if len(self._homes) > _REMEMBERED:
                self._homes.popitem(last=False)
        return chosen, spent
