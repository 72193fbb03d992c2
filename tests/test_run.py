"""Whole questions, with a scripted model and everything else real: kernel, sandbox, index."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from leftovers import paths
from scripted import Meeting, ScriptedEngine, giving, said

from outcore.config import Budget, Settings
from outcore.engine.batching.batcher import Batchers
from outcore.engine.batching.memo import Memo
from outcore.engine.budget import Spending
from outcore.engine.context.corpus import stage
from outcore.engine.profile import Profile
from outcore.engine.question import Question
from outcore.engine.trajectory import Trajectory, read
from outcore.errors import ConfigError, ModelError
from outcore.kernel_sandbox import Kernel, Pool
from outcore.models.serve import Served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outcore.engine.result import Completion
    from outcore.models.engine import Engine, Request

TEXT = "\n".join(f"Line {n}: nothing happens here." for n in range(400)) + "\n"
NEEDLE = "The lighthouse keeper of Vardo is called Ingrid Solberg.\n"
HAYSTACK = TEXT + NEEDLE + TEXT
QUESTION = "Who keeps the lighthouse of Vardo?"
# Longer than a dry run lives.
PATIENCE = 10.0


class Asked:
    """What a question left behind."""

    def __init__(self, completion: Completion, root: Any, sub: Any) -> None:
        self.completion = completion
        self.root = root
        self.sub = sub
        self.events = list(read(completion.run_dir))

    def outputs(self) -> list[str]:
        return [event["output"] for event in self.events if event["event"] == "cell"]


async def ask(
    tmp_path: Path,
    *replies: Any,
    context: Any = HAYSTACK,
    question: str = QUESTION,
    engine: Engine | None = None,
    sub: Any = ("fine",),
    window: int = 32_768,
    profile: str = "coder",
    seconds: float = 0.0,
    sub_seconds: float = 0.0,
    budget: Budget | None = None,
    memory: Memo | None = None,
    engines: list[ScriptedEngine] | None = None,
    sub_judges: bool = True,
    **settings: Any,
) -> Asked:
    root = engine or ScriptedEngine(replies, window=window, seconds=seconds, digest="root")
    below = sub
    if isinstance(below, (tuple, list)):
        below = ScriptedEngine(sub, name="below", digest="sub", seconds=sub_seconds)
    if engines is not None:
        engines.append(below)
    chosen = Settings(direct=settings.pop("direct", "never"), profile=profile, **settings)
    corpus = stage(context, tmp_path / "context")
    trajectory = Trajectory(tmp_path / "run")
    served = Served(root, below, profile, sub_judges)
    asked = Question(
        text=question,
        corpus=corpus,
        served=served,
        batchers=Batchers.of(root, below, memory, judge=served.judge),
        settings=chosen,
        spending=Spending(budget or Budget()),
        trajectory=trajectory,
        phase=lambda _: None,
        pool=Pool(tmp_path / "pool", chosen.kernels),
    )
    try:
        return Asked(await asked.answer(), root, below)
    finally:
        trajectory.close()
        await asked.pool.close()


def cell(code: str, language: str = "repl") -> str:
    return f"Let me look.\n\n```{language}\n{code}\n```\n"


async def test_search_then_answer_with_a_quote(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell('print(search("lighthouse keeper Vardo"))'),
        cell(f"done('Ingrid Solberg', quotes=[{NEEDLE.strip()!r}])"),
    )
    completion = asked.completion
    assert completion.answer == "Ingrid Solberg"
    assert completion.complete
    assert completion.turns == 2
    assert "Ingrid Solberg" in asked.outputs()[0]
    [citation] = completion.citations
    assert citation.offset == len(TEXT)
    assert citation.text == NEEDLE.strip()
    assert completion.sandbox == "bwrap"


async def test_answer_without_quotes_is_found_in_what_was_shown(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell('print(search("lighthouse keeper"))'),
        cell('answer["content"] = "Ingrid Solberg"\nanswer["ready"] = True'),
    )
    [citation] = asked.completion.citations
    assert citation.text == NEEDLE.strip()
    assert HAYSTACK[citation.offset :].startswith(NEEDLE.strip())


async def test_quote_that_is_not_in_the_context_is_no_citation(tmp_path: Path) -> None:
    asked = await ask(tmp_path, cell("print('X7')\ndone('X7', quotes=['The keeper is nobody.'])"))
    assert asked.completion.citations == ()
    assert "does not stand in the context" in asked.outputs()[0]


async def test_sub_calls_reach_the_sub_lm_and_are_counted(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell(
            "a = llm_query('Who?', text=context[:100])\n"
            "b = llm_query_batched(['1?', '2?', '3?'], text=context[:50])\n"
            "done(a + ' ' + ' '.join(b))"
        ),
        sub=["one", lambda request: "q" + said(request)[-2]],
    )
    assert asked.completion.answer == "one q1 q2 q3"
    usage = asked.completion.usage["sub"]
    assert (usage.model, usage.calls) == ("below", 4)
    assert usage.tokens_cached > 0
    [calls] = [event for event in asked.events if event["event"] == "calls"]
    assert len(calls["calls"]) == 4


async def test_a_finished_question_asked_again_costs_nothing(tmp_path: Path) -> None:
    code = "got = [llm_query(f'{n}?', text=context[:90]) for n in range(5)]\ndone(', '.join(got))"
    memo = Memo(tmp_path / "memo.db")
    done = []
    for turn in range(2):
        (tmp_path / f"{turn}").mkdir()
        below = [lambda request: "re " + said(request)[-2]]
        done.append(await ask(tmp_path / f"{turn}", cell(code), sub=below, memory=memo))
    first, again = (asked.completion for asked in done)
    assert first.answer == again.answer == "re 0, re 1, re 2, re 3, re 4"
    assert [len(engine.asked) for engine in (done[1].root, done[1].sub)] == [0, 0]
    root, sub = (again.usage[role] for role in ("root", "sub"))
    assert (root.calls, root.remembered, root.tokens_in, root.tokens_out) == (1, 1, 0, 0)
    assert (sub.calls, sub.remembered, sub.tokens_in, sub.tokens_out) == (5, 5, 0, 0)
    memo.close()


def tries(folder: Path) -> Iterator[Path]:
    """A folder for each try: now and then a dry run is lost, or it has no time to tell all."""
    for number in range(3):
        made = folder / f"{number}"
        made.mkdir()
        yield made


@pytest.mark.parametrize("speculate", [True, False])
async def test_a_loop_gives_the_same_answer_with_guesses_and_without(
    tmp_path: Path, speculate: bool
) -> None:
    calls = 20 if speculate else 4
    code = (
        f"got = []\nfor n in range({calls}):\n    got.append(llm_query(f'{{n}}?'))\n"
        "done(' '.join(got))"
    )
    reply = [lambda request: "re " + said(request).rpartition("\n")[2]]
    for folder in tries(tmp_path):
        # The first call is answered when all that follow are there.
        together = calls if speculate else 1
        below = Meeting(reply, name="below", together=together, patience=PATIENCE)
        asked = await ask(folder, cell(code), sub=below, speculate=speculate)
        assert asked.completion.answer == " ".join(f"re {n}?" for n in range(calls))
        usage = asked.completion.usage["sub"]
        assert usage.calls == len(asked.sub.asked) == calls
        if below.peak == together:
            break
    if speculate:
        assert usage.speculated == usage.used == calls - 1
    else:
        assert usage.speculated == 0


async def test_guesses_end_with_a_run_that_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = Kernel.close

    async def slow(kernel: Kernel) -> None:
        await asyncio.sleep(0.7)
        await close(kernel)

    monkeypatch.setattr(Kernel, "close", slow)
    code = "for n in range(300):\n    llm_query(f'{n}?')"
    engines: list[ScriptedEngine] = []
    task = asyncio.create_task(ask(tmp_path, cell(code), sub_seconds=0.2, engines=engines))
    async with asyncio.timeout(100):
        while not engines or len(engines[0].asked) < 30:
            await asyncio.sleep(0.01)
    before = len(engines[0].asked)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    # While the kernel ends, and afterwards, the models have nothing more to do with it; as many
    # as are under way together may have followed at that very moment.
    asked = len(engines[0].asked)
    assert asked <= before + engines[0].in_flight
    await asyncio.sleep(0.3)
    assert len(engines[0].asked) == asked


async def test_typed_sub_calls(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell(
            "x = llm_query('?', schema={'type': 'object', 'properties': {'n': "
            "{'type': 'integer'}}})\ny = llm_query('?', choices=['yes', 'no'])\n"
            "done(f'{x[\"n\"] + 1} {y}')"
        ),
        sub=[lambda request: "yes" if request.shape.choices else '{"n": 41}'],
    )
    assert asked.completion.answer == "42 yes"


@pytest.mark.parametrize("speculate", [True, False])
async def test_a_loop_of_labels_goes_to_the_judge(tmp_path: Path, speculate: bool) -> None:
    code = (
        "found = [llm_classify(f'a text, the {n}th', ['praise', 'blame']) for n in range(20)]\n"
        "found.append(llm_query('Anything else?'))\ndone(' '.join(found))"
    )

    def judges(request: Request) -> bool:
        return "Labels: " in said(request)

    for folder in tries(tmp_path):
        judge = Meeting(
            [lambda request: "blame" if judges(request) else cell(code)],
            meant=judges,
            together=20 if speculate else 1,
            patience=PATIENCE,
        )
        asked = await ask(
            folder, engine=judge, sub_judges=False, speculate=speculate, sub=["nothing"]
        )
        if judge.peak == judge.together:
            break
    assert asked.completion.answer == " ".join(["blame"] * 20 + ["nothing"])
    assert len(asked.sub.asked) == 1
    assert len(asked.root.asked) == 21
    root, sub = asked.completion.usage["root"], asked.completion.usage["sub"]
    assert (root.calls, sub.calls) == (1, 21)
    assert root.tokens_in == sum(asked.root.length(one.prompt) for one in asked.root.asked)
    # The first call is made before the dry run begins.
    assert root.speculated == root.used == (19 if speculate else 0)
    assert sub.speculated == sub.used == (1 if speculate else 0)
    [calls] = [event["calls"] for event in asked.events if event["event"] == "calls"]
    assert [one["reply"] for one in calls] == ["blame"] * 20 + ["nothing"]


async def test_sub_call_that_fails_raises_in_the_cell_and_keeps_variables(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell("kept = 7\nllm_query('too long', text=context * 50)"),
        cell("done(str(kept))"),
        sub=["never"],
    )
    assert "PromptTooLong" in asked.outputs()[0]
    assert asked.completion.answer == "7"


async def test_sub_calls_stop_at_the_budget(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell("for n in range(5):\n    print(llm_query(str(n)))"),
        cell(giving("enough")),
        budget=Budget(calls=3),
    )
    output = asked.outputs()[0]
    assert output.count("fine") == 3
    assert "BudgetExceeded" in output
    assert asked.completion.usage["sub"].calls == 3


async def test_broken_cell_is_repaired_without_a_turn(tmp_path: Path) -> None:
    asked = await ask(tmp_path, cell("done('a'"), cell(giving("b")))
    assert asked.completion.answer == "b"
    assert asked.completion.turns == 1
    assert "was never closed" in said(asked.root.asked[1])


async def test_broken_cell_leaves_no_trace_in_the_dialogue(tmp_path: Path) -> None:
    asked = await ask(tmp_path, cell("print('a'"), cell("print('b')"), cell(giving("c")))
    assert "print('a'" not in said(asked.root.asked[2])


async def test_repaired_cell_is_remembered_as_it_ran(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        "print(1)",
        " it is 1.\nprint(",
        "print(2)",
        giving("c7"),
        profile="small",
        root_mode="code",
    )
    history = said(asked.root.asked[3])
    assert "```python\nprint(2)" in history
    assert "shows thatprint" not in history


async def test_empty_final_answer_is_none(tmp_path: Path) -> None:
    asked = await ask(tmp_path, 'FINAL("")', cell(giving("c8")))
    assert asked.completion.answer == "c8"


async def test_tokens_end_a_batch_that_was_already_made(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell(
            "asked = [f'{n} ' + 'w ' * 299 for n in range(400)]\n"
            "got = llm_query_batched(asked, return_exceptions=True)\n"
            "done(str(sum(isinstance(one, str) for one in got)))"
        ),
        budget=Budget(tokens=20_000),
    )
    # 64 are under way when the limit is reached, and end.
    assert 60 < int(asked.completion.answer) < 260


async def test_half_characters_of_a_kernel_harm_nothing(tmp_path: Path) -> None:
    asked = await ask(tmp_path, cell("print('\\ud800')\ndone('a' + chr(0xd800) + 'b')"))
    assert asked.completion.answer == "a?b"


async def test_first_block_only_and_the_root_is_told(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell("x = 1\nprint('one')") + cell("done('too early')"),
        cell("done(str(x))", "PYTHON"),
    )
    assert asked.completion.answer == "1"
    assert "Only the first code block" in said(asked.root.asked[1])


async def test_reply_without_code_costs_a_turn_and_is_told(tmp_path: Path) -> None:
    asked = await ask(tmp_path, "I think it is somebody.", "Yes, it is.", cell(giving("Ingrid")))
    assert asked.completion.turns == 2
    assert "no code block" in said(asked.root.asked[2])


async def test_answers_of_roots_taught_elsewhere(tmp_path: Path) -> None:
    for number, reply in enumerate(
        (
            "FINAL(Ingrid Solberg)",
            cell("FINAL('Ingrid Solberg')"),
            cell("SUBMIT('Ingrid Solberg')"),
            cell("name = 'Ingrid Solberg'\nFINAL_VAR('name')"),
            "<think>```python\ndone('wrong')\n```</think>" + cell("done('Ingrid Solberg')"),
        )
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        asked = await ask(folder, cell("print(search('lighthouse keeper'))"), reply)
        assert (asked.completion.answer, asked.completion.turns) == ("Ingrid Solberg", 2)


async def test_answer_of_a_cell_that_fails_is_not_taken(tmp_path: Path) -> None:
    asked = await ask(tmp_path, cell("done('early')\nraise ValueError('no')"), cell(giving("late")))
    assert asked.completion.answer == "late"
    assert "was not taken" in said(asked.root.asked[1])


async def test_turns_end_with_a_last_word(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path, cell("print(1)"), cell("print(2)"), "Ingrid, I believe.", budget=Budget(turns=2)
    )
    completion = asked.completion
    assert completion.answer == "Ingrid, I believe."
    assert not completion.complete
    assert completion.reason == "the run has spent 2 turns"


async def test_window_of_the_root_ends_with_a_last_word(tmp_path: Path) -> None:
    long = [cell(f"text = {f'word{n} ' * 700!r}") for n in range(3)]
    asked = await ask(tmp_path, *long, "Out of room.", window=4_500)
    assert not asked.completion.complete
    assert asked.completion.answer == "Out of room."
    assert "window" in str(asked.completion.reason)


async def test_outputs_that_exceed_the_window_are_folded(tmp_path: Path) -> None:
    cells = [cell(f"print('turn {n}', 'word ' * 1000)") for n in range(10)]
    asked = await ask(tmp_path, *cells, cell(giving("w7")), window=5_000)
    assert asked.completion.answer == "w7"
    assert asked.completion.turns == 11
    last = said(asked.root.asked[-1])
    assert "characters, folded: turn 0 word word" in last
    assert all(f"print('turn {n}'" in last for n in range(10))
    turns = [event for event in asked.events if event["event"] == "turn"]
    folded = [number for turn in turns for number in turn.get("folded", ())]
    assert folded == list(range(2, 2 + len(folded)))
    assert 5 < len(folded) < 10


async def test_seconds_are_kept_in_a_cell(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell("import time\ntime.sleep(60)"),
        "No time.",
        # Time for the kernel to start, which a busy machine takes seconds for.
        budget=Budget(seconds=6),
    )
    assert not asked.completion.complete
    assert asked.completion.answer == "No time."
    assert asked.completion.seconds < 20


async def test_seconds_are_kept_in_a_root_turn(tmp_path: Path) -> None:
    asked = await ask(tmp_path, "never", seconds=60, budget=Budget(seconds=2))
    assert not asked.completion.complete
    assert asked.completion.seconds < 20


async def test_cell_past_its_deadline_is_told(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell("x = 5\nwhile True: pass"),
        cell("done(str(x))"),
        budget=Budget(cell_seconds=1),
    )
    assert asked.completion.answer == "5"
    assert "limit of 1 s" in said(asked.root.asked[1])


async def test_kernel_that_dies_is_told_and_replaced(tmp_path: Path) -> None:
    asked = await ask(tmp_path, cell("import os\nos._exit(3)"), cell("done(len(context))"))
    assert asked.completion.answer == str(len(HAYSTACK))
    assert "variables are gone" in said(asked.root.asked[1])


async def test_dead_root_is_an_error_not_a_hang(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="died"):
        await asyncio.wait_for(ask(tmp_path, ModelError("the engine has died")), 60)


async def test_dead_sub_lm_is_an_exception_in_the_cell(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell("try:\n    llm_query('x')\nexcept Exception as e:\n    done(type(e).__name__)"),
        sub=[ModelError("the engine has died")],
    )
    assert asked.completion.answer == "ModelError"


async def test_small_profile_starts_the_reply_in_a_fence(tmp_path: Path) -> None:
    asked = await ask(tmp_path, giving("Ingrid"), profile="small", root_mode="code")
    assert asked.completion.answer == "Ingrid"
    assert said(asked.root.asked[0]).endswith("```python\n")


async def test_short_context_is_answered_directly(tmp_path: Path) -> None:
    asked = await ask(tmp_path, "Ingrid Solberg.", context=NEEDLE, direct="auto")
    assert asked.completion.sandbox == "direct"
    assert asked.completion.answer == "Ingrid Solberg."
    [citation] = asked.completion.citations
    assert citation.text == NEEDLE.strip()


@pytest.mark.parametrize(("profile", "tier"), [("coder", "direct"), ("small", "bwrap")])
async def test_a_profile_says_how_long_a_context_its_roots_read(
    tmp_path: Path, profile: str, tier: str
) -> None:
    assert Profile.load("small").direct_tokens < len(HAYSTACK.split()) < 1 << 14
    reply = giving("Ingrid") if tier == "bwrap" else "Ingrid"
    asked = await ask(tmp_path, reply, profile=profile, direct="auto", root_mode="code")
    assert (asked.completion.sandbox, asked.completion.answer) == (tier, "Ingrid")


async def test_long_context_is_not_answered_directly(tmp_path: Path) -> None:
    asked = await ask(tmp_path, cell(giving("x1y2")), context=HAYSTACK * 30, direct="auto")
    assert asked.completion.sandbox == "bwrap"


@pytest.mark.parametrize(
    ("context", "code", "answer"),
    [
        ("a\r\nb\U0001f600", "done(repr(context))", repr("a\r\nb\U0001f600")),
        (["one", "two"], "done(context[1])", "two"),
        ({"k": "v"}, "done(context['k'])", "v"),
        ([{"n": 1}, {"n": 41}], "done(sum(row['n'] for row in context))", "42"),
    ],
)
async def test_context_of_each_kind(tmp_path: Path, context: Any, code: str, answer: str) -> None:
    asked = await ask(tmp_path, cell(code), context=context)
    assert asked.completion.answer == answer


async def test_the_cell_of_the_readme_runs(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code = readme.partition("## In the REPL")[2].partition("```python\n")[2].partition("```")[0]
    row = 'opened={} user={} city=Oslo text="The {} came late, and I want it back, please."\n'
    rows = [row.format(f"2021-0{4 + n % 3}-1{n % 9}", n % 4, f"box {n}") for n in range(40)]
    asked = await ask(tmp_path, cell(code), context="".join(rows), sub=["refund"])
    assert asked.completion.answer == str(sum("=2021-04" not in one for one in rows))
    assert "refund" in asked.outputs()[0]
    assert "(0, 1)" in asked.outputs()[0]


async def test_folder_and_jsonl(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"A\r\n")
    (folder / "sub" / "b.txt").write_text("B", encoding="utf-8")
    asked = await ask(tmp_path, cell("done(repr(sorted(context.items())))"), context=folder)
    assert asked.completion.answer == str([("a.txt", "A\r\n"), ("sub/b.txt", "B")])

    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"n": 1}\n{"n": 2}\n', encoding="utf-8")
    (tmp_path / "2").mkdir()
    asked = await ask(tmp_path / "2", cell("done(context[1]['n'])"), context=rows)
    assert asked.completion.answer == "2"


async def test_unknown_profile(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no profile 'huge'.*coder.*small"):
        await ask(tmp_path, "x", profile="huge")


async def test_trajectory_tells_the_run(tmp_path: Path) -> None:
    asked = await ask(tmp_path, cell("print('x' * 5000)"), cell(giving("ok42")))
    kinds = [event["event"] for event in asked.events]
    assert kinds == ["run", "turn", "reply", "cell", "turn", "reply", "cell", "answer", "end"]
    assert asked.events[3]["output"].strip() == "x" * 5000
    assert asked.events[-1]["answer"] == "ok42"
    times = [event["t"] for event in asked.events]
    assert times == sorted(times)
    # A long text is stored once, under its digest.
    [blob] = [path for path in (tmp_path / "run" / "blobs").iterdir() if path.stat().st_size > 4999]
    assert blob.name in (tmp_path / "run" / "trajectory.jsonl").read_text(encoding="utf-8")


async def test_nothing_of_a_run_is_left_in_the_session_folders(tmp_path: Path) -> None:
    from outcore.kernel_sandbox.session import sessions_folder

    await ask(tmp_path, cell(giving("z9")))
    # Those of this process: others may be at work beside it.
    assert not paths(sessions_folder(), f"k-{os.getpid()}-*")


async def test_an_answer_that_nothing_shows_is_sent_back_once(tmp_path: Path) -> None:
    insisting = cell("done('Gunnar')")
    asked = await ask(tmp_path, insisting, insisting)
    assert (asked.completion.answer, asked.completion.turns) == ("Gunnar", 2)
    assert len(asked.root.asked) == 2
    assert "'Gunnar' was not taken: no output shows it" in said(asked.root.asked[1])


async def test_done_with_another_answer_after_a_refusal_is_judged_anew(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell("done('...')"),
        cell("print(search('keeper of Vardo'))"),
        cell("x = 1"),
        cell("done('Ingrid Solberg')"),
    )
    assert (asked.completion.answer, asked.completion.turns) == ("Ingrid Solberg", 4)
    answers = [event["content"] for event in asked.events if event["event"] == "answer"]
    assert answers == ["...", "Ingrid Solberg"]


async def test_a_root_that_repeats_itself_is_sampled_then_ended(tmp_path: Path) -> None:
    same = cell("print('the same')")
    asked = await ask(tmp_path, *[same] * 9, "Nothing of it.")
    completion = asked.completion
    assert completion.reason == "the root ran the same cell again and again"
    assert (completion.complete, completion.turns) == (False, 4)
    cells = [event["code"] for event in asked.events if event["event"] == "cell"]
    assert cells == ["print('the same')"] * 4
    # Each turn but the first asks twice, the second time with a seed; then comes the last word.
    warm = [(one.temperature > 0, one.seed) for one in asked.root.asked]
    assert warm == [
        (False, None),
        *(two for turn in (2, 3, 4) for two in ((False, None), (True, turn))),
        (False, None),
    ]
    assert "This is the same cell as before" in said(asked.root.asked[-1])


async def test_a_root_that_goes_round_in_a_circle_is_ended(tmp_path: Path) -> None:
    one, other = cell("print('the one')"), cell("print('the other')")
    asked = await ask(tmp_path, *[one, other] * 9, "Nothing of it.")
    assert asked.completion.reason == "the root ran the same cell again and again"
    assert (asked.completion.complete, asked.completion.turns) == (False, 5)


async def test_the_same_cell_may_print_something_new(tmp_path: Path) -> None:
    more = cell("n = globals().get('n', 0) + 1\nprint(n)")
    other = cell("print('so far', n)")
    asked = await ask(tmp_path, *[more, other] * 4, cell("done(n)"))
    assert asked.completion.answer == "4", asked.events


async def test_a_root_that_repeats_itself_may_find_another_way(tmp_path: Path) -> None:
    same = cell("print('the same')")
    asked = await ask(tmp_path, same, same, cell("print(search('Vardo'))"), cell("done('Ingrid')"))
    assert (asked.completion.answer, asked.completion.turns) == ("Ingrid", 3)


async def test_an_answer_in_words_is_held_to_the_same(tmp_path: Path) -> None:
    asked = await ask(tmp_path, "FINAL(Gunnar)", cell("print(search('Vardo'))"), "FINAL(Ingrid)")
    assert (asked.completion.answer, asked.completion.turns) == ("Ingrid", 3)
    assert "no output shows it" in said(asked.root.asked[1])


async def test_an_answer_set_as_ready_can_be_insisted_on(tmp_path: Path) -> None:
    code = cell("answer['content'] = 'Gunnar'\nanswer['ready'] = True")
    asked = await ask(tmp_path, code, code)
    assert (asked.completion.answer, asked.completion.turns) == ("Gunnar", 2)


async def test_what_a_cell_has_worked_out_is_taken_at_once(tmp_path: Path) -> None:
    asked = await ask(tmp_path, cell("n = 0\nfor _ in context.splitlines(): n += 1\ndone(n)"))
    assert (asked.completion.answer, asked.completion.turns) == ("801", 1)


async def test_the_best_answer_is_kept_when_the_budget_ends(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell("done('Gunnar')"),
        cell("done('...')"),
        "never asked",
        budget=Budget(turns=2),
    )
    assert (asked.completion.answer, asked.completion.complete) == ("Gunnar", False)


async def test_an_answer_that_stands_is_nudged_then_taken(tmp_path: Path) -> None:
    first = cell("answer['content'] = 'Ingrid'")
    asked = await ask(tmp_path, first, *(cell(f"print({n})") for n in range(8)))
    assert (asked.completion.answer, asked.completion.turns) == ("Ingrid", 5)
    assert asked.completion.complete
    nudged = ["has not changed for 2 cells" in said(one) for one in asked.root.asked]
    assert nudged.index(True) == 3
