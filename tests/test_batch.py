"""`outcore batch`: answers, resumes, refuses, stops; the models are played, all else is real."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from fault_host import Script
from leftovers import Command
from scripted import ScriptedEngine, said

from outcore import answers as answers_module
from outcore import cli
from outcore.config import Budget, home
from outcore.engine.question import Question
from outcore.errors import ConfigError, EngineDied, ModelError
from outcore.models.serve import Served
from outcore.questions import Reading, by_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from outcore.models.engine import Generation, Request

pytestmark = pytest.mark.timeout(300)

TEXT = "".join(f"Line {n}: nothing happens here, but the keeper waits.\n" for n in range(2_000))
CELLS = ["told = llm_query('What is it?', text=context[:60])\nprint(told)", "done(told)"]
COMMAND = ("batch", "questions.jsonl", "text.txt", "--out", "answers.jsonl", "--no-memo")
GONE_SECONDS = 30.0
PATIENCE = 20.0


class Player(ScriptedEngine):
    """Answers with the last word of the question; `wrong` fails, `short` is cut by its budget."""

    def __init__(self) -> None:
        super().__init__([self.reply], name="root")
        self.starts = 0
        self.fatal: Callable[[str], Exception | None] = lambda _: None

    def reply(self, request: Request) -> str:
        word = said(request).split()[-1]
        if (error := self.fatal(word)) is not None:
            raise error
        if word == "wrong":
            raise ModelError("the engine said no")
        return f"re: {word}"

    def asked_words(self) -> list[str]:
        return [said(request).split()[-1] for request in self.asked]


@pytest.fixture
def player(monkeypatch: pytest.MonkeyPatch) -> Player:
    engine = Player()

    async def serve(*_: Any, **__: Any) -> Served:
        engine.starts += 1
        return Served(engine, ScriptedEngine(["fine"], name="sub"), "coder")

    monkeypatch.setattr("outcore.engine.rlm.serve", serve)
    return engine


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two contexts; questions and answers are named from here."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    (work / "text.txt").write_text("A short text.", encoding="utf-8")
    (work / "other.txt").write_text("Another text.", encoding="utf-8")
    return work


def write(*rows: Any, path: str = "questions.jsonl") -> None:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    Path(path).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def batch(*more: str, paths: tuple[str, ...] = ("text.txt",), out: str = "answers.jsonl") -> int:
    # Read directly, so that no kernel is needed: what a batch does with answers is the same.
    flags = ("--out", out, "--direct", "always", "--no-memo", *more)
    return cli.main(["batch", "questions.jsonl", *paths, *flags])


def rows(path: str = "answers.jsonl") -> dict[Any, dict[str, Any]]:
    """The answers by their ids; every line is whole, and no id is there twice."""
    data = Path(path).read_bytes()
    assert not data or data.endswith(b"\n")
    found = [json.loads(line) for line in data.splitlines()]
    by_id = {row["id"]: row for row in found}
    assert len(by_id) == len(found)
    return by_id


def asks(*words: str) -> list[dict[str, Any]]:
    return [{"id": word, "question": f"What is {word}"} for word in words]


def test_every_question_gets_its_line(player: Player, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        {"question": "What is first"},
        "",
        {"question": "What is second", "id": "two", "context": "other.txt", "extra": {"a": [1]}},
        {"question": "What is third", "id": 7, "context": ["text.txt", "other.txt"]},
    )
    assert batch() == 0
    found = rows()
    assert set(found) == {1, "two", 7}
    assert found[1]["answer"] == "re: first"
    assert found[1]["complete"] is True
    assert found[1]["context"] == ["text.txt"]
    assert found["two"]["context"] == ["other.txt"]
    assert found["two"]["extra"] == {"a": [1]}
    assert "extra" not in found[7]
    assert found[7]["context"] == ["text.txt", "other.txt"]
    # What `ask --json` gives, under the same names.
    assert found[7].keys() >= {"answer", "complete", "reason", "citations", "usage", "turns"}
    assert found[7].keys() >= {"seconds", "run_dir", "sandbox", "sandbox_warning", "record_error"}
    texts = {said(request).split()[-1]: said(request) for request in player.asked}
    assert "Another text." in texts["second"]
    assert "A short text." not in texts["second"]
    assert player.starts == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "3 answered, " in told.err
    assert list((home() / "staged").iterdir()) == []


def test_a_second_time_nothing_is_asked(player: Player, capsys: pytest.CaptureFixture[str]) -> None:
    write(*asks("one", "two"))
    assert batch() == 0
    before = Path("answers.jsonl").read_bytes()
    write(*asks("one", "two", "three"))
    assert batch() == 0
    assert Path("answers.jsonl").read_bytes().startswith(before)
    assert sorted(player.asked_words()) == ["one", "three", "two"]
    assert "2 of 3 questions have their line" in capsys.readouterr().err
    starts = player.starts
    assert batch() == 0
    assert player.starts == starts


def test_a_failure_is_a_line_and_the_others_go_on(
    player: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.txt").touch()
    write(
        *asks("one", "wrong"),
        {"id": "none", "question": "What is none", "context": "empty.txt"},
        *asks("two"),
    )
    assert batch("--parallel", "1") == 4
    found = rows()
    assert found["wrong"]["error"] == {"kind": "ModelError", "message": "the engine said no"}
    assert found["none"]["error"]["kind"] == "BadContext"
    assert "answer" not in found["none"]
    assert found["one"]["answer"] == "re: one"
    assert found["two"]["answer"] == "re: two"
    told = capsys.readouterr().err
    assert "2 answered, 2 failed" in told
    assert "none: BadContext: the context empty.txt is empty" in told
    assert "Traceback" not in told


def test_what_failed_is_asked_again_unless_that_is_not_wanted(player: Player) -> None:
    write(*asks("one", "wrong", "two"))
    assert batch() == 4
    line = Path("answers.jsonl").read_bytes()
    assert batch("--again", "none") == 4
    assert Path("answers.jsonl").read_bytes() == line
    player.reply = lambda request: "mended"  # type: ignore[method-assign]
    player._replies = [player.reply]
    assert batch() == 0
    found = rows()
    assert found["wrong"]["answer"] == "mended"
    assert found["one"]["answer"] == "re: one"


def test_incomplete_answers(player: Player, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Question.answer

    async def cut(self: Any) -> Any:
        completion = await real(self)
        object.__setattr__(completion, "complete", player.starts > 2)
        return completion

    write(*asks("one"))
    with monkeypatch.context() as patched:
        patched.setattr(Question, "answer", cut)
        assert batch() == 3
        # It has an answer, and is left alone.
        assert batch() == 3
        assert player.starts == 1
        assert batch("--again", "incomplete") == 3
        assert batch("--again", "incomplete") == 0
    assert player.starts == 3
    assert rows()["one"]["complete"] is True


def test_limits_of_a_question_are_its_own() -> None:
    tasks = Reading((Path("text.txt"),), Budget(turns=3, calls=50)).read(
        b'{"question": "a", "budget": {"seconds": 20, "turns": 2}}\n{"question": "b"}'
    )
    assert tasks[0].budget == Budget(turns=2, calls=50, seconds=20)
    assert tasks[1].budget == Budget(turns=3, calls=50)


def test_questions_of_one_context_come_one_after_the_other() -> None:
    lines = [{"question": f"{n}", "context": f"{('text', 'other')[n % 2]}.txt"} for n in range(6)]
    data = "\n".join(map(json.dumps, lines)).encode()
    ordered = by_context(Reading((), Budget()).read(data))
    assert [task.question for task in ordered] == ["0", "2", "4", "1", "3", "5"]


def test_plain_questions_and_standard_input(
    player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "\ufeffWhat is one\r\n\r\n  What is {two}  \n"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    flags = ("--out", "answers.jsonl", "--direct", "always", "--no-memo", "--plain")
    assert cli.main(["batch", "-", "text.txt", *flags]) == 0
    assert {key: row["question"] for key, row in rows().items()} == {
        1: "What is one",
        3: "What is {two}",
    }


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "no JSON at column 2"),
        ("What is it?", "--plain"),
        ("[1]", r"it is \[1\] and no object"),
        ('{"id": 1}', 'there is no "question"'),
        ('{"question": 3}', "question must be text, not 3"),
        ('{"question": "  "}', "the question is empty"),
        ('{"question": "\\ud800"}', "surrogate"),
        ('{"question": "a", "question": "b"}', "'question' is there twice"),
        ('{"question": "a", "contxt": "b"}', "unknown field 'contxt'.*extra"),
        ('{"question": "a", "id": true}', "id must be text or a whole number"),
        ('{"question": "a", "id": ""}', "id must be text"),
        ('{"question": "a", "id": 1.5}', "id must be text"),
        ('{"question": "a", "context": "absent"}', "absent: there is no such file"),
        ('{"question": "a", "context": []}', "empty list"),
        ('{"question": "a", "context": [1]}', "a path or a list of paths"),
        ('{"question": "a", "context": "~nobody-at-all/x"}', "home folder"),
        ('{"question": "a", "budget": 3}', "budget must be an object"),
        ('{"question": "a", "budget": {"turn": 3}}', "unknown limit 'turn'; there are: turns"),
        ('{"question": "a", "budget": {"turns": 0}}', "turns must be above zero"),
        ('{"question": "a", "budget": {"seconds": true}}', "seconds must be"),
        ('{"question": "a", "extra": NaN}', "NaN is no JSON value"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_lines_that_can_not_be_used(line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"line 2: .*{told}"):
        Reading((Path("text.txt"),), Budget()).read(f'{{"question": "good"}}\n{line}\n'.encode())


def test_all_faults_are_told_at_once_and_nothing_starts(
    player: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("questions.jsonl").write_bytes(
        b'{"question": "a", "id": "x"}\n{"question": "b", "id": "x"}\n{\n"\xff"\n'
        b'{"question": "c", "id": 6}\n{"question": "d"}\n' + b"[]\n" * 40
    )
    assert batch(paths=("text.txt", "gone.txt")) == 2
    told = capsys.readouterr().err
    assert "PATH gone.txt: there is no such file" in told
    assert "line 2: the id 'x' is that of line 1 too" in told
    assert "line 3: no JSON" in told
    assert "line 4: byte 1 of it is not UTF-8" in told
    # A line without an id has its number for one.
    assert "line 6: the id 6 is that of line 5 too" in told
    assert "and 25 more" in told
    assert player.starts == 0
    assert not Path("answers.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["absent.jsonl", "text.txt", "--out", "a"], "can't read the questions from absent"),
        (["empty.jsonl", "text.txt", "--out", "a"], "there are no questions in it"),
        (["questions.jsonl", "--out", "a"], "line 1: it names no context"),
        (["questions.jsonl", "text.txt", "--out", "questions.jsonl"], "file of the questions"),
        (["questions.jsonl", ".", "--out", "a"], "is in the context ."),
        (["questions.jsonl", "text.txt", "--out", "text.txt"], "is in the context text.txt"),
        (["questions.jsonl", "text.txt", "--out", "no/a"], "there is no folder"),
        (["questions.jsonl", "text.txt", "--out", "/dev/null"], "no ordinary file"),
        (["questions.jsonl", "text.txt", "--out", "/"], "Is a directory"),
        (["questions.jsonl", "text.txt", "--out", "other.txt"], "other.txt, line 1: it is no"),
        (["questions.jsonl", "text.txt", "--out", "a", "--parallel", "0"], "questions is 0"),
        (["questions.jsonl", "text.txt", "--out", "a", "--profile", "grand"], "no profile"),
    ],
)
def test_commands_that_can_not_be_used(
    player: Player, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(*asks("one"))
    Path("empty.jsonl").write_text("\n\n", encoding="utf-8")
    assert cli.main(["batch", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert player.starts == 0
    assert not Path("a").exists()
    assert Path("other.txt").read_text("utf-8") == "Another text."


def test_an_answer_to_another_question_is_not_taken(
    player: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    write(*asks("one", "two", "wrong"))
    assert batch() == 4
    before = Path("answers.jsonl").read_bytes()
    asked = len(player.asked)
    write({"id": "one", "question": "What else"}, *asks("two"))
    assert batch() == 2
    assert "answers id 'one' for another question, 'What is one'" in capsys.readouterr().err
    write(*asks("one", "two"))
    assert batch(paths=("other.txt",)) == 2
    told = capsys.readouterr().err
    assert told.count("from another context, 'text.txt'") == 2
    assert Path("answers.jsonl").read_bytes() == before
    assert len(player.asked) == asked
    # A failure answers nothing: its id is free for another question.
    write({"id": "wrong", "question": "What is right"})
    assert batch() == 0
    assert rows()["wrong"]["answer"] == "re: right"


@pytest.mark.parametrize("cut", [1, 5, 40, -2])
@pytest.mark.parametrize("zeros", [0, 100])
def test_a_last_line_that_was_cut_short_is_asked_again(
    player: Player, cut: int, zeros: int
) -> None:
    write(*asks("one", "two", "three"))
    assert batch("--parallel", "1") == 0
    whole = Path("answers.jsonl").read_bytes().splitlines(keepends=True)
    assert len(whole) == 3
    Path("answers.jsonl").write_bytes(b"".join(whole[:2]) + whole[2][:cut] + b"\0" * zeros)
    asked = len(player.asked)
    assert batch() == 0
    assert len(rows()) == 3
    assert len(player.asked) == asked + 1
    assert Path("answers.jsonl").read_bytes().startswith(b"".join(whole[:2]))


def test_a_whole_last_line_without_its_end_is_an_answer(player: Player) -> None:
    write(*asks("one", "wrong"))
    assert batch("--parallel", "1") == 4
    first, second = Path("answers.jsonl").read_bytes().splitlines()
    for data in (first, second + b"\n" + first):
        Path("answers.jsonl").write_bytes(data)
        asked = len(player.asked)
        assert batch() == 4
        assert len(rows()) == 2
        assert player.asked_words()[asked:] == ["wrong"]


def test_a_last_line_that_is_not_ours_is_left_alone(
    player: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    write(*asks("one"))
    Path("answers.jsonl").write_text('{"name": "my data"', encoding="utf-8")
    assert batch() == 2
    assert "line 1: it is no answer" in capsys.readouterr().err
    assert Path("answers.jsonl").read_text("utf-8") == '{"name": "my data"'
    assert player.starts == 0


def test_a_file_of_answers_keeps_its_mode_and_its_links(player: Player) -> None:
    Path("far").mkdir()
    Path("answers.jsonl").symlink_to("far/real.jsonl")
    write(*asks("one", "wrong"))
    assert batch() == 4
    Path("far/real.jsonl").chmod(0o640)
    assert batch() == 4
    assert Path("answers.jsonl").is_symlink()
    assert Path("far/real.jsonl").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in Path("far").iterdir()] == ["real.jsonl"]
    assert set(rows()) == {"one", "wrong"}


def test_odd_characters_come_through(player: Player, capsys: pytest.CaptureFixture[str]) -> None:
    player.reply = lambda request: "line\u2028\x85\x1b[2J \U0001f600"  # type: ignore[method-assign]
    player._replies = [player.reply]
    write({"question": "What is ü", "id": "\u2028\x1b"}, {"question": "b", "extra": "\ud800"})
    assert batch() == 0
    found = rows()
    assert found["\u2028\x1b"]["answer"].startswith("line\u2028\x85")
    assert found[2]["extra"] == "\ud800"
    assert batch() == 0


def test_a_disk_that_fills_up_ends_the_batch_with_whole_lines(
    player: Player, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = answers_module._write
    written: list[bytes] = []

    def torn(file: int, data: bytes) -> None:
        if len(written) == 1:
            os.write(file, data[:50])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(data)
        real(file, data)

    write(*asks("one", "two", "three"))
    with monkeypatch.context() as patched:
        patched.setattr(answers_module, "_write", torn)
        assert batch("--parallel", "1") == 1
    told = capsys.readouterr().err
    assert "No space left on device" in told
    assert "run the same command again" in told
    assert len(rows()) == 1
    assert batch() == 0
    assert len(rows()) == 3


def test_models_that_do_not_start_fail_the_batch_and_no_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(*_: Any, **__: Any) -> Served:
        raise ModelError("there is no room for them")

    monkeypatch.setattr("outcore.engine.rlm.serve", serve)
    write(*asks("one", "two"))
    assert batch() == 1
    assert "there is no room for them" in capsys.readouterr().err
    assert not Path("answers.jsonl").exists()


def test_models_that_are_gone_for_good_end_the_batch(
    player: Player, capsys: pytest.CaptureFixture[str]
) -> None:
    player.fatal = lambda word: EngineDied("the engine has died") if word > "q2" else None
    write(*asks(*(f"q{number}" for number in range(9))))
    assert batch("--parallel", "1") == 1
    told = capsys.readouterr().err
    assert "2 questions on end found no model" in told
    # One line fewer than failures in a row: the last of them stands for all that were not asked.
    assert [("error" in row) for row in rows().values()] == [False] * 3 + [True]
    assert "5 left" in told
    player.fatal = lambda _: None
    assert batch() == 0
    assert len(rows()) == 9


def test_a_fault_of_ours_fails_its_question_alone(
    player: Player, caplog: pytest.LogCaptureFixture
) -> None:
    player.fatal = lambda word: KeyError("odd") if word == "odd" else None
    write(*asks("one", "odd", "two"))
    assert batch() == 4
    assert rows()["odd"]["error"]["kind"] == "KeyError"
    assert rows()["two"]["answer"] == "re: two"
    assert "question 'odd' failed by a fault of outcore" in caplog.text


def test_one_file_of_answers_is_one_batch_s(player: Player) -> None:
    write(*asks("one"))
    assert batch() == 0
    with contextlib.closing(answers_module.Answers(Path("answers.jsonl"))):
        # POSIX locks are a process's own: only another one can be in the way.
        other = subprocess.run(
            [sys.executable, "-P", "-m", "outcore", *COMMAND, "--again", "none"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert other.returncode == 2
    assert "another batch is writing" in other.stderr
    assert batch() == 0


def test_no_more_than_asked_for_are_under_way(
    player: Player, monkeypatch: pytest.MonkeyPatch
) -> None:
    here: list[str] = []
    most = 0
    real = ScriptedEngine.generate

    async def meeting(self: ScriptedEngine, request: Request) -> Generation:
        nonlocal most
        here.append(said(request))
        most = max(most, len(here))
        # Fewer than three at once, and the first of them fails.
        async with asyncio.timeout(PATIENCE):
            while most < 3:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        here.pop()
        return await real(self, request)

    monkeypatch.setattr(ScriptedEngine, "generate", meeting)
    write(*asks(*(f"q{number}" for number in range(12))))
    assert batch("--parallel", "3") == 0
    assert most == 3
    assert len(rows()) == 12


def started(folder: Path, script: Script, *more: str) -> Command:
    script.write(folder / "script.json")
    return Command(
        [*COMMAND, *more],
        folder / f"tmp-{time.monotonic_ns()}",
        program=(str(Path(__file__).with_name("fault_host.py")), str(folder / "script.json")),
        home=folder / "home",
    )


def lines_when(condition: Callable[[int], bool], command: Command) -> list[bytes]:
    """The lines of the answers once there are enough."""
    while True:
        assert command.process.poll() is None, command.process.communicate()
        path = Path("answers.jsonl")
        lines = path.read_bytes().splitlines() if path.exists() else []
        if condition(len(lines)):
            return lines
        time.sleep(0.02)


def long_questions(folder: Path, count: int) -> None:
    (folder / "text.txt").write_text(TEXT, encoding="utf-8")
    write(*({"question": f"What of number {number}?"} for number in range(count)))


def test_in_a_process_of_its_own_with_kernels(folder: Path) -> None:
    long_questions(folder, 5)
    command = started(folder, Script(str(folder / "log"), CELLS), "--parallel", "2")
    out, err = command.process.communicate(timeout=120)
    assert command.process.returncode == 0, err
    assert out == ""
    found = rows()
    assert set(found) == {1, 2, 3, 4, 5}
    for row in found.values():
        assert row["answer"].startswith("about ")
        assert row["sandbox"] == "bwrap"
        assert row["usage"]["sub"]["calls"] == 1
        assert Path(row["run_dir"]).is_dir()
    assert "5 answered, " in err
    assert "under way" in err
    command.nothing_left_within(GONE_SECONDS)
    assert list((folder / "home" / "staged").iterdir()) == []


def test_killed_in_the_middle_it_goes_on(folder: Path) -> None:
    long_questions(folder, 8)
    script = Script(str(folder / "log"), CELLS, root_seconds=0.3)
    command = started(folder, script, "--parallel", "2")
    lines_when(lambda count: count >= 2, command)
    command.kill()
    before = Path("answers.jsonl").read_bytes()
    kept = before[: before.rfind(b"\n") + 1]
    done = kept.count(b"\n")
    assert 2 <= done < 8
    command.nothing_left_within(GONE_SECONDS)
    # As if it had struck in the middle of a line.
    with Path("answers.jsonl").open("ab") as file:
        file.write(b'{"id": 8, "question": "What of')
    runs = len(list((folder / "home" / "runs").iterdir()))
    again = started(folder, script, "--parallel", "2")
    _, err = again.process.communicate(timeout=120)
    assert again.process.returncode == 0, err
    assert f"{done} of 8 questions have their line" in err
    assert Path("answers.jsonl").read_bytes().startswith(kept)
    assert set(rows()) == set(range(1, 9))
    # None of those that had an answer was asked once more.
    assert len(list((folder / "home" / "runs").iterdir())) == runs + 8 - done
    again.nothing_left_within(GONE_SECONDS)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_good_order(folder: Path, number: signal.Signals) -> None:
    long_questions(folder, 8)
    script = Script(str(folder / "log"), CELLS, root_seconds=[0.1, 0.4])
    command = started(folder, script, "--parallel", "2")
    lines_when(lambda count: count >= 1, command)
    command.process.send_signal(number)
    _, err = command.process.communicate(timeout=60)
    assert command.process.returncode == 128 + number
    found = rows()
    assert 1 <= len(found) < 8
    assert all("answer" in row for row in found.values())
    assert f"{len(found)} answered, {8 - len(found)} left, for the same command again" in err
    assert err.endswith("stopped\n")
    command.nothing_left_within(GONE_SECONDS)
    again = started(folder, script)
    _, err = again.process.communicate(timeout=120)
    assert again.process.returncode == 0, err
    assert len(rows()) == 8
