"""The way into one replica of an engine: who goes next, and how many at once.

More calls than the KV cache holds would push each other's prefixes out of it, so a call goes
in when its own tokens, its reply, and its group's prefix (once for the whole group) have room.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from outcore.engine.batching.prefix_queue import PrefixQueue, Ticket
from outcore.models.engine import Priority

if TYPE_CHECKING:
    from outcore.engine.budget import Usage

# Left free of the KV cache: for blocks filled in part, and prefixes that are used again soon.
_FILL = 0.85
# Calls of one group that a run may send while other runs wait.
_TURN_CALLS = 16
# Tokens by which a run may be ahead of another and still go first, for the sake of a slice
# that is in the engine. A quarter of the KV cache where that is less.
_SLACK = 8_192


@dataclass(slots=True)
class _Resident:
    """A group that has calls in the engine."""

    calls: int
    tokens: int


class Admission:
    """Admits calls to one replica.

    Root turns go at once: there are few, everything else waits for them, and the engine puts
    them first. Then sub-calls, then guesses. Runs take turns, the one that has been served the
    fewest tokens first, or one not far ahead of it that asks about a slice which is in the
    engine. Child runs take the turns of the run that started them. A turn lasts while calls of
    one group follow each other, for 16 calls at most.

    Args:
        in_flight: most calls in the engine.
        capacity: tokens of its KV cache, None where it is not known.
        block: tokens of one block of it.
        ordered: whether to order by prefix; without, first come is first served.

    Attributes:
        backlog: tokens to be computed for the calls that wait or run.
        running: calls in the engine.
    """

    def __init__(
        self, in_flight: int, capacity: int | None, block: int, *, ordered: bool = True
    ) -> None:
        self.backlog = 0
        self.running = 0
        self._in_flight = in_flight
        self._room = None if capacity is None else int(capacity * _FILL)
        self._slack = _SLACK if self._room is None else min(_SLACK, self._room // 4)
        self._block = block
        self._ordered = ordered
        self._used = 0
        self._resident: dict[bytes, _Resident] = {}
        self._queues: dict[Priority, dict[Usage, PrefixQueue]] = {
            priority: {} for priority in Priority
        }
        self._served: dict[Usage, int] = {}
        self._turn: Usage | None = None
        self._turn_calls = 0
        self._pumping = False

    async def enter(self, ticket: Ticket) -> None:
        """Wait for a ticket's turn; `leave` must be called when its generation has ended.

        Cancelling it takes it out of the queue.
        """
        self.backlog += ticket.cost
        self._place(ticket)
        try:
            await ticket.turn
        except asyncio.CancelledError:
            if ticket.turn.cancelled():
                if ticket.waits:
                    self._remove(ticket)
                    # What stood behind it may have room.
                    self._pump_soon()
                self.backlog -= ticket.cost
            else:
                self.leave(ticket)
            raise

    def urge(self, ticket: Ticket, priority: Priority) -> None:
        """Move a ticket that still waits to a more urgent queue."""
        if not ticket.waits or ticket.turn.done():
            return
        self._remove(ticket)
        ticket.priority = priority
        self._place(ticket)

    def leave(self, ticket: Ticket) -> None:
        """Give back what an admitted ticket held."""
        self.running -= 1
        self.backlog -= ticket.cost
        self._used -= self._own(ticket)
        group = self._resident[ticket.group]
        group.calls -= 1
        if not group.calls:
            del self._resident[ticket.group]
            self._used -= group.tokens
        self._pump_soon()

    def _place(self, ticket: Ticket) -> None:
        run = ticket.usage.top
        if run not in self._served:
            # A new run starts level with those that wait, not ahead by all they have had.
            self._served[run] = min(self._served.values(), default=0)
        queues = self._queues[ticket.priority]
        if run not in queues:
            queues[run] = PrefixQueue(self._block, ordered=self._ordered)
        queues[run].add(ticket)
        self._pump_soon()

    def _remove(self, ticket: Ticket) -> None:
        queue = self._queues[ticket.priority][ticket.usage.top]
        queue.remove(ticket)
        self._tidy(ticket)

    def _tidy(self, ticket: Ticket) -> None:
        queues, run = self._queues[ticket.priority], ticket.usage.top
        if not queues[run]:
            del queues[run]
            if not any(run in others for others in self._queues.values()):
                del self._served[run]

    def _pump_soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            # What arrives in the same moment is put in order first.
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        sent: set[Usage] = set()
        for priority in Priority:
            queues = self._queues[priority]
            while queues:
                ticket = self._choose(queues)
                if ticket.turn.cancelled():
                    self._remove(ticket)  # its task has not come round to it yet
                    continue
                if priority is not Priority.ROOT and not self._fits(ticket):
                    break
                self._admit(ticket, queues[ticket.usage.top])
                sent.add(ticket.usage)
            if queues:
                break
        for usage in sent:
            usage.batches += 1

    def _choose(self, queues: dict[Usage, PrefixQueue]) -> Ticket:
        current = queues.get(self._turn) if self._turn is not None else None
        if current is not None and self._turn_calls < _TURN_CALLS:
            ticket = current.next(self._resident)
            if current.follows(ticket):
                return ticket
        least = min(self._served[usage] for usage in queues)
        if len(queues) > 1:
            # Runs that ask about the same slice go together, within the bounds of fairness.
            for usage, queue in queues.items():
                if self._served[usage] <= least + self._slack:
                    ticket = queue.next(self._resident)
                    if ticket.group in self._resident:
                        return ticket
        return next(queue for usage, queue in queues.items() if self._served[usage] == least).next(
            self._resident
        )

    def _fits(self, ticket: Ticket) -> bool:
        most = self._in_flight
        if ticket.priority is Priority.SPECULATION:
            # What waits inside the engine stays behind; a guess may be called for any moment.
            most = max(1, most // 2)
        if self.running >= most:
            return False
        if self._room is None or not self.running:
            return True
        needed = self._own(ticket)
        if ticket.group not in self._resident:
            needed += ticket.shared
        return self._used + needed <= self._room

    def _admit(self, ticket: Ticket, queue: PrefixQueue) -> None:
        run = ticket.usage.top
        if run is self._turn and queue.follows(ticket):
            self._turn_calls += 1
        else:
            self._turn, self._turn_calls = run, 1
        queue.take(ticket)
        self.running += 1
        own = self._own(ticket)
        group = self._resident.setdefault(ticket.group, _Resident(0, 0))
        if not group.calls:
            group.tokens = ticket.shared
            self._used += group.tokens
            own += group.tokens
        group.calls += 1
        self._used += self._own(ticket)
        self._served[run] += own
        ticket.usage.queued += time.monotonic() - ticket.entered
        self._tidy(ticket)
        ticket.turn.set_result(None)

    def _own(self, ticket: Ticket) -> int:
        tokens = ticket.length - ticket.shared + ticket.max_tokens
        return -(-tokens // self._block) * self._block
