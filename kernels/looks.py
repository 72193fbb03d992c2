"""When a batch that does not go by groups is looked at for what it shares."""

from __future__ import annotations

# Batches from one look to the next where nothing changes: at first, and at most.
_SOON, _LATE = 8, 64


class Looks:
    """Says which plain batches are planned, to learn what they share.

    A plan costs the device some 250 small operations, so a batch in which nothing was
    found is not looked at again soon, unless requests have joined it.
    """

    def __init__(self, members: int) -> None:
        """Begin with nothing known.

        Args:
            members: requests that must share; with fewer there is nothing to find.
        """
        self._members = members
        self._rest = _SOON
        self._left = 0
        self._seen = 0

    def due(self, requests: int, *, found: bool) -> bool:
        """Begin a plain batch: whether it is looked at.

        Args:
            requests: in it.
            found: whether the newest figures say that something is shared.
        """
        self._left -= 1
        joined = requests >= self._seen + self._members
        self._seen = min(self._seen, requests)
        if requests < self._members or (self._left > 0 and not joined):
            return False
        self._rest = _SOON if found or joined else min(2 * self._rest, _LATE)
        self._left = self._rest
        self._seen = requests
        return True
