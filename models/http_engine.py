"""A model that a running OpenAI-compatible server serves (vLLM's, llama.cpp's, SGLang's...)."""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp

from outcore.errors import ConfigError, ModelError, ModelUnavailable, PromptTooLong
from outcore.models.engine import CacheStats, ChatPrompt, Finish, Generation, Message
from outcore.models.http_forms import chosen, held_to
from outcore.models.prompts import SUB_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from outcore.models.engine import Asked, Prompt, Request

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 1800.0
_IN_FLIGHT = 256
# Where a server tells neither window nor token counts.
_WINDOW_GUESS = 32_768
_BYTES_PER_TOKEN = 3
# What a server says while it is overloaded or starts again.
_PASSING = (429, 500, 502, 503, 504)
# Servers word it each in their own way.
_TOO_LONG = re.compile(r"context.{0,20}(length|size|window)", re.IGNORECASE)


class HttpEngine:
    """An engine behind an address.

    Attributes:
        name: the served model's name.
        window: what the server says, else 32,768 tokens.
        digest: None: what serves there may change from one day to the next.
        in_flight: 256.
        capacity: None, a server does not tell.
        block: of vLLM on a GPU.
        replicas: one; what stands behind the address is the server's own affair.
    """

    digest: str | None = None
    capacity: int | None = None
    block = 16
    replicas = 1

    def __init__(
        self, client: aiohttp.ClientSession, address: str, name: str, window: int, *, vllm: bool
    ) -> None:
        self.name = name
        self.window = window
        self.in_flight = _IN_FLIGHT
        self._client = client
        self._address = address
        self._vllm = vllm

    @classmethod
    async def connect(cls, address: str) -> HttpEngine:
        """Ask the server at `address` (`http://host:port` or `.../v1`) what it serves.

        `address` may end in `#model` where the server has more than one.

        Raises:
            ConfigError: the model named is not served there.
            ModelError: nothing answers there, or not as an OpenAI-compatible server.
        """
        base, _, wanted = address.partition("#")
        base = base.rstrip("/")
        base = base if base.endswith("/v1") else base + "/v1"
        client = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=_CONNECT_SECONDS, sock_read=_ANSWER_SECONDS
            ),
            connector=aiohttp.TCPConnector(limit=_IN_FLIGHT),
            # An on-prem server is reached directly, never through a proxy of the environment.
            trust_env=False,
            headers=_authorization(),
        )
        try:
            models = await _models(client, base)
            names = [str(model["id"]) for model in models]
            if not names or (wanted and wanted not in names):
                raise ConfigError(
                    f"{base} serves {', '.join(names) or 'no model'}, not {wanted or 'any'}"
                )
            model = models[names.index(wanted)] if wanted else models[0]
            window = int(model.get("max_model_len") or _WINDOW_GUESS)
            vllm = model.get("owned_by") == "vllm"
            return cls(client, base, str(model["id"]), window, vllm=vllm)
        except BaseException:
            await client.close()
            raise

    def dialogue(self, system: str) -> MessageDialogue:
        """A new chat that begins with a system message."""
        return MessageDialogue([Message("system", system)])

    def prompts(self, asked: Sequence[Asked]) -> list[Prompt]:
        """Make prompts of questions, the text first."""
        return [_chat(one) for one in asked]

    def label_tokens(self, labels: Sequence[str]) -> None:
        """None: not all servers score tokens, and few tell their ids."""

    def length(self, prompt: Prompt) -> int:
        """An estimate: a third of the bytes of its messages."""
        return _estimate("".join(message.content for message in _messages(prompt)))

    async def count_tokens(self, text: str) -> int:
        """Length of a text: vLLM servers count it, for others it is estimated."""
        if not self._vllm:
            return _estimate(text)
        root = self._address.removesuffix("/v1")
        answer = await self._post(
            f"{root}/tokenize",
            {"model": self.name, "prompt": text, "add_special_tokens": False},
        )
        return int(answer["count"])

    async def generate(self, request: Request) -> Generation:
        """Answer one request. Cancelling it closes its connection.

        Raises:
            PromptTooLong: the prompt can't fit, by estimate or by the server's word.
            ModelError: the server is gone, refused, or answered something else.
        """
        messages = _messages(request.prompt)
        body: dict[str, Any] = {
            "model": self.name,
            "messages": [{"role": m.role, "content": m.content} for m in messages],
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.seed is not None:
            body["seed"] = request.seed
        if request.stop:
            body["stop"] = list(request.stop)
        if messages[-1].role == "assistant":
            # Understood by vLLM and SGLang; a server that ignores it starts a new reply.
            body["add_generation_prompt"] = False
            body["continue_final_message"] = True
        if self._vllm:
            body["priority"] = int(request.priority)
        if request.shape:
            body |= held_to(request.shape, request.max_tokens, vllm=self._vllm)
        answer = await self._post(f"{self._address}/chat/completions", body)
        try:
            choice = answer["choices"][0]
            usage = answer.get("usage") or {}
            details = usage.get("prompt_tokens_details") or {}
            text = choice["message"].get("content") or ""
            if request.shape and request.shape.choices:
                text = chosen(text, request.shape.choices)
            finish: Finish = "length" if choice.get("finish_reason") == "length" else "stop"
            tokens_in = int(usage.get("prompt_tokens") or self.length(ChatPrompt(messages)))
            return Generation(
                text=text,
                ids=(),
                finish=finish,
                tokens_in=tokens_in,
                tokens_cached=int(details.get("cached_tokens") or 0),
                tokens_out=int(usage.get("completion_tokens") or _estimate(text)),
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{self._address} answered something that is no chat completion: {answer!r:.300}"
            ) from error

    def cache_stats(self) -> CacheStats | None:
        """None: a server's counters also hold what others asked of it."""
        return None

    async def close(self) -> None:
        """Close the connections; the server runs on."""
        await self._client.close()

    async def _post(self, url: str, body: dict[str, Any]) -> Any:
        try:
            async with self._client.post(url, json=body) as response:
                said = await response.read()
        except aiohttp.SocketTimeoutError as error:
            raise ModelError(
                f"{url} has sent nothing for {_ANSWER_SECONDS:,.0f} s; is the server at work?"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ModelUnavailable(
                f"{url} does not answer ({type(error).__name__}: {error}); is the server running?"
            ) from error
        if response.status != HTTPStatus.OK:
            self._refused(url, response.status, said.decode(errors="replace")[:500])
        try:
            return json.loads(said)
        except ValueError as error:
            raise ModelError(
                f"{url} answered no JSON: {said.decode(errors='replace'):.200}"
            ) from error

    def _refused(self, url: str, status: int, said: str) -> None:
        if status == HTTPStatus.BAD_REQUEST and _TOO_LONG.search(said):
            raise PromptTooLong(
                f"{self.name} at {url}: {said}; send a smaller slice", tokens=0, room=self.window
            )
        kind = ModelUnavailable if status in _PASSING else ModelError
        raise kind(f"{url} refused the request with {status}: {said}")


@dataclass(slots=True)
class MessageDialogue:
    """A chat as a growing list of messages."""

    messages: list[Message]
    opening: str = field(default="")

    def ask(self, text: str, opening: str = "") -> ChatPrompt:
        """Add a user message; the reply will begin with `opening`."""
        self.messages.append(Message("user", text))
        self.opening = opening
        begun = (Message("assistant", opening),) if opening else ()
        return ChatPrompt((*self.messages, *begun))

    def reply(self, generation: Generation) -> None:
        """Add what the model wrote."""
        self.reply_text(generation.text)

    def reply_text(self, text: str) -> None:
        """Add a reply that the model did not write; `text` follows the opening."""
        self.messages.append(Message("assistant", self.opening + text))

    def fork(self) -> MessageDialogue:
        """A copy that can go on apart from this one."""
        return MessageDialogue(list(self.messages), self.opening)

    @property
    def tokens(self) -> int:
        """Length so far, estimated."""
        return sum(_estimate(message.content) for message in self.messages)


def _chat(asked: Asked) -> ChatPrompt:
    content = asked.question if asked.text is None else f"{asked.text}\n\n{asked.question}"
    return ChatPrompt((Message("system", SUB_SYSTEM), Message("user", content)))


def _estimate(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


def _messages(prompt: Prompt | Asked) -> tuple[Message, ...]:
    if not isinstance(prompt, ChatPrompt):
        raise ConfigError("a server takes chat prompts; make them with the engine's own methods")
    return prompt.messages


def _authorization() -> dict[str, str]:
    key = os.environ.get("OUTCORE_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


async def _models(client: aiohttp.ClientSession, base: str) -> list[dict[str, Any]]:
    try:
        async with asyncio.timeout(2 * _CONNECT_SECONDS), client.get(f"{base}/models") as response:
            if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise ConfigError(f"{base} wants an API key; put it into OUTCORE_API_KEY")
            response.raise_for_status()
            return list(json.loads(await response.read())["data"])
    except aiohttp.InvalidURL as error:
        raise ConfigError(f"{base} is no address: {error}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ModelError(
            f"nothing serves models at {base} ({type(error).__name__}: {error}); check the address "
            "and that the server has started"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{base}/models is no list of models; is this the right address?"
        ) from error
