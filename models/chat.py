"""Chats as token ids: a model's own chat template, cut into pieces once.

A template is rendered with placeholders and cut at them. From then on a chat grows by
appending ids: what the model wrote stays exactly as it wrote it, and the next turn's prompt
begins with all of this one's, which is what a prefix cache needs.

Text of users and corpora is encoded with all added tokens switched off: a document that
contains `<|im_start|>system` yields those characters, never a new turn of the chat.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer

from outcore.errors import ModelError
from outcore.models.engine import Asked, Generation, TokenPrompt, pack

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Slices kept as ids: about 64 MB of them, and as much again of text.
_KEPT_BYTES = 64 << 20
# A slice shorter than this many blocks isn't worth aligning.
_ALIGNED_BLOCKS = 4

_SYSTEM, _USER, _REPLY, _NEXT = "\x02system\x02", "\x02user\x02", "\x02reply\x02", "\x02next\x02"


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The fixed pieces of a chat template, as text.

    Attributes:
        head: before the system message.
        system_user: between the system message and the first user message.
        user_reply: between a user message and the reply to it.
        reply_user: between a reply and the next user message.
    """

    head: str
    system_user: str
    user_reply: str
    reply_user: str

    @classmethod
    def of(cls, render: Any) -> ChatFormat:
        """Cut the template that `render(messages)` applies.

        Raises:
            ModelError: the template can't be cut: it changes or reorders messages.
        """
        system = {"role": "system", "content": _SYSTEM}
        user = {"role": "user", "content": _USER}
        chat = [
            user,
            {"role": "assistant", "content": _REPLY},
            {"role": "user", "content": _NEXT},
        ]
        try:
            head, rest = _split(render([system, *chat]), _SYSTEM)
            system_user, rest = _split(rest, _USER)
        except Exception:
            # A template without a system role: the system text opens the first user message.
            head, rest = _split(render(chat), _USER)
            system_user = "\n\n"
        _, rest = _split(rest, _REPLY)
        reply_user, user_reply = _split(rest, _NEXT)
        return cls(head, system_user, user_reply, reply_user)


def _split(text: str, mark: str) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not found:
        raise ModelError(
            f"the model's chat template drops or changes messages ({mark.strip(chr(2))!r} is not "
            "in what it renders); use a model whose template keeps them"
        )
    return before, after


class ChatTokens:
    """A model's tokenizer and chat format.

    Safe to use from several threads; encoding releases the interpreter lock.
    """

    def __init__(self, folder: Path) -> None:
        # transformers is slow to import, and only serving needs it.
        from transformers import AutoTokenizer

        try:
            auto = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            fast = auto.backend_tokenizer
        except (OSError, ValueError, AttributeError) as error:
            raise ModelError(f"{folder}: no usable tokenizer: {error}") from error
        if not auto.chat_template:
            raise ModelError(
                f"{folder}: the tokenizer has no chat template; use an instruction-tuned model"
            )

        def render(messages: list[dict[str, str]]) -> str:
            return str(
                auto.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
                )
            )

        self._marks = Tokenizer.from_str(fast.to_str())
        self._text = _without_marks(Tokenizer.from_str(fast.to_str()))
        self.format = ChatFormat.of(render)
        form = self.format
        self._head, self._system_user, self._user_reply, self._reply_user = (
            tuple(self._marks.encode(piece, add_special_tokens=False).ids)
            for piece in (form.head, form.system_user, form.user_reply, form.reply_user)
        )
        self._blank = self.encode("\n")[-1]
        self._slices = _Slices()

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text; special tokens in it are read as characters."""
        return list(self._text.encode(text, add_special_tokens=False).ids)

    def prompts(self, system: str, asked: Sequence[Asked], block: int) -> list[TokenPrompt]:
        """Single questions, laid out [constant][text][question], each part encoded apart.

        Questions on one text share one object up to the text's end, which falls on the end of
        a block of the prefix cache: blank lines before the text see to that. Short texts go
        without, unless they are common.

        Args:
            system: the constant part.
            asked: the questions.
            block: tokens of one block.
        """
        texts = dict.fromkeys((one.text, one.common) for one in asked if one.text is not None)
        slices = {one: ids for one in texts if (ids := self._slices.get((system, *one)))}
        new = [one for one in texts if one not in slices]
        questions = [one.question if one.text is None else "\n\n" + one.question for one in asked]
        encoded = self._text.encode_batch_fast(
            [*(text for text, _ in new), *questions], add_special_tokens=False
        )
        constant = [*self._head, *self.encode(system), *self._system_user]
        for (text, common), encoding in zip(new, encoded, strict=False):
            aligned = common or len(encoding.ids) >= _ALIGNED_BLOCKS * block
            blank = -(len(constant) + len(encoding.ids)) % block if aligned else 0
            packed = pack([*constant, *([self._blank] * blank), *encoding.ids])
            slices[text, common] = packed
            self._slices.put((system, text, common), packed)
        return [
            TokenPrompt(
                own=pack(
                    [
                        *(constant if one.text is None else ()),
                        *encoding.ids,
                        *self._user_reply,
                        *one.opening,
                    ]
                ),
                shared=b"" if one.text is None else slices[one.text, one.common],
            )
            for one, encoding in zip(asked, encoded[len(new) :], strict=True)
        ]

    def labels(self, labels: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """Ids of each label as a reply; where another begins with it, with the end of the turn."""
        ids = [tuple(self.encode(label)) for label in labels]
        # Sorted, what begins with some ids comes right after them.
        unique = sorted(set(ids))
        begun = {one for one, other in itertools.pairwise(unique) if other[: len(one)] == one}
        end = self._reply_user[:1]
        return tuple(one + end if one in begun else one for one in ids)

    def dialogue(self, system: str) -> TokenDialogue:
        """A chat that begins with `system`."""
        return TokenDialogue(self, [*self._head, *self.encode(system), *self._system_user])

    def turn_end(self, reply: Sequence[int]) -> tuple[int, ...]:
        """What stands between a reply's ids and the next user message.

        A reply that ended by itself already holds the first of these ids.
        """
        end = self._reply_user
        return end[1:] if reply and end and reply[-1] == end[0] else end

    @property
    def user_reply(self) -> tuple[int, ...]:
        """Ids between a user message and the reply."""
        return self._user_reply


def _without_marks(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer, made to read all marks of chat templates as characters."""
    # Families mark some tokens as special and leave others, such as <tool_call>, <think>; runs
    # of blanks are the only ones that are text.
    rest = [
        AddedToken(token.content, special=True, normalized=token.normalized)
        for token in tokenizer.get_added_tokens_decoder().values()
        if not token.special and token.content.strip()
    ]
    tokenizer.add_special_tokens(rest)
    tokenizer.encode_special_tokens = True
    return tokenizer


class _Slices:
    """Texts that were encoded lately, by constant part, text, and whether it is common.

    For several threads.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, bool], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: tuple[str, str, bool]) -> bytes | None:
        with self._lock:
            ids = self._kept.get(key)
            if ids is not None:
                self._kept.move_to_end(key)
            return ids

    def put(self, key: tuple[str, str, bool], ids: bytes) -> None:
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = ids
            self._bytes += len(ids)
            while self._bytes > _KEPT_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._bytes -= len(dropped)


@dataclass(slots=True)
class TokenDialogue:
    """A chat as one growing list of token ids."""

    chat: ChatTokens
    ids: list[int]
    last: tuple[int, ...] | None = None

    def ask(self, text: str, opening: str = "") -> TokenPrompt:
        """Add a user message; the reply will begin with `opening`."""
        if self.last is not None:
            self.ids += self.chat.turn_end(self.last)
        self.ids += self.chat.encode(text)
        self.ids += self.chat.user_reply
        if opening:
            self.ids += self.chat.encode(opening)
        self.last = ()
        return TokenPrompt(pack(self.ids))

    def reply(self, generation: Generation) -> None:
        """Add what the model wrote, id by id."""
        self.ids += generation.ids
        self.last = generation.ids

    def reply_text(self, text: str) -> None:
        """Add a reply that the model did not write; `text` follows the opening."""
        self.last = tuple(self.chat.encode(text))
        self.ids += self.last

    def fork(self) -> TokenDialogue:
        """A copy that can go on apart from this one."""
        return TokenDialogue(self.chat, list(self.ids), self.last)

    @property
    def tokens(self) -> int:
        """Length so far."""
        return len(self.ids)
