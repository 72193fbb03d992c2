"""The order of waiting calls: groups by common beginnings, in the order of their trie."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest

from outcore.engine.batching.admission import Admission
from outcore.engine.batching.prefix_queue import PrefixQueue, Ticket, lcp
from outcore.engine.budget import Usage
from outcore.models.engine import ChatPrompt, Message, Priority, TokenPrompt, pack

BLOCK = 16
RUN = Usage()


def ticket(
    prompt: Any, usage: Usage = RUN, priority: Priority = Priority.SUB_CALL, out: int = 0
) -> Ticket:
    length = len(prompt) if isinstance(prompt, TokenPrompt) else 10
    return Ticket(
        usage=usage,
        priority=priority,
        prompt=prompt,
        length=length,
        max_tokens=out,
        cost=length + out,
        entered=0.0,
        turn=asyncio.get_running_loop().create_future(),
    )


def on_slice(number: int, question: int, tokens: int = 64) -> TokenPrompt:
    """A question about one of several slices, told apart."""
    return TokenPrompt(own=pack([9, question]), shared=pack([number] * tokens))


def in_one(number: int, question: int, tokens: int = 64) -> TokenPrompt:
    """The same, in one piece."""
    return TokenPrompt(own=pack([number] * tokens + [9, question]))


def served(queue: PrefixQueue, resident: set[bytes] | None = None) -> list[Ticket]:
    order = []
    while queue:
        one = queue.next(resident or set())
        queue.take(one)
        order.append(one)
    return order


def runs_of(values: list[Any]) -> list[Any]:
    return [value for value, _ in itertools.groupby(values)]


@pytest.mark.parametrize("prompt", [on_slice, in_one])
async def test_calls_on_one_slice_follow_each_other(prompt: Any) -> None:
    asked = [(number, question) for number in range(16) for question in range(8)]
    random.Random(1).shuffle(asked)
    queue = PrefixQueue(BLOCK)
    for number, question in asked:
        queue.add(ticket(prompt(number, question)))
    assert len(queue) == 128
    order = served(queue)
    slices = [one.prompt.ids()[0] for one in order]  # type: ignore[union-attr]
    assert len(runs_of(slices)) == 16
    assert len(order) == 128


async def test_groups_stand_in_the_order_of_the_trie() -> None:
    # Beginnings of a, then of a+b: what shares most stands side by side.
    prefixes = [[1] * 64, [1] * 64 + [2] * 64, [3] * 64, [1] * 64 + [4] * 64]
    queue = PrefixQueue(BLOCK)
    for prefix in (prefixes[2], prefixes[1], prefixes[0], prefixes[3]):
        queue.add(ticket(TokenPrompt(own=pack([9]), shared=pack(prefix))))
    order = [one.prompt.ids()[:-1] for one in served(queue)]  # type: ignore[union-attr]
    assert order.index(prefixes[2]) in (0, 3)


async def test_order_goes_on_from_where_it_is_and_round() -> None:
    queue = PrefixQueue(BLOCK)
    for number in (2, 4, 6):
        queue.add(ticket(on_slice(number, 0)))
    first = queue.next(set())
    queue.take(first)
    for number in (1, 3):
        queue.add(ticket(on_slice(number, 0)))
    rest = [one.prompt.ids()[0] for one in served(queue)]  # type: ignore[union-attr]
    assert first.prompt.ids()[0] == 2  # type: ignore[union-attr]
    assert rest == [3, 4, 6, 1]


async def test_groups_in_the_engine_come_first() -> None:
    queue = PrefixQueue(BLOCK)
    for number in range(8):
        queue.add(ticket(on_slice(number, 0)))
    resident = {on_slice(5, 0).shared, b"something else"}
    assert queue.next(resident).prompt.ids()[0] == 5  # type: ignore[union-attr]


async def test_chats_for_servers_are_grouped_by_their_text() -> None:
    queue = PrefixQueue(BLOCK)
    asked = [(number, question) for number in range(4) for question in range(4)]
    random.Random(2).shuffle(asked)
    for number, question in asked:
        text = f"{number}" * 4 * 100 + f"\n\nquestion {question}"
        queue.add(ticket(ChatPrompt((Message("system", "s"), Message("user", text)))))
    order = [one.prompt.messages[1].content[0] for one in served(queue)]  # type: ignore[union-attr]
    assert len(runs_of(order)) == 4


async def test_a_ticket_can_be_taken_out_of_its_group() -> None:
    queue = PrefixQueue(BLOCK)
    tickets = [ticket(in_one(1, question)) for question in range(3)]
    for one in tickets:
        queue.add(one)
    queue.remove(tickets[1])
    assert served(queue) == [tickets[0], tickets[2]]
    assert len(queue) == 0


async def test_without_order_first_come_is_first_served() -> None:
    queue = PrefixQueue(BLOCK, ordered=False)
    tickets = [ticket(on_slice(number, 0)) for number in (3, 1, 2, 1)]
    for one in tickets:
        queue.add(one)
    assert served(queue) == tickets


def test_longest_common_prefix_against_the_plain_way() -> None:
    chance = random.Random(3)
    for _ in range(2_000):
        left, right = (bytes(chance.choices(b"ab", k=chance.randint(0, 9))) for _ in range(2))
        plain = sum(
            1
            for _ in itertools.takewhile(
                lambda pair: pair[0] == pair[1], zip(left, right, strict=False)
            )
        )
        assert lcp(left, right) == plain


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def entered(admission: Admission, tickets: list[Ticket]) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(admission.enter(one)) for one in tickets]
    await settle()
    return tasks


def inside(tickets: list[Ticket]) -> list[int]:
    return [n for n, one in enumerate(tickets) if one.turn.done() and not one.turn.cancelled()]


async def test_a_lane_holds_what_the_cache_holds() -> None:
    # Room for 0.85 * 250 = 212 tokens: a slice of 64 with four questions of 32 each takes 192.
    admission = Admission(in_flight=100, capacity=250, block=BLOCK)
    tickets = [ticket(on_slice(number, q), out=30) for number in range(2) for q in range(4)]
    tasks = await entered(admission, tickets)
    assert inside(tickets) == [0, 1, 2, 3]
    assert admission.running == 4
    for number in (0, 1, 2, 3):
        admission.leave(tickets[number])
    await settle()
    assert inside(tickets) == list(range(8))
    await asyncio.gather(*tasks)


async def test_a_call_larger_than_the_cache_goes_alone() -> None:
    admission = Admission(in_flight=100, capacity=100, block=BLOCK)
    tickets = [ticket(on_slice(1, 0, tokens=640)), ticket(on_slice(2, 0))]
    tasks = await entered(admission, tickets)
    assert inside(tickets) in ([0], [1])
    first = tickets[inside(tickets)[0]]
    admission.leave(first)
    await asyncio.gather(*tasks)


async def test_root_turns_wait_for_nothing_and_guesses_for_all() -> None:
    admission = Admission(in_flight=1, capacity=None, block=BLOCK)
    order = [Priority.SPECULATION, Priority.SUB_CALL, Priority.SUB_CALL, Priority.ROOT]
    tickets = [ticket(in_one(number, 0), priority=one) for number, one in enumerate(order)]
    tasks = await entered(admission, tickets)
    assert inside(tickets) == [3]
    admission.leave(tickets[3])
    await settle()
    assert inside(tickets) == [1, 3]
    admission.leave(tickets[1])
    await settle()
    assert inside(tickets) == [1, 2, 3]
    admission.leave(tickets[2])
    await asyncio.gather(*tasks)
    assert inside(tickets) == [0, 1, 2, 3]


async def test_a_guess_that_is_called_for_becomes_urgent() -> None:
    admission = Admission(in_flight=1, capacity=None, block=BLOCK)
    blocker = ticket(in_one(1, 0))
    tickets = [blocker, *(ticket(in_one(n, 0), priority=Priority.SPECULATION) for n in (2, 3))]
    tasks = await entered(admission, tickets)
    admission.urge(tickets[2], Priority.SUB_CALL)
    admission.leave(blocker)
    await settle()
    assert inside(tickets) == [0, 2]
    admission.leave(tickets[2])
    await asyncio.gather(*tasks)


async def all_in_order(admission: Admission, tickets: list[Ticket]) -> list[Ticket]:
    """Let tickets through a admission that takes one at a time."""
    tasks = await entered(admission, tickets)
    order: list[Ticket] = []
    while len(order) < len(tickets):
        [running] = [one for one in tickets if one.turn.done() and one not in order]
        order.append(running)
        admission.leave(running)
        await settle()
    await asyncio.gather(*tasks)
    return order


async def test_runs_take_turns() -> None:
    admission = Admission(in_flight=1, capacity=None, block=BLOCK)
    large, small = Usage(), Usage()
    tickets = [ticket(in_one(number, 0), large) for number in range(100, 160)]
    tickets += [ticket(in_one(number, 0), small) for number in range(3)]
    order = await all_in_order(admission, tickets)
    # The small run is done long before the large one.
    assert max(order.index(one) for one in tickets if one.usage is small) < 8


async def test_child_runs_take_the_turns_of_the_run_above_them() -> None:
    admission = Admission(in_flight=1, capacity=None, block=BLOCK)
    large, small = Usage(), Usage()
    children = [Usage(above=large) for _ in range(10)]
    tickets = [ticket(in_one(100 + n, 0), children[n % 10]) for n in range(60)]
    tickets += [ticket(in_one(number, 0), small) for number in range(6)]
    order = await all_in_order(admission, tickets)
    assert max(order.index(one) for one in tickets if one.usage is small) < 14


async def test_a_turn_lasts_as_long_as_a_group_but_no_longer_than_sixteen_calls() -> None:
    admission = Admission(in_flight=1, capacity=None, block=BLOCK)
    runs = [Usage(), Usage()]
    tickets = [ticket(on_slice(n, q), usage) for q in range(40) for n, usage in enumerate(runs)]
    order = await all_in_order(admission, tickets)
    lengths = [
        len(list(group)) for _, group in itertools.groupby(one.usage is runs[0] for one in order)
    ]
    assert lengths[0] == 16
    assert max(lengths[:-2]) <= 16


async def test_a_cancelled_ticket_leaves_the_line_and_a_running_one_gives_its_place_back() -> None:
    admission = Admission(in_flight=1, capacity=None, block=BLOCK)
    tickets = [ticket(in_one(number, 0)) for number in range(3)]
    tasks = await entered(admission, tickets)
    [running] = inside(tickets)
    waiting = [n for n in range(3) if n != running]
    tasks[waiting[0]].cancel()
    await settle()
    admission.leave(tickets[running])
    await settle()
    assert inside(tickets) == sorted([running, waiting[1]])
    admission.leave(tickets[waiting[1]])
    assert admission.running == 0
    assert admission.backlog == 0
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("runs", [1, 8])
async def test_shuffled_questions_reach_the_engine_slice_by_slice(runs: int) -> None:
    """The cache holds a quarter of the slices; each is computed once all the same."""
    usages = [Usage() for _ in range(runs)]
    capacity = 4 * 1024 + 2_000
    admission = Admission(in_flight=64, capacity=capacity, block=BLOCK)
    asked = [(number, question) for number in range(16) for question in range(8)]
    random.Random(5).shuffle(asked)
    tickets = [ticket(on_slice(n, q, 1024), usages[q % runs], out=16) for n, q in asked]
    computed: list[int] = []
    cache: list[int] = []

    async def serve(one: Ticket) -> None:
        await admission.enter(one)
        number = one.prompt.ids()[0]  # type: ignore[union-attr]
        if number in cache:
            cache.remove(number)
        else:
            computed.append(number)
        cache.append(number)  # least recently used first, four at most
        del cache[:-4]
        await asyncio.sleep(0.001)
        admission.leave(one)

    await asyncio.gather(*(serve(one) for one in tickets))
    assert sorted(set(computed)) == list(range(16))
    assert len(computed) <= 17


@pytest.mark.timeout(30)
async def test_who_gives_up_waiting_for_room_makes_way_for_the_next() -> None:
    admission = Admission(in_flight=100, capacity=1000, block=BLOCK)
    await admission.enter(ticket(on_slice(1, 1, 400)))
    large, small = await entered(
        admission, [ticket(on_slice(2, 1, 700)), ticket(on_slice(3, 1, 48))]
    )
    assert not small.done()
    large.cancel()
    await small
