"""Models that say what a test tells them to; nothing of outcore but their engine is replaced."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from outcore.engine.labels import ballot
from outcore.errors import PromptTooLong
from outcore.models.engine import (
    Asked,
    CacheStats,
    ChatPrompt,
    Engine,
    Generation,
    Message,
    Prompt,
    Request,
    TokenPrompt,
)
from outcore.models.http_engine import MessageDialogue

Reply = str | Exception | Callable[[Request], str]


def said(request: Request) -> str:
    """The messages of a request as one text."""
    assert isinstance(request.prompt, ChatPrompt)
    return "\n".join(message.content for message in request.prompt.messages)


def prompt_of(engine: Engine, question: str, text: str | None = None) -> Any:
    """The prompt of one question, as an engine makes it."""
    return engine.prompts([Asked(question, text)])[0]


async def choose(
    engine: Engine,
    request: Request,
    labels: tuple[str, ...],
    *,
    scores: bool,
    ask: Callable[[Request], Awaitable[Generation]],
) -> tuple[str, dict[str, float] | None]:
    """Hold a ballot among labels, asking its requests at once."""
    cast = ballot(engine, request, labels, scores=scores)
    return cast.decide(await asyncio.gather(*map(ask, cast.requests)))


def giving(answer: str) -> str:
    """Code that shows an answer and gives it, as a root does that has found it."""
    return f"print({answer!r})\ndone({answer!r})"


def words(text: str) -> int:
    return len(text.split())


@dataclass
class ScriptedEngine:
    """Answers requests with the replies it was given, in order; the last one repeats.

    Token counts are numbers of words.
    """

    replies: Iterable[Reply]
    name: str = "scripted"
    window: int = 32_768
    digest: str | None = None
    in_flight: int = 64
    capacity: int | None = None
    block: int = 16
    replicas: int = 1
    seconds: float = 0.0
    asked: list[Request] = field(default_factory=list)
    closed: bool = False

    def __post_init__(self) -> None:
        self._replies = list(self.replies)

    def dialogue(self, system: str) -> MessageDialogue:
        return MessageDialogue([Message("system", system)])

    def prompts(self, asked: Sequence[Asked]) -> list[Prompt]:
        return [self.question(one.question, one.text) for one in asked]

    def question(self, question: str, text: str | None) -> ChatPrompt:
        content = question if text is None else f"{text}\n\n{question}"
        return ChatPrompt((Message("system", "sub"), Message("user", content)))

    def label_tokens(self, labels: Sequence[str]) -> tuple[tuple[int, ...], ...] | None:
        return None

    def length(self, prompt: Prompt | Asked) -> int:
        if isinstance(prompt, TokenPrompt):
            return len(prompt)
        assert isinstance(prompt, ChatPrompt)
        return sum(words(message.content) for message in prompt.messages)

    async def count_tokens(self, text: str) -> int:
        return words(text)

    async def generate(self, request: Request) -> Generation:
        length = self.length(request.prompt)
        if length + request.max_tokens > self.window:
            room = self.window - request.max_tokens
            raise PromptTooLong(f"{length} words, room for {room}", tokens=length, room=room)
        self.asked.append(request)
        await asyncio.sleep(self.seconds)
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if isinstance(reply, Exception):
            raise reply
        text = reply if isinstance(reply, str) else reply(request)
        return Generation(text, (), "stop", length, length // 2, words(text))

    def cache_stats(self) -> CacheStats | None:
        return None

    async def close(self) -> None:
        self.closed = True


@dataclass
class Meeting(ScriptedEngine):
    """Answers when `together` requests are there, and remembers how many there were at once.

    Requests that are not `meant` are answered at once, and so is every one when some have waited
    for `patience` seconds.
    """

    together: int = 1
    meant: Callable[[Request], bool] = lambda _: True
    patience: float | None = None
    here: int = 0
    peak: int = 0
    met: asyncio.Event = field(default_factory=asyncio.Event)

    async def generate(self, request: Request) -> Generation:
        if not self.meant(request):
            return await super().generate(request)
        self.here += 1
        self.peak = max(self.peak, self.here)
        if self.here >= self.together:
            self.met.set()
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.met.wait(), self.patience)
            self.met.set()
            return await super().generate(request)
        finally:
            self.here -= 1
