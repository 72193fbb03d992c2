"""What the rest of outcore knows of a served model: one protocol and its messages.

Two things stand behind it: `VllmEngine`, which runs the model here, and `HttpEngine`, which
speaks to a server that already runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from outcore.models.typed import Shape

Finish = Literal["stop", "length"]


class Priority(IntEnum):
    """Who goes first when an engine is full; lower goes first, as vLLM orders it."""

    ROOT = 0
    SUB_CALL = 10
    SPECULATION = 20


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """A prompt as the model sees it: token ids, shape [length]."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat, for servers that take no token ids."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A prompt as messages. A last message of the assistant is the start of the reply."""

    messages: tuple[Message, ...]


Prompt = TokenPrompt | ChatPrompt


@dataclass(frozen=True, slots=True)
class Request:
    """One generation.

    Attributes:
        prompt: what the model reads.
        max_tokens: most tokens it may write.
        temperature: 0 is greedy.
        seed: makes a sampled reply repeatable.
        stop: texts that end the reply; they are not part of it.
        shape: what the reply must look like, or None for free text.
        priority: its place when the engine is full.
    """

    prompt: Prompt
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    shape: Shape | None = None
    priority: Priority = Priority.SUB_CALL


@dataclass(frozen=True, slots=True)
class Generation:
    """What came of a `Request`.

    Attributes:
        text: the reply.
        ids: its token ids, the end-of-turn token included; empty where a server gives none.
        finish: `length` when max_tokens cut it off.
        tokens_in: length of the prompt.
        tokens_cached: how much of the prompt the prefix cache held.
        tokens_out: length of the reply.
    """

    text: str
    ids: tuple[int, ...]
    finish: Finish
    tokens_in: int
    tokens_cached: int
    tokens_out: int


@dataclass(frozen=True, slots=True)
class CacheStats:
    """An engine's own counters of its prefix cache, in tokens since it started."""

    queried: int
    hit: int
    capacity: int


class Dialogue(Protocol):
    """A chat that only grows, so that each turn's prefill is its new part alone."""

    def ask(self, text: str, opening: str = "") -> Prompt:
        """Add a user message; the reply will begin with `opening`. Returns the prompt."""
        ...

    def reply(self, generation: Generation) -> None:
        """Add what the model wrote after the last `ask`."""
        ...

    def fork(self) -> Dialogue:
        """A copy that can go on apart from this one."""
        ...

    @property
    def tokens(self) -> int:
        """Length so far, in tokens (an estimate where the server has no tokenizer)."""
        ...


class Engine(Protocol):
    """A model that answers.

    Attributes:
        name: the model's name, for people.
        window: most tokens of a prompt and its reply together.
        in_flight: how many requests it is worth having under way at once.
    """

    name: str
    window: int
    in_flight: int

    def dialogue(self, system: str) -> Dialogue:
        """A new chat that begins with a system message."""
        ...

    def question(self, question: str, text: str | None) -> Prompt:
        """A single question about `text`, laid out [constant][text][question].

        Everything asked of one text shares its prefill.
        """
        ...

    def length(self, prompt: Prompt) -> int:
        """Length of a prompt in tokens; an estimate where the server has no tokenizer."""
        ...

    async def count_tokens(self, text: str) -> int:
        """Length of a text in tokens."""
        ...

    async def generate(self, request: Request) -> Generation:
        """Answer one request. Cancelling it takes it out of the engine.

        Raises:
            PromptTooLong: prompt and reply don't fit the window.
            ModelError: the engine died or refused.
        """
        ...

    def cache_stats(self) -> CacheStats | None:
        """Counters of the prefix cache, where the engine gives any."""
        ...

    async def close(self) -> None:
        """End the engine; nothing of it is left. Closing twice is fine."""
        ...
