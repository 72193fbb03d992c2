"""A model that a running OpenAI-compatible server serves (vLLM's, llama.cpp's, SGLang's...)."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from outcore.errors import ConfigError, ModelError, PromptTooLong
from outcore.models.engine import CacheStats, ChatPrompt, Finish, Generation, Message
from outcore.models.http_call import Heard, client, models, post
from outcore.models.http_forms import chosen, held_to
from outcore.models.prompts import SUB_SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence

    import aiohttp

    from outcore.models.engine import Asked, Prompt, Request

_IN_FLIGHT = 256
# Where a server tells neither window nor token counts.
_WINDOW_GUESS = 32_768
_BYTES_PER_TOKEN = 3
# More is no true count.
_MOST_TOKENS = 1 << 31


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
        self._heard = Heard()

    @classmethod
    async def connect(cls, address: str, key: str | None = None) -> HttpEngine:
        """Ask the server at `address` (`http://host:port` or `.../v1`) what it serves.

        `address` may end in `#model` where the server has more than one; `key` is sent to it.

        Raises:
            ConfigError: the model named is not served there.
            ModelError: nothing answers there, or not as an OpenAI-compatible server.
        """
        base, _, wanted = address.partition("#")
        base = base.rstrip("/")
        base = base if base.endswith("/v1") else base + "/v1"
        session = client(_IN_FLIGHT, key)
        try:
            listed = await models(session, base)
            names = [model["id"] for model in listed]
            if not names or (wanted and wanted not in names):
                raise ConfigError(
                    f"{base} serves {', '.join(names) or 'no model'}, not {wanted or 'any'}"
                )
            model = listed[names.index(wanted)] if wanted else listed[0]
            vllm = model.get("owned_by") == "vllm"
            window = _count(model.get("max_model_len")) or _WINDOW_GUESS
            return cls(session, base, model["id"], window, vllm=vllm)
        except BaseException:
            await session.close()
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
        if self._vllm:
            root = self._address.removesuffix("/v1")
            body = {"model": self.name, "prompt": text, "add_special_tokens": False}
            # It is told as a size, and an estimate is better than no answer.
            with contextlib.suppress(ModelError, KeyError, TypeError, ValueError, OverflowError):
                return int(
                    (await post(self._client, f"{root}/tokenize", body, self._heard))["count"]
                )
        return _estimate(text)

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
        try:
            url = f"{self._address}/chat/completions"
            answer = await post(self._client, url, body, self._heard, request.max_tokens)
        except PromptTooLong as error:
            raise PromptTooLong(f"{self.name}: {error}", tokens=0, room=self.window) from error
        try:
            return self._read(answer, request)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(
                f"{self._address} answered something that is no chat completion: {answer!r:.300}"
            ) from error

    def _read(self, answer: Any, request: Request) -> Generation:
        choice = answer["choices"][0]
        text = choice["message"].get("content") or ""
        if not isinstance(text, str):
            raise TypeError("the content is no text")
        # Halves of characters, which JSON can hold, can't be printed or sent on.
        text = text.encode("utf-8", "replace").decode()
        if request.shape and request.shape.choices:
            text = chosen(text, request.shape.choices)
        usage = answer.get("usage") or {}
        details = usage.get("prompt_tokens_details") or {}
        finish: Finish = "length" if choice.get("finish_reason") == "length" else "stop"
        tokens_in = _count(usage.get("prompt_tokens")) or self.length(
            ChatPrompt(_messages(request.prompt))
        )
        return Generation(
            text=text,
            ids=(),
            finish=finish,
            tokens_in=tokens_in,
            tokens_cached=min(tokens_in, _count(details.get("cached_tokens"))),
            tokens_out=_count(usage.get("completion_tokens")) or _estimate(text),
        )

    def cache_stats(self) -> CacheStats | None:
        """None: a server's counters also hold what others asked of it."""
        return None

    async def close(self) -> None:
        """Close the connections; the server runs on."""
        await self._client.close()


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


def _count(value: Any) -> int:
    """A number of tokens as a server tells it; 0 where it is none."""
    return value if type(value) is int and 0 < value < _MOST_TOKENS else 0
