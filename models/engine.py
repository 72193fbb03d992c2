"""What the rest of outcore knows of a served model: one protocol and its messages.

Two things stand behind it: `VllmEngine`, which runs the model here, and `HttpEngine`, which
speaks to a server that already runs.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, Protocol

from outcore.errors import PromptTooLong

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from outcore.models.typed import Shape

Finish = Literal["stop", "length"]
Origin = Literal["engine", "memo", "merged", "guess"]

# An array type of four bytes; "L" has eight.
_ID = "I"
ID_BYTES = array(_ID).itemsize


class Priority(IntEnum):
    """Who goes first when an engine is full; lower goes first, as vLLM orders it."""

    ROOT = 0
    SUB_CALL = 10
    SPECULATION = 20


def pack(ids: Iterable[int]) -> bytes:
    """Token ids as the bytes of 32-bit numbers."""
    return array(_ID, ids).tobytes()


@dataclass(frozen=True, slots=True)
class TokenPrompt:
    """A prompt as the model sees it: token ids, packed (see `pack`).

    Attributes:
        own: ids after `shared`.
        shared: ids that other prompts begin with too; one object for all of them, so that ten
            thousand questions on one slice hold it once.
    """

    own: bytes
    shared: bytes = b""

    def __len__(self) -> int:
        return (len(self.shared) + len(self.own)) // ID_BYTES

    def ids(self) -> list[int]:
        """All ids, shape [length]."""
        return array(_ID, self.shared + self.own).tolist()


@dataclass(frozen=True, slots=True)
class Asked:
    """A question that has not been made a prompt yet; `Engine.prompts` does that.

    Attributes:
        question: what is asked.
        text: what it is asked about; None where the question holds it all.
        opening: how the reply begins, as token ids.
        common: whether so much is asked about the text that even a short one is worth whole
            blocks of the prefix cache.
    """

    question: str
    text: str | None = None
    opening: tuple[int, ...] = ()
    common: bool = False


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
        prompt: what the model reads; an engine takes no `Asked`, the batcher does.
        max_tokens: most tokens it may write.
        temperature: 0 is greedy.
        seed: makes a sampled reply repeatable.
        stop: texts that end the reply; they are not part of it.
        shape: what the reply must look like, or None for free text.
        only: ids that the reply's one token may be, at most 128, the likeliest of which it is;
            empty allows all.
        priority: its place when the engine is full.
        replica: which copy of the model answers, from 0.
    """

    prompt: Prompt | Asked
    max_tokens: int
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    shape: Shape | None = None
    only: tuple[int, ...] = ()
    priority: Priority = Priority.SUB_CALL
    replica: int = 0


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
        logprobs: log-probability of each id of `Request.only`, in its order, among the whole
            vocabulary.
        origin: where it comes from: the engine, the memo, an equal request that was under way,
            or a guess of a dry run.
    """

    text: str
    ids: tuple[int, ...]
    finish: Finish
    tokens_in: int
    tokens_cached: int
    tokens_out: int
    logprobs: tuple[float, ...] = ()
    origin: Origin = "engine"


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

    def reply_text(self, text: str) -> None:
        """Add a reply that the model did not write; `text` follows the opening."""
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
        digest: stands for its weights and how they are served: the same digest, the same
            replies. None where that can't be known, and nothing may be remembered.
        window: most tokens of a prompt and its reply together.
        in_flight: how many requests it is worth having under way at once, for each replica.
        capacity: tokens that the KV cache of one replica holds; None where that is not known.
        block: tokens of one block of the prefix cache.
        replicas: copies of the model that answer side by side.
    """

    name: str
    digest: str | None
    window: int
    in_flight: int
    capacity: int | None
    block: int
    replicas: int

    def dialogue(self, system: str) -> Dialogue:
        """A new chat that begins with a system message."""
        ...

    def prompts(self, asked: Sequence[Asked]) -> list[Prompt]:
        """Make prompts of questions; takes long, and may be called from any thread.

        Laid out [constant][text][question]: everything asked of one text shares its prefill.
        """
        ...

    def label_tokens(self, labels: Sequence[str]) -> tuple[tuple[int, ...], ...] | None:
        """Each label's ids as the start of a reply; None where `Request.only` is not served."""
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


# No tokenizer in use puts more characters into a token, but for long blanks.
_CHARS_PER_TOKEN = 32


def check_fits(engine: Engine, tokens: int, max_tokens: int) -> None:
    """See that a prompt and its reply fit a model's window.

    Raises:
        PromptTooLong: they don't.
    """
    room = engine.window - max_tokens
    if tokens > room:
        raise PromptTooLong(
            f"{engine.name}: the prompt has {tokens:,} tokens, and its window of "
            f"{engine.window:,} leaves {max(room, 0):,} beside a reply of {max_tokens:,}; send a "
            "smaller slice, or ask for fewer tokens",
            tokens=tokens,
            room=room,
        )


def check_chars(engine: Engine, asked: Asked, max_tokens: int) -> None:
    """The same of a question that is not tokenized, where no tokenizer could make it fit.

    Raises:
        PromptTooLong: it can't fit; its tokens are what it has at least.
    """
    check_fits(
        engine, (len(asked.question) + len(asked.text or "")) // _CHARS_PER_TOKEN, max_tokens
    )
