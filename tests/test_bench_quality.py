"""The quality benchmark's runner, systems, tables and verdicts, on models that follow a script."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import failures
import oracle
import pytest
import quality
import readme
import report
import results
import start
from front import Front
from map_reduce import MapReduce, slices
from rows import MOST_CHARS, Row, Rows
from runner import Runner
from scripted import ScriptedEngine, said
from standin import rlm_with, served
from systems import Models, Reply, RootAlone, whole
from tasks import data, needle
from tasks.item import Draw, Item

from outcore.config import Budget
from outcore.engine.budget import Usage
from outcore.engine.trajectory import Trajectory
from outcore.models.engine import ChatPrompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Doubling:
    """A task: what is twice the number?"""

    NAME: str = "doubling"
    BINARY: bool = True
    SIZES: tuple[int, ...] = (8,)

    def items(self, draw: Draw) -> Iterator[Item]:
        for number in range(draw.samples):
            meta: dict[str, str | int] = {"kind": "sum", "lines": 3}
            yield Item(f"{number:03}", f"Twice {number}?", str(number), str(2 * number), meta)

    def score(self, item: Item, answer: str) -> float:
        return float(answer == item.gold)


def double(item: Item) -> str:
    return str(2 * int(str(item.context)))


@dataclass
class Fake:
    """A system that answers by a function."""

    reply: Callable[[Item], str] = double
    name: str = "fake"
    asked: list[str] = field(default_factory=list)
    begun: int = 0
    ended: int = 0

    def begin(self) -> None:
        self.begun += 1

    def answer(self, item: Item) -> Reply:
        self.asked.append(item.id)
        used = Usage(calls=2, tokens_in=10, tokens_cached=4, tokens_out=3, remembered=1)
        return Reply(self.reply(item), root=used, turns=2, run_dir="run-1", way="bwrap")

    def end(self) -> None:
        self.ended += 1


def runner(path: Path, parallel: int = 1, root: str = "r") -> Runner:
    return Runner(Doubling(), Rows(path), root, "s", parallel)


def draw(samples: int, seed: int = 1, size: int = 8) -> Draw:
    return Draw(seed, samples, size, Path())


def test_runner_writes_each_item_and_skips_what_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, first = tmp_path / "deep" / "rows.jsonl", Fake()
    runner(path).run([first], [draw(3)])
    assert first.asked == ["000", "001", "002"]
    assert (first.begun, first.ended) == (1, 1)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["item"] for line in lines] == first.asked
    row = Row(**lines[2])
    assert (row.score, row.answer, row.gold, row.complete, row.turns) == (1.0, "4", "4", True, 2)
    assert row.tokens["root"] == {"in": 10, "out": 3, "cached": 4}
    assert (row.calls["root"], row.remembered["root"], row.run) == (2, 1, "run-1")
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 3
    assert "doubling 8 fake 3/3 002: 1.00 (mean 1.000)" in told[2]

    again = Fake()
    runner(path).run([again], [draw(5)])
    assert again.asked == ["003", "004"]
    assert "fake 5/5 004: 1.00 (mean 1.000)" in capsys.readouterr().out
    untouched = Fake()
    runner(path).run([untouched], [draw(4)])
    assert (untouched.asked, untouched.begun) == ([], 0)


@pytest.mark.parametrize(
    ("wanted", "root", "name"),
    [
        (draw(1, seed=2), "r", "fake"),
        (draw(1, size=9), "r", "fake"),
        (draw(1), "r2", "fake"),
        (draw(1), "r", "other"),
        (replace(draw(1), split="dev"), "r", "fake"),
    ],
)
def test_other_seeds_sizes_halves_models_and_systems_are_other_items(
    wanted: Draw, root: str, name: str, tmp_path: Path
) -> None:
    runner(tmp_path / "rows.jsonl").run([Fake()], [draw(1)])
    again = Fake(name=name)
    runner(tmp_path / "rows.jsonl", root=root).run([again], [wanted])
    assert again.asked == ["000"]


def test_a_failing_system_is_a_wrong_answer_with_its_message(tmp_path: Path) -> None:
    def fail(item: Item) -> str:
        if item.id == "001":
            raise ValueError("no such luck")
        return double(item)

    runner(tmp_path / "rows.jsonl").run([Fake(fail)], [draw(3)])
    rows = list(Rows(tmp_path / "rows.jsonl").all.values())
    assert [row.score for row in rows] == [1.0, 0.0, 1.0]
    assert rows[1].error
    assert rows[1].reason == "ValueError: no such luck"
    assert not rows[1].complete


def test_items_at_once_are_each_done_once(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def meet(item: Item) -> str:
        together.wait(100)
        return double(item)

    system = Fake(meet)
    runner(tmp_path / "rows.jsonl", parallel=4).run([system], [draw(8)])
    assert sorted(system.asked) == [f"{number:03}" for number in range(8)]
    assert len(Rows(tmp_path / "rows.jsonl").all) == 8


def test_what_was_under_way_when_stopped_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    run = runner(path)

    def stop(item: Item) -> str:
        if item.id == "001":
            run.stop()
        return double(item)

    run.run([Fake(stop)], [draw(4)])
    assert [row.item for row in Rows(path).all.values()] == ["000"]


def test_a_line_cut_off_by_a_kill_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    runner(path).run([Fake()], [draw(2)])
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[:-20])
    again = Fake()
    runner(path).run([again], [draw(2)])
    assert again.asked == ["001"]
    assert len(path.read_bytes().splitlines()) == len(Rows(path).all) == 2


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"task": 1}\n')
    with pytest.raises(SystemExit, match="line 1, is no row"):
        Rows(tmp_path / "rows.jsonl")


def test_long_answers_are_scored_whole_and_kept_short(tmp_path: Path) -> None:
    @dataclass
    class Long(Doubling):
        def score(self, item: Item, answer: str) -> float:
            return float(answer.endswith("end"))

    rows = Rows(tmp_path / "rows.jsonl")
    Runner(Long(), rows, "r", "s").run([Fake(lambda _: "x" * 9_000 + "end")], [draw(1)])
    [row] = Rows(rows.path).all.values()
    assert row.score == 1.0
    assert len(row.answer) == MOST_CHARS


# Systems.


@pytest.fixture
def engines() -> tuple[ScriptedEngine, ScriptedEngine]:
    return ScriptedEngine(["It is 77."], window=4_000), ScriptedEngine(["NONE"], window=4_000)


@pytest.fixture
def models(engines: tuple[ScriptedEngine, ScriptedEngine]) -> Iterator[Models]:
    with rlm_with(served(*engines), memo=False) as rlm:
        yield Models(rlm, Budget(seconds=30))


LONG = Item("one", "Which number?", "some words in a line\n" * 3_000 + "it is 77\n", "77", {})


def test_the_root_alone_reads_what_fits(
    models: Models, engines: tuple[ScriptedEngine, ScriptedEngine]
) -> None:
    reply = RootAlone(models).answer(LONG)
    assert reply.answer == "It is 77."
    assert reply.reason is not None
    assert "cut to" in reply.reason
    [request] = engines[0].asked
    assert isinstance(request.prompt, ChatPrompt)
    text = request.prompt.messages[-1].content
    assert text.endswith("it is 77\n\n\nWhich number?")
    assert "characters left out" in text
    assert 0.8 * 4_000 < engines[0].length(request.prompt) + request.max_tokens <= 4_000
    assert reply.root.tokens_in == engines[0].length(request.prompt)


def test_a_short_text_is_read_whole(models: Models) -> None:
    reply = RootAlone(models).answer(replace(LONG, context="it is 77"))
    assert reply.reason is None


def test_map_reduce_asks_about_every_slice_once(
    models: Models, engines: tuple[ScriptedEngine, ScriptedEngine]
) -> None:
    root, sub = engines
    context = "".join(f"line number {number}\n" for number in range(6_000))
    sub._replies = [lambda one: "saw it" if "number 42\n" in said(one) else "NONE."]
    reply = MapReduce(models).answer(replace(LONG, context=context))
    assert reply.complete
    read = ""
    for request in sub.asked:
        assert isinstance(request.prompt, ChatPrompt)
        read += (
            request.prompt.messages[-1].content.partition("Which number?")[0].removesuffix("\n\n")
        )
    assert len(sub.asked) > 5
    assert sorted(read.splitlines()) == sorted(context.splitlines())
    [request] = root.asked
    assert "1. saw it\n\n" in said(request)
    assert "NONE" not in said(request)
    assert reply.sub.calls == len(sub.asked)


def test_many_answers_are_put_together_in_steps(
    models: Models, engines: tuple[ScriptedEngine, ScriptedEngine]
) -> None:
    root, sub = engines
    sub._replies = [lambda request: f"part {len(sub.asked)} " + "and so on " * 60]
    reply = MapReduce(models).answer(LONG)
    assert reply.answer == "It is 77."
    assert len(root.asked) > 1
    assert all(
        root.length(request.prompt) + request.max_tokens <= root.window for request in root.asked
    )


def test_map_reduce_answers_from_what_was_read_in_time(
    models: Models, engines: tuple[ScriptedEngine, ScriptedEngine]
) -> None:
    models.budget = Budget(seconds=1)
    engines[1].seconds = 5.0
    reply = MapReduce(models).answer(LONG)
    assert not reply.complete
    assert reply.reason is not None
    assert "not read in time" in reply.reason


@pytest.mark.parametrize("chars", [1, 5, 7, 100])
def test_slices_are_the_text(chars: int) -> None:
    text = "one\ntwo three\n\nfour"
    pieces = slices(text, chars)
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= chars for piece in pieces)


def test_a_folder_as_one_text(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.py").write_text("x = 1\n")
    assert whole(tmp_path / "tree") == "--- a.py ---\nx = 1\n"
    assert whole("as it is") == "as it is"


async def test_front_serves_both_models_and_counts_for_each_question(
    models: Models, engines: tuple[ScriptedEngine, ScriptedEngine]
) -> None:
    def render(messages: Any) -> ChatPrompt:
        return ChatPrompt(tuple(messages))

    front = Front(models, {"root": render, "sub": render})
    front.start()
    try:
        async with aiohttp.ClientSession() as client:

            async def ask(name: str, model: str, content: str) -> tuple[int, Any]:
                body = {"model": model, "messages": [{"role": "user", "content": content}]}
                url = f"{front.address}/ask/{name}/v1/chat/completions"
                async with client.post(url, json=body) as response:
                    return response.status, await response.json()

            async with client.get(f"{front.address}/ask/a/v1/models") as response:
                listed = (await response.json())["data"]
            answers = [await ask("a", "root", "a b c"), await ask("b", "sub", "d e")]
            refused = await ask("b", "root", "word " * 5_000)
    finally:
        front.close()
    assert [one["id"] for one in listed] == ["root", "sub"]
    assert [status for status, _ in answers] == [200, 200]
    texts = [answer["choices"][0]["message"]["content"] for _, answer in answers]
    assert texts == ["It is 77.", "NONE"]
    assert answers[0][1]["usage"]["prompt_tokens"] == 3
    assert refused[0] == 400
    assert "context length" in refused[1]["error"]["message"]
    assert (front.meters["a"].root.tokens_in, front.meters["a"].sub.calls) == (3, 0)
    assert (front.meters["b"].root.calls, front.meters["b"].sub.tokens_in) == (0, 2)


# Figures.


def test_wilson_interval() -> None:
    low, high = report.wilson(20, 20)
    assert (round(low, 3), high) == (0.839, 1.0)
    assert [round(one, 3) for one in report.wilson(10, 20)] == [0.299, 0.701]
    assert report.wilson(0, 20)[0] == 0.0


def test_bootstrap_interval_is_always_the_same() -> None:
    scores = [0.0, 0.25, 0.75, 1.0] * 10
    low, high = report.bootstrap(scores)
    assert (low, high) == report.bootstrap(scores)
    assert 0.3 < low < 0.5 < high < 0.7


def row(**changes: Any) -> Row:
    base = Row(
        *("needle", 8192, "code", 1, "report", "000", "big", "small", "books"),
        *(0.0, 2.0, "wrong words", "needle-value"),
    )
    return replace(base, **{"run": "one", "way": "bwrap", "machine": "a box"} | changes)


def test_tables_and_plots_are_redrawn_from_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_FILE", tmp_path / "RESULTS.md")
    monkeypatch.setattr(report, "PLOTS", tmp_path / "plots")
    rows = Rows(tmp_path / "needle.jsonl")
    for size in (8192, 16384):
        for system in ("rlms", "code"):
            for number in range(4):
                tokens = {"root": {"in": 100, "out": 5, "cached": 20}}
                score = float(number > 1 or system == "code")
                rows.add(
                    row(size=size, system=system, item=str(number), score=score, tokens=tokens)
                )
    assert quality.main(["needle", "--table", "--out", str(rows.path)]) == 0
    text = (tmp_path / "RESULTS.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith(("| 8k", "| 16k"))]
    assert [line.split("|")[2].strip() for line in lines] == ["code", "rlms"] * 2
    assert [cell.strip() for cell in lines[1].split("|")[3:10]] == [
        *("4", "1", "50.0", "15.0 to 85.0", "2.0", "100", "20"),
    ]
    assert "Answered on: a box." in text
    drawing = (tmp_path / "plots" / "quality-needle.svg").read_bytes()
    quality.main(["needle", "--table", "--out", str(rows.path)])
    assert (tmp_path / "plots" / "quality-needle.svg").read_bytes() == drawing
    assert (tmp_path / "RESULTS.md").read_text() == text


def asked(system: str, numbers: range, seed: int = 1, **changes: Any) -> list[Row]:
    """Rows of one system; odd questions are answered rightly."""
    return [
        row(system=system, seed=seed, item=f"{number:03}-x", score=float(number % 2), **changes)
        for number in numbers
    ]


def test_seeds_are_pooled_and_named() -> None:
    rows = [*asked("plan", range(4)), *asked("plan", range(2), seed=3)]
    [(key, group)] = report.grouped(rows).items()
    assert key == (8192, "plan")
    assert (len(group), report.seeds_of(group)) == (6, "1, 3")
    assert report.scored(needle, group).startswith("50.0 (")


def test_systems_are_compared_on_what_both_were_asked() -> None:
    rows = [
        *asked("plan", range(2, 9)),
        *asked("plan", range(9), seed=2),
        *asked("root", range(4)),
        *asked("rlms", range(3), size=16384),
    ]
    [(key, (others, ours))] = report.beside(rows).items()
    assert key == (8192, "root")
    both = [(1, "002-x"), (1, "003-x")]
    assert [(one.seed, one.item) for one in others] == both
    assert [(one.seed, one.item) for one in ours] == both


def test_the_order_of_scores_is_of_no_matter() -> None:
    scores = [0.1, 0.9, 0.4, 0.0]
    assert report.bootstrap(scores) == report.bootstrap(scores[::-1])


def test_the_commands_ask_what_is_on_record() -> None:
    rows = [
        *asked("plan", range(3)),
        *asked("root", range(3)),
        *asked("plan", range(3), size=131072),
        *asked("plan", range(5), seed=2),
    ]
    tail = "--root big --sub small"
    bench = "python -P bench/quality.py needle"
    assert report.commands(needle, rows) == [
        f"{bench} --seed 1 --samples 3 --sizes 8k --systems root {tail}",
        f"{bench} --seed 1 --samples 3 --sizes 8k,128k --systems plan {tail}",
        f"{bench} --seed 2 --samples 5 --sizes 8k --systems plan {tail}",
    ]
    for line in report.commands(needle, rows):
        assert quality._parser().parse_args(line.split()[3:]).task == "needle"


def test_the_readme_says_what_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert quality.main(["readme"]) == 0
    printed = capsys.readouterr().out
    told = (quality.BENCH.parent / "README.md").read_text(encoding="utf-8")
    for table in printed.strip().split("\n\n"):
        assert table in told, "put what `bench/quality.py readme` prints into README.md"


def test_results_say_what_is_recorded() -> None:
    told = (quality.BENCH / "RESULTS.md").read_text(encoding="utf-8")
    for name, task in quality.TASKS.items():
        rows = list(Rows(quality.BENCH / "quality" / f"{name}.jsonl").all.values())
        for group in report.grouped(rows).values():
            cells = report._cells(task, group[0].size, group[0].system, group)[1:6]
            assert " | ".join(map(str, cells)) in re.sub(" +", " ", told)
        for line in report.commands(task, rows):
            assert f"`{line}`" in told


def test_models_that_are_not_asked_for_are_left_out() -> None:
    rows = [*asked("plan", range(2)), *asked("plan", range(9), root="other")]
    lines = list(readme.lines([(needle, rows)], "big", "small"))
    assert lines[2] == "| S-NIAH, 8k | 50.0 (9.5 to 90.5) | 2 | 1 | 0 |"
    assert lines[3] == ""


def test_three_starts_of_each_way_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"vllm": iter((20.0, 30.0, 25.0)), "outcore": iter((10.0, 12.0, 8.0))}
    monkeypatch.setattr(results, "_FILE", tmp_path / "RESULTS.md")
    monkeypatch.setattr(start, "timed", lambda way: next(seconds[way]))
    monkeypatch.setattr("sys.argv", ["bench/start.py"])
    start.main()
    told = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "`python -P bench/start.py`" in told
    assert [
        re.findall(r"[\d.]+", line) for line in told.splitlines() if line.startswith("| v")
    ] == [["25.00", "20.00", "30.00"]]
    assert "takes 2.50x the time" in told


# Data.


def test_the_data_is_looked_for_before_the_models_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("the models were started")

    monkeypatch.setattr(quality, "RLM", started)
    out = ["--out", str(tmp_path / "rows.jsonl"), "--data", str(tmp_path)]
    for task in ("needle", "oolong", "pairs"):
        with pytest.raises(SystemExit) as refusal:
            quality.main([task, *out])
        told = str(refusal.value.code)
        wanted = [source for source in data.SOURCES if task in source.tasks]
        assert all(f"{source.path}: {source.origin}" in told for source in wanted)
        assert "--data" in told
    with pytest.raises(SystemExit, match="no folder; --tree names"):
        quality.main(["code", "--tree", str(tmp_path / "nosuch"), *out])


def test_other_data_is_told_of(tmp_path: Path) -> None:
    for source in data.SOURCES:
        (tmp_path / source.path).parent.mkdir(exist_ok=True)
        (tmp_path / source.path).write_text("another book")
    (tmp_path / "gutenberg" / "one_more.txt").write_text("a book")
    said = data.check("needle", tmp_path)
    assert [Path(line.split(" is ")[0]).name for line in said] == [
        "moby_dick_pg2701.txt",
        "sherlock_holmes_pg1661.txt",
        "war_and_peace_pg2600.txt",
        "one_more.txt",
    ]
    assert len(data.check("pairs", tmp_path)) == 3


def test_the_page_of_the_data_names_each_file() -> None:
    page = (quality.BENCH / "DATA.md").read_text(encoding="utf-8")
    for source in data.SOURCES:
        [line] = [line for line in page.splitlines() if line.startswith(f"| `{source.path}` |")]
        assert source.sha256 in line
        assert line.rstrip(" |").endswith(", ".join(source.tasks))
        for url in re.findall(r"https://\S+", source.origin):
            assert url in line


def cell(code: str, output: str = "", status: str = "ok") -> dict[str, Any]:
    return {"event": "cell", "code": code, "output": output, "status": status, "error": "E: x"}


def called(*replies: str) -> dict[str, Any]:
    return {"event": "calls", "calls": [{"reply": reply} for reply in replies]}


@pytest.mark.parametrize(
    ("changes", "events", "verdict"),
    [
        ({"error": True, "reason": "ModelError: died"}, [], "error: ModelError: died"),
        ({}, [{"event": "reply"}], "parse"),
        ({}, [cell("x(", status="error")], "parse: E: x"),
        ({"complete": False, "reason": "12 turns"}, [cell("1")], "budget: 12 turns"),
        ({}, [cell("1", "the Needle-Value stands here")], "root's reading"),
        ({"way": "direct"}, [], "root's reading (answered directly)"),
        ({}, [cell("1"), called("it says needle-value")], "wrong program (the sub-LM"),
        ({}, [cell("1"), called("nothing")], "judgement (1 calls)"),
        ({}, [cell("print(search('magic'))")], "search"),
        ({}, [cell("print(len(context))")], "wrong program"),
        ({"gold": ["A", "B"]}, [cell("1", "only a")], "wrong program"),
        ({"task": "oolong", "lines": 4}, [cell("1"), called("x")], "wrong program (1 calls for 4"),
        ({"task": "oolong", "lines": 2}, [cell("1"), called("x", "y")], "judgement? (2 calls"),
    ],
)
def test_causes(changes: dict[str, Any], events: list[dict[str, Any]], verdict: str) -> None:
    assert failures.cause(row(**changes), events).startswith(verdict)


def test_failures_are_told_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trajectory = Trajectory(tmp_path / "runs" / "one")
    trajectory.add("cell", code="search('x')", status="ok", error=None, output="nothing")
    trajectory.close()
    rows = Rows(tmp_path / "needle.jsonl")
    rows.add(row(item="000", score=1.0))
    rows.add(row(item="001"))
    rows.add(row(item="002", run="gone", complete=False, reason="8 turns"))
    rows.add(row(item="003", system="rlms"))
    words = ["failures", "needle", "--system", "code", "--out", str(rows.path)]
    assert quality.main([*words, "--runs", str(tmp_path / "runs")]) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line.rpartition(" | ")[2] for line in told] == [
        "search (it was not printed)",
        "budget: 8 turns",
    ]
    assert told[0].startswith("8192 code 001 (0.00) | gold: needle-value | answer: wrong words")


@pytest.mark.parametrize(
    "words",
    [
        ["chess"],
        ["failures"],
        ["needle", "oolong"],
        ["needle", "--sizes", "big"],
        ["needle", "--systems", "code,magic"],
        ["readme", "needle"],
    ],
)
def test_what_the_command_line_refuses(words: list[str]) -> None:
    with pytest.raises(SystemExit) as refusal:
        quality.main(words)
    assert refusal.value.code == 2


LINES = "Each line is of one of 2 categories: 'fruit', 'tool'.\n\n" + "".join(
    f"Day: May {1 + day:02}, 2022 || User: {day % 3} || Instance: {text}\n"
    for day, text in enumerate(("apple pie", "red plum", *["iron nail"] * 10))
)
RIGHT = {"apple pie": "fruit", "iron nail": "tool", "red plum": "fruit"}
COUNTING = (
    "rows = list(records)\n"
    "labels = llm_classify([r['Instance'] for r in rows], ['fruit', 'tool'])\n"
    "print('fruit', 'occurs', tally(labels)['fruit'], 'times')"
)


@pytest.mark.parametrize(
    ("program", "printed", "answer", "told"),
    [
        (COUNTING, "fruit occurs 1 times", "Answer: 1", "judgement"),
        (COUNTING, "fruit occurs 2 times", "Answer: 3", "root's reading"),
        (COUNTING.replace("['fruit'], 't", "['tool'], 't"), "", "Answer: 1", "wrong program"),
        (COUNTING.replace("Instance", "Line"), "", "Answer: 1", "wrong program (KeyError"),
    ],
)
def test_a_program_run_again_with_right_labels(
    program: str, printed: str, answer: str, told: str
) -> None:
    item = Item("000-x", "How many fruits?", LINES, "2", {"kind": "number"})
    asked = row(task="oolong", kind="number", gold="2", answer=answer)
    assert oracle.verdict(asked, item, program, printed, RIGHT).startswith(told)
