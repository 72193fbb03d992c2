"""The batcher as a whole, over an engine that says what it is told to."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from scripted import ScriptedEngine, said

from outcore.config import Budget
from outcore.engine.batching.admission import Admission
from outcore.engine.batching.affinity import Affinity
from outcore.engine.batching.batcher import Batcher
from outcore.engine.batching.identity import identity
from outcore.engine.batching.memo import Memo
from outcore.engine.budget import Spending, Usage
from outcore.engine.speculation import Speculation
from outcore.engine.way import Way
from outcore.errors import BudgetExceeded, ModelError, ModelUnavailable, PromptTooLong
from outcore.models.engine import Asked, Priority, Request, TokenPrompt, pack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from outcore.models.engine import Generation, Prompt


def request(question: str = "hello", text: str | None = None, max_tokens: int = 10) -> Request:
    return Request(Asked(question, text), max_tokens)


def key_of(asked: Request) -> bytes:
    key = identity("", asked)
    assert key is not None
    return key


def echo(asked: Request) -> str:
    return f"re: {said(asked).rpartition(chr(10))[2]}"


async def until(condition: object) -> None:
    """Wait until a function of no arguments says yes."""
    async with asyncio.timeout(5):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.001)


async def test_no_more_calls_are_in_the_engine_than_it_orders_well() -> None:
    engine = ScriptedEngine(["ok"], in_flight=8, seconds=0.01)
    batcher = Batcher(engine)
    done = await asyncio.gather(*(batcher.submit(request(f"{n}")) for n in range(50)))
    assert [one.text for one in done] == ["ok"] * 50
    assert batcher.traffic.peak == 8
    assert batcher.traffic.finished == 50
    assert (batcher.traffic.running, batcher.traffic.waiting) == (0, 0)


async def test_one_failed_call_fails_alone() -> None:
    engine = ScriptedEngine([ModelError("bad"), "ok"], in_flight=1)
    batcher = Batcher(engine)
    both = (batcher.submit(request(one)) for one in "ab")
    first, second = await asyncio.gather(*both, return_exceptions=True)
    assert isinstance(first, ModelError)
    assert not isinstance(second, BaseException)
    assert (batcher.traffic.failed, batcher.traffic.finished) == (1, 1)


async def test_an_engine_that_did_not_answer_is_asked_again() -> None:
    engine = ScriptedEngine([ModelUnavailable("busy"), "ok"])
    batcher = Batcher(engine)
    assert (await batcher.submit(request())).text == "ok"
    assert len(engine.asked) == 2
    assert batcher.traffic.retried == 1


async def test_an_engine_that_never_answers_is_given_up() -> None:
    engine = ScriptedEngine([ModelUnavailable("busy")])
    with pytest.raises(ModelUnavailable, match="busy"):
        await Batcher(engine).submit(request())
    assert len(engine.asked) == 3


async def test_cancelled_call_gives_its_place_back() -> None:
    engine = ScriptedEngine(["ok"], in_flight=1, seconds=30)
    batcher = Batcher(engine)
    tasks = [asyncio.create_task(batcher.submit(request(f"{n}"))) for n in range(2)]
    await until(lambda: batcher.traffic.running == 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    engine.seconds = 0
    assert (await asyncio.wait_for(batcher.submit(request()), 5)).text == "ok"


async def test_equal_calls_under_way_are_answered_by_one_generation() -> None:
    engine = ScriptedEngine([echo], seconds=0.01)
    usage = Usage()
    batcher = Batcher(engine)
    done = await asyncio.gather(*(batcher.submit(request("same"), usage) for _ in range(9)))
    assert len(engine.asked) == 1
    assert {one.text for one in done} == {"re: same"}
    assert Counter(one.origin for one in done) == {"engine": 1, "merged": 8}
    assert usage.merged == 8


async def test_sampled_calls_without_a_seed_are_never_merged() -> None:
    engine = ScriptedEngine(["ok"], seconds=0.01)
    batcher = Batcher(engine)
    sampled = Request(Asked("same"), 10, temperature=1.0)
    await asyncio.gather(*(batcher.submit(sampled) for _ in range(3)))
    assert len(engine.asked) == 3


def test_what_decides_a_reply_decides_the_identity() -> None:
    base = Request(Asked("q", "t"), 10)
    others = [
        Request(Asked("q", "u"), 10),
        Request(Asked("qt"), 10),
        Request(Asked("q", None), 10),
        Request(Asked("q", ""), 10),
        Request(Asked("q", "t", opening=(1,)), 10),
        Request(Asked("q", "t"), 11),
        Request(Asked("q", "t"), 10, stop=("x",)),
        Request(Asked("q", "t"), 10, only=(1, 2)),
        Request(Asked("q", "t"), 10, temperature=1.0, seed=1),
        Request(Asked("q", "t"), 10, temperature=1.0, seed=2),
        Request(TokenPrompt(pack([1, 2])), 10),
    ]
    keys = [identity("m", one) for one in (base, *others)] + [identity("other", base)]
    assert len(set(keys)) == len(keys)
    assert None not in keys
    assert identity("m", Request(Asked("q", "t"), 10, priority=Priority.SPECULATION)) == keys[0]
    shared = Request(TokenPrompt(pack([2]), pack([1])), 10)
    assert identity("m", shared) == identity("m", others[-1])


async def test_one_who_waits_can_go_while_the_others_get_their_answer() -> None:
    engine = ScriptedEngine(["ok"], seconds=0.05)
    batcher = Batcher(engine)
    tasks = [asyncio.create_task(batcher.submit(request("same"))) for _ in range(3)]
    await until(lambda: batcher.traffic.running == 1)
    tasks[0].cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert [one.text for one in done[1:] if not isinstance(one, BaseException)] == ["ok", "ok"]


async def test_a_generation_ends_when_nobody_waits_for_it() -> None:
    engine = ScriptedEngine(["ok"], seconds=30)
    batcher = Batcher(engine)
    tasks = [asyncio.create_task(batcher.submit(request("same"))) for _ in range(3)]
    await until(lambda: batcher.traffic.running == 1)
    for task in tasks:
        task.cancel()
    await until(lambda: batcher.traffic.running == 0)
    assert batcher.traffic.failed == 1


@pytest.mark.parametrize("in_flight", [1, 0])
async def test_a_call_given_up_and_made_again_at_once_is_answered(in_flight: int) -> None:
    engine = ScriptedEngine(["ok"], in_flight=1, seconds=0.02)
    batcher = Batcher(engine)
    blocker = asyncio.create_task(batcher.submit(request("other")))
    if in_flight:
        await blocker
    first = asyncio.create_task(batcher.submit(request("same")))
    await until(lambda: batcher.traffic.running + batcher.traffic.waiting == 2 - in_flight)
    first.cancel()
    again = asyncio.create_task(batcher.submit(request("same")))
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await asyncio.wait_for(again, 5)).text == "ok"
    await blocker


async def test_a_generation_that_is_broken_off_costs_its_prompt() -> None:
    engine = ScriptedEngine(["ok"], seconds=30)
    usage = Usage()
    batcher = Batcher(engine)
    task = asyncio.create_task(batcher.submit(request("three short words"), usage))
    await until(lambda: batcher.traffic.running == 1)
    task.cancel()
    await until(lambda: batcher.traffic.running == 0)
    assert usage.tokens_in == 4


async def test_each_run_s_budget_is_its_own_when_calls_are_merged() -> None:
    engine = ScriptedEngine(["ok"], seconds=0.01)
    batcher = Batcher(engine)

    def broke() -> None:
        raise BudgetExceeded("nothing left")

    poor, rich = await asyncio.gather(
        batcher.submit(request("same"), admit=broke),
        batcher.submit(request("same")),
        return_exceptions=True,
    )
    assert isinstance(poor, BudgetExceeded)
    assert not isinstance(rich, BaseException)
    assert rich.origin == "engine"


async def test_a_call_nobody_can_pay_does_not_reach_the_engine() -> None:
    engine = ScriptedEngine(["ok"])

    def broke() -> None:
        raise BudgetExceeded("nothing left")

    with pytest.raises(BudgetExceeded):
        await Batcher(engine).submit(request(), admit=broke)
    assert engine.asked == []


async def test_memo_answers_what_was_answered_before(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.db")
    usage = Usage()
    for turn in range(2):
        engine = ScriptedEngine([echo], digest="weights")
        done = await Batcher(engine, memo).submit(request("same"), usage)
        assert done.text == "re: same"
        assert done.origin == ("memo" if turn else "engine")
        assert len(engine.asked) == 1 - turn
    assert usage.remembered == 1
    other = ScriptedEngine(["other"], digest="other weights")
    assert (await Batcher(other, memo).submit(request("same"))).text == "other"
    memo.close()


async def test_an_engine_without_a_digest_is_not_remembered(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.db")
    engine = ScriptedEngine([echo])
    for _ in range(2):
        await Batcher(engine, memo).submit(request("same"))
    assert len(engine.asked) == 2
    memo.close()


async def test_failures_are_not_remembered(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.db")
    engine = ScriptedEngine([ModelError("bad"), "ok"], digest="weights")
    batcher = Batcher(engine, memo)
    with pytest.raises(ModelError):
        await batcher.submit(request())
    assert (await batcher.submit(request())).text == "ok"
    memo.close()


@dataclass
class CountingEngine(ScriptedEngine):
    """Also remembers how many questions came to the tokenizer at once."""

    batches: list[int] = field(default_factory=list)

    def prompts(self, asked: Sequence[Asked]) -> list[Prompt]:
        self.batches.append(len(asked))
        if any("unreadable" in one.question for one in asked):
            raise ModelError("the tokenizer failed")
        return super().prompts(asked)


async def test_calls_that_arrive_together_are_tokenized_together() -> None:
    engine = CountingEngine(["ok"], in_flight=500)
    await asyncio.gather(*(Batcher(engine).submit(request(f"{n}")) for n in range(1)))
    batcher = Batcher(engine)
    await asyncio.gather(*(batcher.submit(request(f"{n}")) for n in range(400)))
    assert engine.batches == [1, 400]


async def test_a_question_that_can_not_be_tokenized_fails_alone() -> None:
    engine = CountingEngine(["ok"])
    batcher = Batcher(engine)
    asked = [request(one) for one in ("fine", "unreadable", "fine too")]
    done = await asyncio.gather(*map(batcher.submit, asked), return_exceptions=True)
    assert [isinstance(one, ModelError) for one in done] == [False, True, False]
    with pytest.raises(ModelError, match="tokenizer"):
        await batcher.submit(request("unreadable"))


async def test_after_close_nothing_waits() -> None:
    batcher = Batcher(CountingEngine(["ok"]))
    waiting = asyncio.create_task(batcher.submit(request("a")))
    await asyncio.sleep(0)
    batcher.close()
    with pytest.raises(ModelError, match="closed"):
        await asyncio.wait_for(batcher.submit(request("b")), 5)
    done = await asyncio.wait_for(asyncio.gather(waiting, return_exceptions=True), 5)
    assert len(done) == 1


async def test_what_can_not_fit_holds_nobody_up() -> None:
    engine = ScriptedEngine(["ok"], window=100, in_flight=1, seconds=0.05)
    batcher = Batcher(engine)
    running = asyncio.create_task(batcher.submit(request("short")))
    await until(lambda: batcher.traffic.running == 1)
    with pytest.raises(PromptTooLong, match="smaller slice") as caught:
        await batcher.submit(request("?", "x" * 10_000))
    assert caught.value.tokens == 312
    packed = Request(TokenPrompt(pack(range(95))), 10)
    with pytest.raises(PromptTooLong, match="95 tokens"):
        await batcher.submit(packed)
    assert batcher.traffic.running == 1
    assert (await running).text == "ok"


def through(way: Way, requests: Sequence[Request | None]) -> list[tuple[Way, Request] | None]:
    return [None if one is None else (way, one) for one in requests]


async def test_guesses_are_found_ready_by_the_calls_that_were_foreseen() -> None:
    engine = ScriptedEngine([echo], seconds=0.005)
    batcher, spending = Batcher(engine), Spending(Budget())
    way, speculation = Way(batcher, spending.sub), Speculation(spending)
    asked = [request(f"{n}") for n in range(8)]
    assert speculation.foresee(through(way, [*asked, asked[0]])) == 8
    await until(lambda: batcher.traffic.finished == 8)
    for number, one in enumerate(asked[:6]):
        found = await speculation.claim(key_of(one))
        assert found is not None
        assert (found.text, found.origin) == (f"re: {number}", "guess")
    speculation.end()
    usage = spending.sub
    assert (usage.speculated, usage.used, usage.wasted) == (8, 6, 2)
    assert usage.merged == 0
    # Paid once, by the guesses.
    assert usage.tokens_out == 16
    assert len(engine.asked) == 8
    assert {one.priority for one in engine.asked} == {Priority.SPECULATION}


async def test_a_guess_under_way_is_joined_and_made_urgent() -> None:
    engine = ScriptedEngine([echo], in_flight=1, seconds=0.02)
    batcher, spending = Batcher(engine), Spending(Budget())
    way, speculation = Way(batcher, spending.sub), Speculation(spending)
    asked = [request(f"{n}") for n in range(4)]
    speculation.foresee(through(way, asked))
    await until(lambda: batcher.traffic.running == 1)
    done = await speculation.claim(key_of(asked[3]))
    assert done is not None
    assert (done.text, done.origin) == ("re: 3", "guess")
    # It went ahead of the guesses that were queued before it.
    assert said(engine.asked[1]).endswith("3")
    assert engine.asked[1].priority is Priority.SUB_CALL
    speculation.end()
    assert spending.sub.merged == 0


async def test_the_first_call_that_was_not_foreseen_drops_what_is_queued() -> None:
    engine = ScriptedEngine([echo], in_flight=4, seconds=0.05)
    batcher, spending = Batcher(engine), Spending(Budget())
    way, speculation = Way(batcher, spending.sub), Speculation(spending)
    speculation.foresee(through(way, [request(f"{n}") for n in range(50)]))
    await until(lambda: batcher.traffic.running == 2)
    assert await speculation.claim(key_of(request("another way"))) is None
    await until(lambda: batcher.traffic.waiting == 0)
    await until(lambda: batcher.traffic.running == 0)
    assert len(engine.asked) == 2
    # What had begun can still be used.
    assert await speculation.claim(key_of(request("0"))) is not None
    speculation.end()
    assert (spending.sub.used, spending.sub.wasted) == (1, 49)


async def test_calls_known_to_hang_on_answers_drop_nothing() -> None:
    engine = ScriptedEngine([echo], in_flight=1, seconds=0.01)
    batcher, spending = Batcher(engine), Spending(Budget())
    way, speculation = Way(batcher, spending.sub), Speculation(spending)
    speculation.foresee(through(way, [request("a"), None, request("b"), None, request("c")]))
    assert await speculation.claim(key_of(request("hangs on a"))) is None
    assert await speculation.claim(key_of(request("hangs on b"))) is None
    await until(lambda: batcher.traffic.finished == 3)
    assert await speculation.claim(key_of(request("c"))) is not None
    speculation.end()


async def test_guesses_end_with_their_cell() -> None:
    engine = ScriptedEngine([echo], in_flight=4, seconds=30)
    batcher, spending = Batcher(engine), Spending(Budget())
    way, speculation = Way(batcher, spending.sub), Speculation(spending)
    speculation.foresee(through(way, [request(f"{n}") for n in range(9)]))
    await until(lambda: batcher.traffic.running == 2)
    speculation.end()
    await until(lambda: batcher.traffic.running + batcher.traffic.waiting == 0)
    assert spending.sub.wasted == 9


async def test_a_guess_that_was_asked_for_and_given_up_leaves_the_engine() -> None:
    engine = ScriptedEngine([echo], seconds=30)
    batcher, spending = Batcher(engine), Spending(Budget())
    way, speculation = Way(batcher, spending.sub), Speculation(spending)
    speculation.foresee(through(way, [request("a"), request("b")]))
    claims = [asyncio.create_task(speculation.claim(key_of(request("a")))) for _ in range(2)]
    await until(lambda: batcher.traffic.running == 2)
    claims[0].cancel()
    await asyncio.wait([claims[0]])
    assert batcher.traffic.running == 2
    claims[1].cancel()
    await until(lambda: batcher.traffic.running == 1)
    speculation.end()


async def test_no_more_is_guessed_than_may_be_called() -> None:
    engine = ScriptedEngine([echo])
    spending = Spending(Budget(calls=3))
    spending.charge_call()
    way, speculation = Way(Batcher(engine), spending.sub), Speculation(spending)
    assert speculation.foresee(through(way, [request(f"{n}") for n in range(9)])) == 2
    speculation.end()


async def test_guesses_that_were_used_leave_room_for_others() -> None:
    engine = ScriptedEngine([echo])
    spending = Spending(Budget(calls=10))
    way, speculation = Way(Batcher(engine), spending.sub), Speculation(spending)
    assert speculation.foresee(through(way, [request(f"{n}") for n in range(6)])) == 6
    for number in range(6):
        spending.charge_call()
        await speculation.claim(key_of(request(f"{number}")))
    assert speculation.foresee(through(way, [request(f"{n}") for n in range(6, 20)])) == 4
    speculation.end()


async def test_no_more_text_is_kept_for_guesses_than_has_room() -> None:
    engine = ScriptedEngine([echo], seconds=30, window=1 << 30)
    spending = Spending(Budget())
    way, speculation = Way(Batcher(engine), spending.sub), Speculation(spending)
    text = "x" * (16 << 20)
    assert speculation.foresee(through(way, [request(f"{n}", text) for n in range(9)])) == 4
    speculation.end()
    await until(lambda: speculation._chars == 0)


async def test_a_failed_guess_is_asked_anew_by_its_call() -> None:
    engine = ScriptedEngine([ModelError("bad"), "ok"])
    batcher, spending = Batcher(engine), Spending(Budget())
    way, speculation = Way(batcher, spending.sub), Speculation(spending)
    speculation.foresee(through(way, [request("a")]))
    await until(lambda: batcher.traffic.failed == 1)
    assert await speculation.claim(key_of(request("a"))) is None
    assert (await batcher.submit(request("a"))).text == "ok"
    speculation.end()


def on_slice(number: int) -> TokenPrompt:
    return TokenPrompt(own=pack([number]), shared=pack([number] * 1000))


def test_a_slice_has_a_home_until_waiting_there_costs_more_than_computing_it_again() -> None:
    replicas = [Admission(8, None, 16) for _ in range(3)]
    affinity = Affinity(replicas)
    where: dict[int, list[int]] = {n: [] for n in range(3)}
    for _ in range(4):
        for number in range(3):
            chosen, cost = affinity.choose(on_slice(number), 1001, 9)
            replicas[chosen].backlog += cost
            where[number].append(chosen)
    assert all(len(set(chosen)) == 1 for chosen in where.values())
    assert {chosen[0] for chosen in where.values()} == {0, 1, 2}
    busy = where[0][0]
    replicas[busy].backlog += 5_000
    moved, cost = affinity.choose(on_slice(0), 1001, 9)
    assert moved != busy
    assert cost == 1010
    assert affinity.choose(on_slice(0), 1001, 9) == (moved, 10)


async def test_replicas_share_the_work_slice_by_slice() -> None:
    engine = ScriptedEngine([echo], replicas=2, in_flight=4, seconds=0.002)
    batcher = Batcher(engine)
    await asyncio.gather(
        *(batcher.submit(request(f"{n}", f"text {n % 4} " * 50)) for n in range(40))
    )
    assert Counter(one.replica for one in engine.asked).keys() == {0, 1}
    assert batcher.traffic.peak <= 8


async def test_answers_are_the_same_in_any_order(tmp_path: Path) -> None:
    """With order, memo, each on and off."""
    answers: list[list[str]] = []
    for ordered in (True, False):
        for memo in (None, Memo(tmp_path / f"{ordered}.db")):
            engine = ScriptedEngine([echo], digest="weights", in_flight=4, capacity=500)
            batcher = Batcher(engine, memo, ordered=ordered)
            calls = [request(f"{n}", f"text {n % 7} " * 40) for n in range(60)] * 2
            done: list[Generation] = await asyncio.gather(*(batcher.submit(one) for one in calls))
            answers.append([one.text for one in done])
            if memo is not None:
                memo.close()
    assert answers.count(answers[0]) == 4
    assert answers[0][:2] == ["re: 0", "re: 1"]
