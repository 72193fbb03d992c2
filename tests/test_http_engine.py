"""The adapter for running servers, against real HTTP servers on this machine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from scripted import prompt_of

from outcore.errors import BadReply, ConfigError, ModelError, PromptTooLong
from outcore.models.engine import Request
from outcore.models.http_engine import HttpEngine
from outcore.models.progress import SILENT
from outcore.models.serve import serve
from outcore.models.typed import Shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Reply = Callable[[dict[str, Any]], Awaitable[web.Response]]


def completion(text: str | None, finish: str = "stop") -> dict[str, Any]:
    return {
        "choices": [{"message": {"content": text}, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 8},
        },
    }


@asynccontextmanager
async def server(
    reply: Any = None, *, models: Any = None, owner: str = "vllm"
) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
    """An OpenAI-compatible server; gives its address and the bodies it was sent."""
    bodies: list[dict[str, Any]] = []

    async def list_models(_: web.Request) -> web.Response:
        listed = [{"id": "served", "max_model_len": 4096, "owned_by": owner}]
        return web.json_response({"data": listed if models is None else models})

    async def complete(request: web.Request) -> web.Response:
        bodies.append(await request.json())
        result = reply(bodies[-1]) if callable(reply) else reply
        if asyncio.iscoroutine(result):
            result = await result
        if isinstance(result, web.Response):
            return result
        return web.json_response(completion("hello") if result is None else result)

    async def tokenize(request: web.Request) -> web.Response:
        return web.json_response({"count": len((await request.json())["prompt"].split())})

    app = web.Application()
    app.router.add_get("/v1/models", list_models)
    app.router.add_post("/v1/chat/completions", complete)
    app.router.add_post("/tokenize", tokenize)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", bodies
    finally:
        await runner.cleanup()


async def test_answers_and_counts() -> None:
    async with server() as (address, bodies):
        engine = await HttpEngine.connect(address)
        assert (engine.name, engine.window) == ("served", 4096)
        got = await engine.generate(Request(prompt_of(engine, "Who?", "Ann."), 20, stop=("\n```",)))
        assert (got.text, got.tokens_in, got.tokens_cached, got.tokens_out) == ("hello", 12, 8, 3)
        assert bodies[0]["messages"][-1] == {"role": "user", "content": "Ann.\n\nWho?"}
        assert bodies[0]["stop"] == ["\n```"]
        assert await engine.count_tokens("three short words") == 3
        await engine.close()


async def test_dialogue_grows_and_starts_the_reply() -> None:
    async with server() as (address, bodies):
        engine = await HttpEngine.connect(address)
        dialogue = engine.dialogue("system")
        first = await engine.generate(Request(dialogue.ask("one", "```python\n"), 20))
        dialogue.reply(first)
        await engine.generate(Request(dialogue.ask("two"), 20))
        assert bodies[0]["messages"][-1] == {"role": "assistant", "content": "```python\n"}
        assert bodies[0]["continue_final_message"] is True
        roles = [message["role"] for message in bodies[1]["messages"]]
        assert roles == ["system", "user", "assistant", "user"]
        assert bodies[1]["messages"][2]["content"] == "```python\nhello"
        await engine.close()


async def test_typed_requests() -> None:
    async with server() as (address, bodies):
        engine = await HttpEngine.connect(address)
        prompt = prompt_of(engine, "?")
        await engine.generate(Request(prompt, 5, shape=Shape.of({"type": "object"}, None)))
        await engine.generate(Request(prompt, 5, shape=Shape.of(None, ["a", "b"])))
        assert bodies[0]["response_format"]["json_schema"]["schema"] == {"type": "object"}
        assert bodies[1]["structured_outputs"] == {"regex": "(a|b)"}
        await engine.close()


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ('{"answer": "B c"}', "B c"),
        ("b C.", "B c"),
        ('"a"', "a"),
        ("maybe", "maybe"),
        ('{"answer": "maybe"}', '{"answer": "maybe"}'),
        ("[1]", "[1]"),
    ],
)
async def test_choices_of_a_server_that_only_knows_schemas(said: str, read: str) -> None:
    async with server(completion(said), owner="someone") as (address, bodies):
        engine = await HttpEngine.connect(address)
        prompt = prompt_of(engine, "?")
        shape = Shape.of(None, ["a", "B c"])
        got = await engine.generate(Request(prompt, 5, shape=shape))
        schema = bodies[0]["response_format"]["json_schema"]["schema"]
        assert schema["properties"]["answer"]["enum"] == ["a", "B c"]
        assert bodies[0]["max_tokens"] > 5
        assert got.text == read
        assert engine.label_tokens(["a", "b"]) is None  # type: ignore[func-returns-value]
        await engine.close()


@pytest.mark.parametrize("said", ["NaN", "1e999", "-1e999", '"\\ud800"'])
def test_what_json_can_not_hold_is_no_typed_reply(said: str) -> None:
    with pytest.raises(BadReply, match="is no JSON"):
        Shape.of({"type": "number"}, None).read(f'{{"value": {said}}}', cut=False)  # type: ignore[union-attr]  # it is one


@pytest.mark.parametrize(
    "field", [{"type": "string", "required": True}, {"type": "integer", "minimum": "0"}]
)
def test_a_schema_that_is_none_is_told_so(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="schema= is no JSON schema"):
        Shape.of({"type": "object", "properties": {"n": field}}, None)


async def test_no_content_is_an_empty_reply() -> None:
    async with server(completion(None)) as (address, _):
        engine = await HttpEngine.connect(address)
        assert (await engine.generate(Request(prompt_of(engine, "?"), 5))).text == ""
        await engine.close()


@pytest.mark.parametrize(
    ("reply", "error", "match"),
    [
        ({"choices": []}, ModelError, "no chat completion"),
        (["x"], ModelError, "no chat completion"),
        (lambda _: web.Response(status=500, text="broken"), ModelError, "500: broken"),
        (lambda _: web.Response(text="<html>"), ModelError, "no JSON"),
        (
            lambda _: web.Response(status=400, text="maximum context length is 4096"),
            PromptTooLong,
            "smaller slice",
        ),
    ],
)
async def test_bad_answers_are_told(reply: Any, error: type[Exception], match: str) -> None:
    async with server(reply) as (address, _):
        engine = await HttpEngine.connect(address)
        with pytest.raises(error, match=match):
            await engine.generate(Request(prompt_of(engine, "?"), 5))
        await engine.close()


async def test_server_that_goes_away_is_an_error() -> None:
    async with server() as (address, _):
        engine = await HttpEngine.connect(address)
    with pytest.raises(ModelError, match="does not answer"):
        await engine.generate(Request(prompt_of(engine, "?"), 5))
    await engine.close()


async def test_nothing_listens_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing serves models at http://127"):
        await serve(
            "http://127.0.0.1:9",
            None,
            scratch=tmp_path,
            logs=tmp_path,
            progress=SILENT,
        )


async def test_port_in_use_by_something_else() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    other = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = other.sockets[0].getsockname()[1]
    async with other:
        with pytest.raises(ModelError, match="nothing serves models"):
            await HttpEngine.connect(f"http://127.0.0.1:{port}")


async def test_model_that_is_not_served() -> None:
    async with server() as (address, _):
        with pytest.raises(ConfigError, match="serves served, not other"):
            await HttpEngine.connect(f"{address}#other")
    async with server(models=[]) as (address, _):
        with pytest.raises(ConfigError, match="serves no model"):
            await HttpEngine.connect(address)


async def test_cancelling_closes_the_request() -> None:
    gone = asyncio.Event()

    async def slow(_: dict[str, Any]) -> web.Response:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            gone.set()
            raise
        return web.Response()

    async with server(slow) as (address, bodies):
        engine = await HttpEngine.connect(address)
        task = asyncio.create_task(engine.generate(Request(prompt_of(engine, "?"), 5)))
        while not bodies:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 60)
        await engine.close()
