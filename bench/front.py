"""An OpenAI-compatible front over the engines of a running `RLM`, for systems that need one.

It serves what rlms asks for: `/models` and `/chat/completions`, of the models `root` and `sub`.
Whoever asks under `/ask/NAME/v1` is counted under that name, so that the tokens of each question
are known whatever the client counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from outcore.engine.budget import Usage
from outcore.errors import OutcoreError, PromptTooLong
from outcore.models.engine import ChatPrompt, Message, Priority, Prompt, Request, TokenPrompt, pack
from outcore.models.http_engine import HttpEngine
from outcore.models.resolve import resolve
from outcore.models.weights import ensure

if TYPE_CHECKING:
    from systems import Models

    from outcore.engine.batching.batcher import Batcher

Render = Callable[[Sequence[Message]], Prompt]

# vLLM would let a reply without a limit fill the window.
_MOST_TOKENS = 2_048
_MOST_BYTES = 256 << 20


@dataclass(slots=True)
class Meter:
    """What one question has used, by model."""

    root: Usage = field(default_factory=Usage)
    sub: Usage = field(default_factory=Usage)


class Front:
    """The server; `address` holds once it has started.

    Args:
        models: the engines.
        render: makes a prompt of messages for `root` and for `sub`; None takes the models' own
            chat templates.
    """

    def __init__(self, models: Models, render: dict[str, Render] | None = None) -> None:
        self.address = ""
        self.meters: dict[str, Meter] = {}
        self._models = models
        self._render = render
        self._runner: web.AppRunner | None = None

    def start(self) -> None:
        """Serve on a free port of this machine alone."""
        if self._render is None:
            settings = self._models.rlm.settings
            self._render = {
                "root": template(self._models.root, settings.root),
                "sub": template(self._models.sub, settings.sub),
            }
        self._models.run(self._start())

    def close(self) -> None:
        """End it."""
        if self._runner is not None:
            self._models.run(self._runner.cleanup())
            self._runner = None

    async def _start(self) -> None:
        app = web.Application(client_max_size=_MOST_BYTES)
        app.router.add_get("/ask/{name}/v1/models", self._list)
        app.router.add_post("/ask/{name}/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _list(self, _: web.Request) -> web.Response:
        served = [
            {"id": role, "object": "model", "max_model_len": way.engine.window}
            for role, way in (("root", self._models.root), ("sub", self._models.sub))
        ]
        return web.json_response({"object": "list", "data": served})

    async def _complete(self, asked: web.Request) -> web.Response:
        body = await asked.json()
        meter = self.meters.setdefault(asked.match_info["name"], Meter())
        role = "root" if body.get("model") == "root" else "sub"
        way, usage = getattr(self._models, role), getattr(meter, role)
        try:
            messages = tuple(
                Message(one["role"], _text(one.get("content"))) for one in body["messages"]
            )
            return web.json_response(await self._generate(role, way, usage, messages, body))
        except PromptTooLong as error:
            return _refused(400, f"maximum context length exceeded: {error}")
        except OutcoreError as error:
            return _refused(500, str(error))

    async def _generate(
        self,
        role: str,
        way: Batcher,
        usage: Usage,
        messages: tuple[Message, ...],
        body: dict[str, Any],
    ) -> dict[str, Any]:
        assert self._render is not None
        prompt = await asyncio.to_thread(self._render[role], messages)
        length = way.engine.length(prompt)
        wanted = body.get("max_completion_tokens") or body.get("max_tokens") or _MOST_TOKENS
        room = way.engine.window - length
        if room < 1:
            raise PromptTooLong(
                f"the prompt has {length:,} tokens, the window {way.engine.window:,}",
                tokens=length,
                room=way.engine.window,
            )
        request = Request(
            prompt,
            min(int(wanted), room),
            priority=Priority.ROOT if role == "root" else Priority.SUB_CALL,
        )
        done = await way.submit(request, usage)
        usage.add(done)
        message = {"role": "assistant", "content": done.text}
        return {
            "id": "chatcmpl-front",
            "object": "chat.completion",
            "created": 0,
            "model": role,
            "choices": [{"index": 0, "message": message, "finish_reason": done.finish}],
            "usage": {
                "prompt_tokens": done.tokens_in,
                "completion_tokens": done.tokens_out,
                "total_tokens": done.tokens_in + done.tokens_out,
            },
        }


def template(way: Batcher, name: str | None) -> Render:
    """How a model's own chat template makes a prompt of messages."""
    if isinstance(way.engine, HttpEngine):
        return lambda messages: ChatPrompt(tuple(messages))
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        ensure(resolve(name or way.engine.name)), local_files_only=True
    )

    def render(messages: Sequence[Message]) -> TokenPrompt:
        told = [{"role": one.role, "content": one.content} for one in messages]
        text = tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
        return TokenPrompt(pack(tokenizer(text, add_special_tokens=False)["input_ids"]))

    return render


def _text(content: Any) -> str:
    """The content of a message, which may come in parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return content if isinstance(content, str) else ""


def _refused(status: int, message: str) -> web.Response:
    body = {"error": {"message": message, "type": "invalid_request_error", "code": status}}
    return web.json_response(body, status=status)
