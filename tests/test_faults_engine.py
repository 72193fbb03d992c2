"""Faults of engines: killed, out of memory, away, slow, or talking nonsense.

What needs a real vLLM engine for it stands in test_vllm_engine.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from aiohttp import web
from scripted import ScriptedEngine, giving, prompt_of, said
from test_batcher import echo, request
from test_http_engine import completion, server
from test_run import ask, cell

from outcore.config import Budget
from outcore.engine.batching import retries
from outcore.engine.batching.batcher import Batcher
from outcore.engine.rlm import RLM
from outcore.engine.trajectory import read
from outcore.errors import EngineDied, ModelError, ModelUnavailable, WeightsError
from outcore.models import http_call, pulse, serve, start, supervisor
from outcore.models.engine import CacheStats, Request, TokenPrompt, pack
from outcore.models.engine_log import cause
from outcore.models.http_engine import HttpEngine
from outcore.models.launch import Launch
from outcore.models.meter import Meter
from outcore.models.plan import EnginePlan
from outcore.models.progress import SILENT
from outcore.models.supervisor import Supervised
from outcore.models.vllm_engine import VllmEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from outcore.models.engine import Generation


@dataclass
class Mortal(ScriptedEngine):
    """Dies of requests that are fatal to it, or when it is told to."""

    fatal: Callable[[Request], bool] = lambda _: False
    died: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def dead(self) -> bool:
        return self.died.is_set() or self.closed

    def death(self) -> EngineDied:
        return EngineDied(f"the engine of {self.name} has died. Its log is engine.log")

    async def generate(self, request: Request) -> Generation:
        if self.fatal(request):
            self.died.set()
        answer = asyncio.ensure_future(super().generate(request))
        end = asyncio.ensure_future(self.died.wait())
        try:
            await asyncio.wait((answer, end), return_when=asyncio.FIRST_COMPLETED)
            if self.died.is_set():
                raise self.death()
            return answer.result()
        finally:
            for one in (answer, end):
                one.cancel()
            await asyncio.gather(answer, end, return_exceptions=True)

    def cache_stats(self) -> CacheStats:
        return CacheStats(10, 5, 100)


@dataclass
class Nursery:
    """Engines that follow each other under one supervisor."""

    make: Callable[[], Mortal]
    seconds: float = 0.0
    fails: Exception | None = None
    all: list[Mortal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.all.append(self.make())
        self.supervised = Supervised(self.all[0], self.start)

    async def start(self, number: int) -> Mortal:
        # Each has a log of its own.
        assert number == self.supervised.starts + 1
        await asyncio.sleep(self.seconds)
        if self.fails is not None:
            raise self.fails
        self.all.append(self.make())
        return self.all[-1]

    def kill(self) -> None:
        self.all[-1].died.set()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


async def test_calls_under_way_in_an_engine_that_dies_are_answered_by_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nursery = Nursery(lambda: Mortal([echo], seconds=0.2, digest="w"), seconds=0.1)
    batcher = Batcher(nursery.supervised)
    calls = [asyncio.create_task(batcher.submit(request(f"{n}"))) for n in range(20)]
    await until(lambda: batcher.traffic.running == 20)
    nursery.kill()
    done = await asyncio.wait_for(asyncio.gather(*calls), 10)
    assert [one.text for one in done] == [f"re: {n}" for n in range(20)]
    assert nursery.supervised.starts == 1
    assert nursery.all[0].closed
    (warning,) = [one.getMessage() for one in caplog.records if one.name == supervisor.__name__]
    assert "has died" in warning
    assert "engine.log" in warning
    assert nursery.supervised.cache_stats() == CacheStats(20, 10, 100)


async def test_an_engine_that_died_while_idle_is_started_by_the_next_call() -> None:
    nursery = Nursery(lambda: Mortal([echo]))
    nursery.kill()
    assert (await nursery.supervised.generate(plain(nursery, "hello"))).text == "re: hello"


def plain(nursery: Nursery, question: str) -> Request:
    return Request(prompt_of(nursery.supervised, question), 10)


async def test_a_call_that_kills_engines_fails_and_the_others_live_on() -> None:
    nursery = Nursery(lambda: Mortal([echo], fatal=lambda one: "poison" in said(one)))
    batcher = Batcher(nursery.supervised)
    with pytest.raises(EngineDied, match=r"has died.*engine\.log"):
        await batcher.submit(request("poison"))
    assert (await batcher.submit(request("water"))).text == "re: water"
    assert nursery.supervised.starts == 2


async def test_an_engine_is_not_started_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    nursery = Nursery(lambda: Mortal([echo], fatal=lambda one: "poison" in said(one)))
    for _ in range(2):
        with pytest.raises(EngineDied):
            await nursery.supervised.generate(plain(nursery, "poison"))
    assert nursery.supervised.starts == 2
    with pytest.raises(EngineDied, match="2 times within 10 minutes, and is not for another 6"):
        await nursery.supervised.generate(plain(nursery, "water"))
    assert nursery.supervised.starts == 2
    monkeypatch.setattr(supervisor, "_WITHIN_SECONDS", 0.0)
    assert (await nursery.supervised.generate(plain(nursery, "water"))).text == "re: water"


async def test_an_engine_that_can_not_start_again_is_told_to_all_who_wait() -> None:
    nursery = Nursery(
        lambda: Mortal([echo], seconds=30), seconds=0.05, fails=ModelError("no memory: see log")
    )
    calls = [
        asyncio.create_task(nursery.supervised.generate(plain(nursery, f"{n}"))) for n in range(5)
    ]
    await until(lambda: len(nursery.all[0].asked) == 5)
    nursery.kill()
    for one in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(one, ModelError)
        assert "see log" in str(one)
    # It may work the next time: other programs may have ended.
    nursery.fails = None
    again = asyncio.create_task(nursery.supervised.generate(plain(nursery, "x")))
    await until(lambda: len(nursery.all) == 2)
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)


async def test_who_goes_while_an_engine_starts_leaves_the_others() -> None:
    nursery = Nursery(lambda: Mortal([echo]), seconds=0.2)
    nursery.kill()
    gone, stays = (
        asyncio.create_task(nursery.supervised.generate(plain(nursery, one))) for one in "ab"
    )
    await asyncio.sleep(0.05)
    gone.cancel()
    assert (await stays).text == "re: b"
    assert gone.cancelled()
    assert nursery.supervised.starts == 1


async def test_closing_ends_a_start_under_way() -> None:
    nursery = Nursery(lambda: Mortal([echo]), seconds=30)
    nursery.kill()
    call = asyncio.create_task(nursery.supervised.generate(plain(nursery, "a")))
    await until(lambda: nursery.supervised.starts)
    await asyncio.wait_for(nursery.supervised.close(), 5)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, 5)
    with pytest.raises(ModelError, match="closed"):
        await nursery.supervised.generate(plain(nursery, "a"))
    await nursery.supervised.close()
    assert len(nursery.all) == 1


async def test_weights_that_changed_are_not_mixed() -> None:
    digests = iter(("old", "new", "old"))
    nursery = Nursery(lambda: Mortal([echo], digest=next(digests)))
    nursery.kill()
    with pytest.raises(WeightsError, match="have changed since it was first started"):
        await nursery.supervised.generate(plain(nursery, "a"))
    assert nursery.all[1].closed
    # Put back, they are taken.
    assert (await nursery.supervised.generate(plain(nursery, "a"))).text == "re: a"


def launched(folder: Path, log: Path) -> Launch:
    plan = EnginePlan(("sub",), "cpu", (), (0,), 1, 1, 1 << 20, None, 4, 2048, 16, 2048)
    return Launch("tiny", folder, plan, log)


async def test_weights_that_lost_a_file_are_told_at_the_next_start(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"weights is no whole model: it lacks .*tokenizer"):
        await serve.again(launched(folder, tmp_path / "engine.log"), tmp_path, SILENT, 2)


async def test_weights_that_change_while_they_are_loaded_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Mortal([echo], digest=None)
    monkeypatch.setattr(start, "_build", lambda *_: engine)
    with pytest.raises(WeightsError, match="changed while tiny was loaded"):
        await start._start(launched(tmp_path, tmp_path / "log"), tmp_path)
    assert engine.closed


async def test_no_worker_outlives_its_engine(tmp_path: Path) -> None:
    """A forked engine leads a group; killed itself, it can't end its workers any more."""
    script = "sleep 600 & echo $!; wait"
    leader = subprocess.Popen(
        ["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert leader.stdout is not None
    worker = psutil.Process(int(leader.stdout.readline()))
    try:
        chat: Any = SimpleNamespace(labels=tuple)
        log = tmp_path / "log"
        engine = VllmEngine("m", "d", chat, dead_vllm(), Meter(), (leader.pid,), log)
        leader.kill()
        leader.wait()
        leader.stdout.close()
        assert worker.is_running()
        assert engine.dead
        await engine.close()
        await until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()


def dead_vllm() -> Any:
    """A vLLM whose process has gone, as far as `VllmEngine.close` looks at it."""
    return SimpleNamespace(
        vllm_config=SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=100),
            scheduler_config=SimpleNamespace(max_num_seqs=2),
            cache_config=SimpleNamespace(block_size=16),
            parallel_config=SimpleNamespace(data_parallel_size=1),
        ),
        errored=True,
        output_handler=None,
        engine_core=SimpleNamespace(resources=SimpleNamespace(engine_dead=True)),
        shutdown=lambda _: None,
    )


class Hanging:
    """A vLLM whose engine takes requests and does nothing, as far as `VllmEngine` looks at it."""

    output_handler = None

    def __init__(self) -> None:
        self.vllm_config = dead_vllm().vllm_config
        resources = SimpleNamespace(engine_dead=False, engine_manager=None)
        self.engine_core = SimpleNamespace(resources=resources)
        self.output_processor = self
        self.failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def errored(self) -> bool:
        return bool(self.engine_core.resources.engine_dead)

    async def generate(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        yield await asyncio.shield(self.failed)

    def propagate_error(self, error: Exception) -> None:
        self.failed.set_exception(error)

    def shutdown(self, _: float) -> None:
        assert self.errored


@pytest.fixture
def hung() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing, as those of a hung engine."""
    process = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


async def test_a_hung_engine_is_killed_and_its_calls_are_answered_by_the_next(
    hung: subprocess.Popen[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 0.5)
    chat: Any = SimpleNamespace(labels=tuple)
    nursery = Nursery(lambda: Mortal(["answer"], digest="d", window=100))
    log = tmp_path / "engine.log"
    log.touch()
    engine = VllmEngine("m", "d", chat, Hanging(), Meter(), (hung.pid,), log)
    nursery.supervised = Supervised(engine, nursery.start)
    calls = (Request(TokenPrompt(pack([one])), 5) for one in range(3))
    done = await asyncio.wait_for(
        # The first to come has vLLM imported.
        asyncio.gather(*(nursery.supervised.generate(one) for one in calls)),
        200,
    )
    assert [one.text for one in done] == ["answer"] * 3
    assert nursery.supervised.starts == 1
    (warning,) = [one.getMessage() for one in caplog.records if one.name == supervisor.__name__]
    told = r"engine of m hung and was killed \(no sign of life for 0 s, calls waiting: 3\)"
    assert re.search(rf"{told}.*engine\.log.*`dmesg`", warning)
    # It tells why, perhaps.
    assert log.exists()


async def test_an_engine_that_is_at_work_is_not_taken_for_a_hung_one(
    hung: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "SILENT_SECONDS", 0.5)
    chat: Any = SimpleNamespace(labels=tuple)
    meter = Meter()
    engine = VllmEngine("m", "d", chat, Hanging(), meter, (hung.pid,), tmp_path / "log")
    call = asyncio.create_task(engine.generate(Request(TokenPrompt(pack([1])), 5)))
    for _ in range(30):
        await asyncio.sleep(0.03)
        meter.on_step(0)
    assert not engine.dead
    with pytest.raises(EngineDied, match="hung and was killed"):
        await asyncio.wait_for(call, 30)
    # Also where nobody starts another in its place.
    assert hung.wait(10) == -signal.SIGKILL
    await engine.close()


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("Traceback:\n  x\nValueError: no room\n", "ValueError: no room"),
        ("torch.OutOfMemoryError: CUDA\nbye\n", "torch.OutOfMemoryError: CUDA"),
        (
            "(EngineCore pid=7) ERROR 11-25 00:01:02 [core.py:9] RuntimeError: bad\n",
            "RuntimeError: bad",
        ),
        ("all is well\n", ""),
        (None, ""),
    ],
)
def test_a_log_tells_why(tmp_path: Path, log: str | None, told: str) -> None:
    if log is not None:
        (tmp_path / "log").write_text(log)
    assert cause(tmp_path / "log") == told


async def test_a_question_survives_both_its_engines(tmp_path: Path) -> None:
    """The sub-LM's dies in the middle of a cell, the root's in the middle of a turn."""
    roots = Nursery(
        lambda: Mortal(
            [
                cell(
                    'got = llm_query_batched([f"number {n}" for n in range(40)])\nprint(len(got))'
                ),
                cell(giving("40")),
            ],
            digest="root",
        )
    )
    subs = Nursery(lambda: Mortal([echo], name="below", seconds=0.3, digest="sub"), seconds=0.1)

    async def trouble() -> None:
        await until(lambda: len(subs.all[0].asked) > 10)
        subs.kill()
        roots.kill()
        # The root's next engine begins with its next reply.
        roots.make = lambda: Mortal([cell(giving("40"))], digest="root")

    task = asyncio.create_task(trouble())
    asked = await ask(tmp_path, engine=roots.supervised, sub=subs.supervised)
    await task
    assert (asked.completion.answer, asked.completion.complete) == ("40", True)
    assert (roots.supervised.starts, subs.supervised.starts) == (1, 1)
    assert asked.outputs()[0].strip() == "40"


async def test_a_sub_engine_that_stays_dead_is_the_call_s_exception(tmp_path: Path) -> None:
    subs = Nursery(lambda: Mortal(["x"], fatal=lambda _: True, digest="sub"))
    code = 'try:\n    llm_query("a")\nexcept Exception as e:\n    print(type(e).__name__, e)'
    asked = await ask(tmp_path, cell(code), cell(giving("none")), sub=subs.supervised)
    assert asked.completion.answer == "none"
    assert "has died" in asked.outputs()[0]
    assert "engine.log" in asked.outputs()[0]


async def test_a_root_that_stays_dead_gives_the_answer_that_stood(tmp_path: Path) -> None:
    died = EngineDied("the engine of root has died")
    asked = await ask(tmp_path, cell('answer["content"] = "Ingrid Solberg"'), died)
    assert asked.completion.answer == "Ingrid Solberg"
    assert not asked.completion.complete
    assert "has died" in str(asked.completion.reason)


async def test_a_root_that_stays_dead_without_an_answer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineDied, match="has died"):
        await ask(tmp_path, cell("print(1)"), EngineDied("the engine of root has died"))
    assert [one["event"] for one in read(tmp_path / "run")][-2:] == ["cell", "turn"]


@contextlib.asynccontextmanager
async def away(monkeypatch: pytest.MonkeyPatch, *waits: float) -> AsyncIterator[None]:
    monkeypatch.setattr(retries, "_AWAY", waits)
    monkeypatch.setattr(retries, "_FAILED", waits[:2])
    yield


@contextlib.asynccontextmanager
async def raw(*replies: bytes | None) -> AsyncIterator[tuple[HttpEngine, list[float]]]:
    """A server that sends bytes as they are, the last ones for ever; and when it was asked.

    For None it neither answers nor reads what it is sent.
    """
    times: list[float] = []
    over = asyncio.Event()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            if b"/models" in head:
                listed = json.dumps({"data": [{"id": "served", "owned_by": "other"}]}).encode()
                writer.write(answered(listed))
            else:
                times.append(time.monotonic())
                if (reply := replies[min(len(times), len(replies)) - 1]) is None:
                    await over.wait()
                else:
                    writer.write(reply)
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve_one, "127.0.0.1", 0)
    async with listener:
        address = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        engine = await HttpEngine.connect(address)
        try:
            yield engine, times
        finally:
            over.set()
            await engine.close()


def answered(
    body: bytes, status: str = "200 OK", *headers: str, length: int | None = None
) -> bytes:
    size = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


GOOD = answered(json.dumps(completion("hello")).encode())


@pytest.mark.parametrize(
    "bad",
    [
        answered(b"busy", "503 Service Unavailable"),
        answered(b"bad gateway", "502 Bad Gateway"),
        answered(b"broken", "500 Internal Server Error"),
        answered(b"slow down", "429 Too Many Requests"),
        answered(GOOD[-40:], length=4_000),
        GOOD[: len(GOOD) // 2],
        b"",
        answered(b'{"choices": [{"mess'),
        answered(b"[" * 100_000),
    ],
    ids=["503", "502", "500", "429", "cut", "half", "nothing", "json", "deep"],
)
async def test_a_server_s_bad_moment_is_passed_over(
    bad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with away(monkeypatch, 0.01, 0.02, 0.03), raw(bad, bad, GOOD) as (engine, times):
        batcher = Batcher(engine)
        assert (await batcher.submit(request())).text == "hello"
        assert len(times) == 3
        assert batcher.traffic.retried == 2


@pytest.mark.parametrize(
    ("bad", "tries", "match"),
    [
        (answered(b"busy", "503 Service Unavailable"), 4, r"503: busy \(asked 4 times"),
        (answered(b"broken", "500 Internal Server Error"), 3, r"500: broken \(asked 3 times"),
        (answered(b'{"choices'), 3, r"answered no JSON.*asked 3 times"),
        (answered(b"x", length=100), 3, r"broke off its answer.*asked 3 times"),
        (answered(b"who are you", "401 Unauthorized"), 1, "401: who are you"),
    ],
    ids=["503", "500", "json", "cut", "401"],
)
async def test_a_server_that_stays_bad_is_given_up(
    bad: bytes, tries: int, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with away(monkeypatch, 0.01, 0.02, 0.03), raw(bad) as (engine, times):
        with pytest.raises(ModelError, match=match):
            await Batcher(engine).submit(request())
        assert len(times) == tries


async def test_a_server_is_left_alone_for_as_long_as_it_asks() -> None:
    busy = answered(b"later", "429 Too Many Requests", "Retry-After: 1")
    async with raw(busy, GOOD) as (engine, times):
        assert (await Batcher(engine).submit(request())).text == "hello"
    assert times[1] - times[0] >= 1.0


async def test_a_date_to_retry_at_is_of_the_server_s_own_clock() -> None:
    # Whatever this machine's clock says.
    then = "Thu, 01 Jan 1998 00:00:{:02} GMT"
    dates = (f"Date: {then.format(7)}", f"Retry-After: {then.format(8)}")
    async with raw(answered(b"", "503 Unavailable", *dates), GOOD) as (engine, times):
        assert (await Batcher(engine).submit(request())).text == "hello"
    assert times[1] - times[0] >= 1.0


@pytest.mark.parametrize("after", ["3600", "1e400", "nan", "-5", "soon", "\u00b2"])
async def test_odd_times_to_retry_at(after: str, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = answered(b"later", "429 Too Many Requests", f"Retry-After: {after}")
    async with away(monkeypatch, 0.01), raw(busy) as (engine, times):
        with pytest.raises(ModelUnavailable, match="429: later"):
            await Batcher(engine).submit(request())
    # It is not waited for an hour.
    assert len(times) == (1 if after == "3600" else 2)


async def test_a_server_that_comes_back_is_found_again() -> None:
    # Without listening itself, it keeps the port from all others while no server has it.
    with socket.socket() as kept:
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        kept.bind(("127.0.0.1", 0))
        port = kept.getsockname()[1]
        first = web.AppRunner(app())
        await first.setup()
        await web.TCPSite(first, "127.0.0.1", port, reuse_port=True).start()
        engine = await HttpEngine.connect(f"http://127.0.0.1:{port}")
        batcher = Batcher(engine)
        assert (await batcher.submit(request("before"))).text == "hello"
        await first.cleanup()
        calls = [asyncio.create_task(batcher.submit(request(f"{n}"))) for n in range(5)]
        await until(lambda: batcher.traffic.retried >= 10)
        second = web.AppRunner(app())
        await second.setup()
        await web.TCPSite(second, "127.0.0.1", port, reuse_port=True).start()
        done = await asyncio.wait_for(asyncio.gather(*calls), 60)
    assert [one.text for one in done] == ["hello"] * 5
    await engine.close()
    await second.cleanup()


def app() -> web.Application:
    async def models(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "served"}]})

    async def complete(_: web.Request) -> web.Response:
        return web.json_response(completion("hello"))

    made = web.Application()
    made.router.add_get("/v1/models", models)
    made.router.add_post("/v1/chat/completions", complete)
    return made


async def test_a_server_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server() as (address, _):
        engine = await HttpEngine.connect(address)
    async with away(monkeypatch, 0.01, 0.02, 0.03):
        with pytest.raises(ModelUnavailable, match=rf"{address}.* is the server running.*4 times"):
            await Batcher(engine).submit(request())
    await engine.close()


def test_it_is_asked_again_for_a_minute_where_it_is_away() -> None:
    assert sum(retries._AWAY) >= 60
    assert sum(retries._FAILED) < 2


def patience(monkeypatch: pytest.MonkeyPatch, seconds: float, token: float = 0.0) -> None:
    monkeypatch.setattr(http_call, "_ANSWER_SECONDS", seconds)
    monkeypatch.setattr(http_call, "_TOKEN_SECONDS", token)


async def test_a_server_that_never_answers_has_a_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patience(monkeypatch, 0.3)

    async def reply(body: dict[str, Any]) -> web.Response:
        if "hang" in str(body):
            await asyncio.sleep(60)
        return web.json_response(completion("hello"))

    async with server(reply) as (address, bodies):
        engine = await HttpEngine.connect(address)
        batcher = Batcher(engine)
        hangs = asyncio.create_task(batcher.submit(request("hang")))
        await until(lambda: bodies)
        assert (await batcher.submit(request("hello"))).text == "hello"
        with pytest.raises(ModelError, match="has sent nothing for 0 s"):
            await asyncio.wait_for(hangs, 10)
        assert len([one for one in bodies if "hang" in str(one)]) == 1
        await engine.close()


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_a_server_that_takes_a_call_and_never_reads_it_has_one_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patience(monkeypatch, 0.3)
    # No buffer between the two holds it.
    huge = "x" * (32 << 20)
    async with raw(None) as (engine, _):
        with pytest.raises(ModelError, match="has sent nothing for 0 s"):
            await asyncio.wait_for(engine.generate(Request(prompt_of(engine, huge), 5)), 30)


async def test_a_call_waits_as_long_as_its_server_answers_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patience(monkeypatch, 1.0)
    others: list[str] = []

    async def reply(body: dict[str, Any]) -> web.Response:
        if "last" in str(body):
            await until(lambda: len(others) == 30)
        return web.json_response(completion("hello"))

    async with server(reply) as (address, _):
        engine = await HttpEngine.connect(address)
        last = asyncio.create_task(engine.generate(Request(prompt_of(engine, "last"), 5)))
        for _ in range(30):
            await asyncio.sleep(0.05)
            others.append((await engine.generate(Request(prompt_of(engine, "other"), 5))).text)
        assert (await last).text == "hello"
        await engine.close()


async def test_a_long_reply_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    patience(monkeypatch, 0.1, token=0.01)

    async def reply(_: dict[str, Any]) -> web.Response:
        await asyncio.sleep(0.6)
        return web.json_response(completion("hello"))

    async with server(reply) as (address, _):
        engine = await HttpEngine.connect(address)
        prompt = prompt_of(engine, "?")
        assert (await engine.generate(Request(prompt, 3000))).text == "hello"
        with pytest.raises(ModelError, match="has sent nothing"):
            await engine.generate(Request(prompt, 1))
        await engine.close()


def test_a_root_that_never_answers_ends_with_the_run_s_seconds(tmp_path: Path) -> None:
    async def hang(_: dict[str, Any]) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async def main() -> None:
        async with server(hang) as (address, _):
            rlm = RLM(root=address, runs=tmp_path / "runs", direct="always")
            try:
                done = await rlm.acompletion("text", "?", budget=Budget(seconds=1))
            finally:
                await asyncio.to_thread(rlm.close)
            assert (done.answer, done.complete) == ("", False)
            assert "1 s" in str(done.reason)
            assert done.seconds < 10

    asyncio.run(main())


async def test_a_server_that_never_stops_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_call, "_MOST_BYTES", 1 << 16)
    async with raw(answered(b"x" * (1 << 20))) as (engine, times):
        with pytest.raises(ModelError, match="sent more than"):
            await Batcher(engine).submit(request())
        assert len(times) == 1


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": -7},
        {"prompt_tokens": 1e300, "completion_tokens": float("inf")},
        {"prompt_tokens": "many", "completion_tokens": True},
        {"prompt_tokens": 1 << 80, "completion_tokens": None},
        {"prompt_tokens_details": {"cached_tokens": 1 << 20}},
        None,
    ],
)
async def test_numbers_no_server_should_give_cost_what_is_estimated(usage: Any) -> None:
    async with server(completion("hello") | {"usage": usage}) as (address, _):
        engine = await HttpEngine.connect(address)
        got = await engine.generate(Request(prompt_of(engine, "Who?"), 5))
        assert got.tokens_in == engine.length(prompt_of(engine, "Who?"))
        assert 0 <= got.tokens_cached <= got.tokens_in
        assert got.tokens_out == 2
        await engine.close()


async def test_halves_of_characters_are_replaced() -> None:
    body = json.dumps(completion("a\ud800b")).encode()
    async with raw(answered(body)) as (engine, _):
        assert (await engine.generate(Request(prompt_of(engine, "?"), 5))).text == "a?b"


async def test_content_that_is_no_text_is_no_chat_completion() -> None:
    parts: Any = [{"type": "text", "text": "x"}]
    async with server(completion(parts)) as (address, _):
        engine = await HttpEngine.connect(address)
        with pytest.raises(ModelError, match="no chat completion"):
            await engine.generate(Request(prompt_of(engine, "?"), 5))
        await engine.close()


@pytest.mark.parametrize("count", [{"counted": 3}, {"count": None}, ["count"], {"count": "x"}])
async def test_tokens_that_a_server_does_not_count_are_estimated(
    count: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def counted(*_: Any) -> Any:
        return count

    async with server() as (address, _):
        engine = await HttpEngine.connect(address)
        monkeypatch.setattr("outcore.models.http_engine.post", counted)
        assert await engine.count_tokens("123456") == 2
    monkeypatch.undo()
    # Nor is a server that has gone a reason to end a run before it has begun.
    assert await engine.count_tokens("123456") == 2
    await engine.close()
