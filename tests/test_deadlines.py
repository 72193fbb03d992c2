"""A question's seconds are kept, wherever they end it. Models are played, all else is real."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fault_host import LAST, Script, serving
from leftovers import Command
from sandboxing import descendants

from outcore.config import Budget
from outcore.engine import rlm as module
from outcore.engine.context.corpus import stage
from outcore.engine.rlm import RLM
from outcore.engine.trajectory import read
from outcore.errors import BadContext
from outcore.reaper import reaper

if TYPE_CHECKING:
    from collections.abc import Iterator

    from outcore.config import DirectMode
    from outcore.engine.result import Completion

# What is promised is one second; the other is for a machine that does other things as well.
LATE_SECONDS = 2.0
TEXT = "".join(f"Line {n}: nothing happens here, but the keeper waits.\n" for n in range(4_000))
QUESTION = "Who waits?"
SLOW = 600.0
FIRST = "answer['content'] = 'the keeper'\nprint('keeper')"
DEAF = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
# Where the deadline finds the run: the cells, what else the script needs, and the answer by then.
STRIKES: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "busy Python": (["while True: pass"], {}, LAST),
    "busy Python with an answer": ([FIRST, "while True: pass"], {}, "the keeper"),
    "C that sees no signal": (["sum(range(10**12))"], {}, LAST),
    "C with an answer": ([FIRST, "sum(range(10**12))"], {}, "the keeper"),
    "a cell that ignores signals": ([f"{DEAF}while True: pass"], {}, LAST),
    "sleep": (["import time\ntime.sleep(600)"], {}, LAST),
    "deaf sleep": ([f"{DEAF}import time\nwhile True: time.sleep(600)"], {}, LAST),
    "awaiting": (["import asyncio\nawait asyncio.sleep(600)"], {}, LAST),
    "a sub-call": (["llm_query('x')"], {"sub_seconds": SLOW}, LAST),
    "a loop of sub-calls": (["for n in range(99): llm_query(f'{n}')"], {"sub_seconds": 0.9}, LAST),
    "a batch": (["llm_query_batched([f'{n}' for n in range(500)])"], {"sub_seconds": SLOW}, LAST),
    "labels": (["llm_classify(['x'] * 9, ['a', 'b'])"], {"sub_seconds": SLOW}, LAST),
    "a sub-call in threads": (
        [
            f"{DEAF}import threading\nt = threading.Thread(target=llm_query, args=('x',))\n"
            "t.start()\nt.join()"
        ],
        {"sub_seconds": SLOW},
        LAST,
    ),
    "the first turn": (["1"], {"root_seconds": SLOW}, ""),
    "a later turn": ([FIRST, "1"], {"root_seconds": [0.0, SLOW]}, "the keeper"),
    "the last turn too": (["print(1)"], {"root_seconds": [0.0, SLOW]}, ""),
    # Where the child's end comes first by a hair, the root goes on.
    "a short child run": (
        ["rlm_query('x', context[:500])", "import time\ntime.sleep(60)"],
        {"sub_seconds": SLOW},
        LAST,
    ),
    "child runs with kernels": (
        [f"rlm_query_batched(['x', 'y', 'z'], [context] * 3)\n{DEAF}while True: pass"],
        {"root_seconds": [0.0, SLOW]},
        "",
    ),
    "a child's cell": (
        ["if len(context) > 200000: rlm_query('x', context[:150000])\nelse: sum(range(10**12))"],
        {},
        LAST,
    ),
    "a process of the cell": (
        ["import os\nif os.fork() == 0:\n    while True: pass\nos.wait()"],
        {},
        LAST,
    ),
}


@pytest.fixture
def late(tmp_path: Path) -> Iterator[Any]:
    """Asks a question, and gives the completion and how much too late it came."""
    reaper()
    before = descendants()

    def ask(
        cells: list[str],
        *,
        seconds: float = 3.0,
        context: Any = TEXT,
        direct: DirectMode = "never",
        budget: dict[str, Any] | None = None,
        **changes: Any,
    ) -> tuple[Completion, float]:
        script = Script(log=str(tmp_path / "made"), cells=cells, **changes)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "serve", serving(script))
            with RLM(direct=direct, budget=Budget(seconds=seconds, **(budget or {}))) as rlm:
                began = time.monotonic()
                completion = rlm.completion(context, QUESTION)
                over = time.monotonic() - began - script.start_seconds - seconds
        print(f"{over:+.3f} s after {seconds:g} s: {cells[-1][:60]!r}")
        return completion, over

    yield ask
    assert descendants() <= before


@pytest.mark.parametrize("strike", STRIKES)
def test_seconds_are_kept_wherever_they_end(late: Any, strike: str) -> None:
    cells, changes, answer = STRIKES[strike]
    # A machine that is busy elsewhere may not come to the place in the first of these.
    for seconds in (3.0, 9.0, 27.0):
        completion, over = late(cells, seconds=seconds, **changes)
        assert over < LATE_SECONDS
        assert not completion.complete
        assert f"{seconds:g} seconds" in completion.reason
        [*events] = read(completion.run_dir)
        assert events[-1]["event"] == "end"
        assert events[-1]["reason"] == completion.reason
        turns = sum(event["event"] == "turn" for event in events)
        if turns >= len(cells) and completion.answer == answer:
            return
    raise AssertionError(completion)


@pytest.mark.parametrize("seconds", [0.2, 0.7, 1.5, 4.0])
def test_the_promise_holds_for_short_budgets_and_longer_ones(late: Any, seconds: float) -> None:
    completion, over = late(["sum(range(10**12))"], seconds=seconds)
    assert over < LATE_SECONDS
    assert not completion.complete


def test_direct_answers_are_held_to_it(late: Any) -> None:
    completion, over = late(["1"], context=TEXT[:2_000], direct="auto", sub_seconds=SLOW)
    assert over < LATE_SECONDS
    assert not completion.complete
    assert completion.sandbox == "direct"


def test_a_direct_answer_is_a_last_turn(late: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Of the seconds, only some of those are left that are kept back for it.
    from outcore.engine.context import staging

    def slow(*args: Any, **named: Any) -> Any:
        time.sleep(2.5)
        return stage(*args, **named)

    monkeypatch.setattr(staging, "stage", slow)
    completion, over = late(["1"], context=TEXT[:2_000], direct="auto")
    assert over < LATE_SECONDS
    assert completion.sandbox == "direct"
    assert completion.complete


def test_a_kernel_that_does_not_start_is_held_to_it(
    late: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A start that hangs: what the kernel runs first waits for ever.
    from outcore.kernel_sandbox import launch

    monkeypatch.setattr(launch, "_START", "import time; time.sleep(600) # {parent}")
    completion, over = late(["1"])
    assert over < LATE_SECONDS
    assert not completion.complete
    assert completion.reason == "the run has spent 3 seconds"


def test_a_kernel_that_dies_and_can_not_start_again_ends_with_the_best_answer(
    late: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from outcore.errors import SandboxError
    from outcore.kernel_sandbox.succession import Succession

    renew, times = Succession.renew, []

    async def once(line: Succession) -> None:
        times.append(1)
        if len(times) > 1:
            raise SandboxError("the kernel died at its start (status 1)")
        await renew(line)

    monkeypatch.setattr(Succession, "renew", once)
    completion, _ = late([FIRST, "import os\nos._exit(1)"], seconds=60)
    assert (completion.answer, completion.complete) == ("the keeper", False)
    assert completion.reason.startswith("no kernel can be had any more: the kernel died")


def test_a_context_that_takes_longer_to_read(late: Any, tmp_path: Path) -> None:
    huge = tmp_path / "huge.txt"
    with huge.open("wb") as file:
        file.truncate(40 << 30)
    began = time.monotonic()
    script = Script(log=str(tmp_path / "made"), cells=["1"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "serve", serving(script))
        with RLM(encoding="latin-1", budget=Budget(seconds=1.0)) as rlm:
            completion = rlm.completion(huge, QUESTION)
            assert time.monotonic() - began - 1.0 < LATE_SECONDS
            assert completion.reason == "reading the context took longer than 1 seconds"
            assert (completion.answer, completion.complete) == ("", False)
            # It can still be asked, and nothing of what was staged is left.
            assert rlm.completion(TEXT[:500], QUESTION).complete
        assert not os.listdir(tmp_path / "home" / "staged")  # noqa: PTH208


def test_a_folder_that_takes_longer_to_walk(late: Any, tmp_path: Path) -> None:
    def endless(folder: Path) -> Iterator[Any]:
        from outcore.engine.context.folder import Skipped

        while True:
            yield Skipped("x", "y")

    from outcore.engine.context import sources

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "walk", endless)
        (tmp_path / "folder").mkdir()
        completion, over = late(["1"], seconds=0.5, context=tmp_path / "folder")
    assert over < LATE_SECONDS
    assert "reading the context" in completion.reason


def test_a_context_that_can_not_be_read_is_an_error_not_a_deadline(
    late: Any, tmp_path: Path
) -> None:
    with pytest.raises(BadContext):
        late(["1"], context=tmp_path / "missing")


def test_starting_the_models_is_not_counted(tmp_path: Path) -> None:
    script = Script(
        log=str(tmp_path / "made"),
        cells=["print(len(context))\ndone(len(context))"],
        start_seconds=9.0,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "serve", serving(script))
        rlm = RLM(direct="never", budget=Budget(seconds=8.0))
        try:
            completion = rlm.completion(TEXT, QUESTION)
        finally:
            rlm.close()
    assert completion.complete
    assert completion.seconds < 8.0


def test_the_command_line_says_so_and_exits_with_three(tmp_path: Path) -> None:
    script = Script(log=str(tmp_path / "made"), cells=[FIRST, "sum(range(10**12))"])
    (tmp_path / "context.txt").write_text(TEXT, encoding="utf-8")
    host = str(Path(__file__).with_name("fault_host.py"))
    command = Command(
        ["ask", QUESTION, str(tmp_path / "context.txt"), "--seconds", "3", "--json"],
        tmp_path / "tmp",
        program=(host, str(script.write(tmp_path / "script.json"))),
    )
    out, err = command.process.communicate(timeout=60)
    assert command.process.returncode == 3, err
    result = json.loads(out)
    assert result["answer"] == "the keeper"
    assert result["complete"] is False
    assert result["reason"] == "the run has spent 3 seconds"
    assert result["seconds"] < 3 + LATE_SECONDS
    command.nothing_left_within(5)
