"""One run's calls that wait for an engine, in the order of the trie of their prompts.

Calls with a common beginning form a group. Groups stand in the depth-first order of the trie
that their beginnings span, so that what is served one after the other shares as much as can
be. A slice given apart from its question makes a group by itself; in prompts that come in one
piece, common beginnings are found as they arrive.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from outcore.models.engine import ID_BYTES, TokenPrompt

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection

    from outcore.engine.budget import Usage
    from outcore.models.engine import ChatPrompt, Priority, Prompt

# Fewer blocks in common are not worth keeping calls together for.
_GROUP_BLOCKS = 4


@dataclass(slots=True, eq=False)
class Ticket:
    """A call's place in a queue.

    Attributes:
        usage: its run.
        priority: queue it stands in.
        prompt: its packed ids, or its text, decide its place.
        length: of the prompt, in tokens.
        max_tokens: of the reply.
        cost: tokens that it makes the engine compute, at most.
        entered: clock when it came.
        turn: resolves when it may go.
        group: what it shares with others, packed ids or text; set by the queue.
        waits: whether it stands in a queue.
    """

    usage: Usage
    priority: Priority
    prompt: Prompt
    length: int
    max_tokens: int
    cost: int
    entered: float
    turn: asyncio.Future[None]
    group: bytes = field(default=b"")
    waits: bool = False

    @property
    def shared(self) -> int:
        """Tokens it has in common with its group."""
        return min(len(self.group) // ID_BYTES, self.length)


class PrefixQueue:
    """Waiting tickets of one run and one priority.

    Args:
        block: tokens of one block of the prefix cache.
        ordered: False makes it first come, first served.
    """

    def __init__(self, block: int, *, ordered: bool = True) -> None:
        self._ordered = ordered
        self._unit = block * ID_BYTES
        self._groups: dict[bytes, deque[Ticket]] = {}
        self._order: list[bytes] = []
        self._last = b""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, ticket: Ticket) -> None:
        """Put a ticket into its group."""
        ticket.group = self._group_of(ticket.prompt) if self._ordered else b""
        waiting = self._groups.get(ticket.group)
        if waiting is None:
            self._open(ticket.group, deque([ticket]))
        else:
            waiting.append(ticket)
        self._count += 1
        ticket.waits = True

    def remove(self, ticket: Ticket) -> None:
        """Take a ticket out that waits here."""
        waiting = self._groups[ticket.group]
        waiting.remove(ticket)
        ticket.waits = False
        self._count -= 1
        if not waiting:
            self._close(ticket.group)

    def next(self, resident: Collection[bytes]) -> Ticket:
        """The ticket to be served next; it stays in line. The line must not be empty.

        The last group is served to its end, then groups of which others are in the engine,
        then the next group in order, from the first again after the last.

        Args:
            resident: groups that have calls in the engine.
        """
        if self._last in self._groups:
            return self._groups[self._last][0]
        if len(resident) < len(self._groups):
            known = next((group for group in resident if group in self._groups), None)
        else:
            known = next((group for group in self._order if group in resident), None)
        if known is None:
            at = bisect_left(self._order, self._last)
            known = self._order[at if at < len(self._order) else 0]
        return self._groups[known][0]

    def take(self, ticket: Ticket) -> None:
        """Take out the ticket that is served now; the order goes on from its group."""
        self._last = ticket.group
        self.remove(ticket)

    def follows(self, ticket: Ticket) -> bool:
        """Whether a ticket is of the group that was served last."""
        return ticket.group == self._last

    def _group_of(self, prompt: Prompt) -> bytes:
        if isinstance(prompt, TokenPrompt) and prompt.shared:
            return prompt.shared
        start = prompt.own if isinstance(prompt, TokenPrompt) else _text(prompt)
        at = bisect_left(self._order, start)
        for neighbour in self._order[max(0, at - 1) : at + 1]:
            common = lcp(start, neighbour) // self._unit * self._unit
            if common < _GROUP_BLOCKS * self._unit:
                continue
            if common >= len(neighbour) // self._unit * self._unit:
                return neighbour
            waiting = self._groups[neighbour]
            if len(waiting) == 1 and not _given(waiting[0].prompt):
                # Two of a kind: what they share becomes a group.
                group = start[:common]
                self._open(group, self._close(neighbour))
                waiting[0].group = group
                return group
        return start

    def _open(self, group: bytes, waiting: deque[Ticket]) -> None:
        self._groups[group] = waiting
        self._order.insert(bisect_left(self._order, group), group)

    def _close(self, group: bytes) -> deque[Ticket]:
        del self._order[bisect_left(self._order, group)]
        return self._groups.pop(group)


def _given(prompt: Prompt) -> bool:
    """Whether a prompt came with its shared part told apart."""
    return isinstance(prompt, TokenPrompt) and bool(prompt.shared)


def _text(prompt: ChatPrompt) -> bytes:
    # Four bytes of text are about a token, as four bytes of packed ids are one.
    return "\n".join(message.content for message in prompt.messages).encode("utf-8", "replace")


def lcp(left: bytes, right: bytes) -> int:
    """Length of the longest common prefix, in bytes."""
    low, high = 0, min(len(left), len(right))
    if left[:high] == right[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if left[low:middle] == right[low:middle]:
            low = middle
        else:
            high = middle
    return low
