"""What the root has said and seen, kept within its window.

The chat only grows, so that the prefix cache serves all of it but the new part. When the next
message does not fit any more, old outputs are folded to a line each, all at once: from the first
of them on the prompt is computed again one time, and it has room for many turns.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from outcore.engine.clip import clip
from outcore.engine.profile import fill
from outcore.errors import PromptTooLong

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from outcore.models.engine import Dialogue, Engine, Generation, Prompt

# Of the tokens that would be free with all old outputs folded, what a new one may take.
_SHARE = 0.5
# A new output may take this many tokens even where they are more than that.
_LEAST_TOKENS = 200
# A shorter output stays: folding it would free nothing.
_SHORT_CHARS = 200
_LINE_CHARS = 80
# How much smaller an output is cut than reckoned; its parts differ in tokens a character.
_TIGHTER = 0.95


@dataclass(frozen=True, slots=True)
class UserMessage:
    """A message to the root.

    Attributes:
        template: its text, with `$names`; `$output` stands for the output.
        values: what the other names stand for.
        output: what a cell printed.
    """

    template: str
    values: Mapping[str, object] = field(default_factory=dict)
    output: str = ""

    def text(self, output: str | None = None) -> str:
        """The message, with `output` in place of the output where one is given."""
        shown = self.output if output is None else output
        return fill(self.template, **self.values, output=shown)


@dataclass(frozen=True, slots=True)
class _Turn:
    """A message, as much of its output as is shown, and the reply when there is one."""

    message: UserMessage
    opening: str
    shown: str
    reply: Generation | str | None = None
    folded: bool = False

    @property
    def foldable(self) -> bool:
        return not self.folded and len(self.shown) > _SHORT_CHARS

    def fold(self) -> _Turn:
        output = self.message.output.strip()
        line = output.partition("\n")[0]
        if len(line) > _LINE_CHARS:
            line = line[:_LINE_CHARS] + "..."
        shown = f"(output of {len(output):,} characters, folded: {line})"
        return replace(self, shown=shown, folded=True)


@dataclass(slots=True)
class History:
    """The chat of one run with its root.

    Whatever is folded or cut, the system message, the first message and the root's own replies
    stay, and so do the ids before the first output that is folded.

    Attributes:
        engine: the root's engine.
        system: the system message.
        reply_tokens: room for a reply.
        last_tokens: room that is kept, beside this, for the last turn's reply.
        output_chars: most characters of an output that are shown.
        folded: numbers, from 1, of the messages whose outputs the last `ask` has folded.
        cut: characters that the last `ask` has cut its output to; None where it shows it whole.
    """

    engine: Engine
    system: str
    reply_tokens: int
    last_tokens: int
    output_chars: int
    folded: tuple[int, ...] = field(default=(), init=False)
    cut: int | None = field(default=None, init=False)
    _turns: list[_Turn] = field(default_factory=list, init=False)
    _dialogue: Dialogue = field(init=False)
    _reckoned: int = field(default=0, init=False)
    _scale: float = field(default=1.0, init=False)

    def __post_init__(self) -> None:
        self._dialogue = self.engine.dialogue(self.system)

    def ask(self, message: UserMessage, opening: str = "", *, last: bool = False) -> Prompt:
        """Add a message; the reply will begin with `opening`. Returns the prompt.

        The prompt leaves room in the root's window for a reply and the last turn's reply, or,
        where this is the `last` turn, for its reply alone.

        Raises:
            PromptTooLong: the message does not fit, even with all outputs folded; nothing was
                added.
        """
        room = self.engine.window - self.last_tokens - (0 if last else self.reply_tokens)
        turn = _Turn(message, opening, clip(message.output, self.output_chars))
        turn, turns, dialogue = self._fitted(turn, room)
        self.folded = tuple(
            number
            for number, (old, new) in enumerate(zip(self._turns, turns, strict=True), 1)
            if new.folded and not old.folded
        )
        self.cut = None if turn.shown == message.output else len(turn.shown)
        self._turns = [*turns, turn]
        self._dialogue = dialogue
        prompt = dialogue.ask(message.text(turn.shown), opening)
        self._reckoned = self.engine.length(prompt)
        return prompt

    def reply(self, generation: Generation, *, asked: History | None = None) -> None:
        """Add what the root wrote after the last `ask`.

        Args:
            generation: the reply.
            asked: the copy whose last `ask` it answers, where that is another.
        """
        self._turns[-1] = replace(self._turns[-1], reply=generation)
        self._dialogue.reply(generation)
        asked = asked or self
        self._scale = max(self._scale, asked._scale)
        if asked._reckoned:
            # A server without a tokenizer tells only now how long the prompt was.
            self._scale = max(self._scale, generation.tokens_in / asked._reckoned)

    def written(self, text: str) -> None:
        """Add a reply that the root did not write: `text` follows the opening."""
        self._turns[-1] = replace(self._turns[-1], reply=text)
        self._dialogue.reply_text(text)

    def fork(self) -> History:
        """A copy that can go on apart from this one."""
        apart = copy(self)
        apart._turns = list(self._turns)
        apart._dialogue = self._dialogue.fork()
        return apart

    @property
    def tokens(self) -> int:
        """Length so far, in tokens."""
        return self._dialogue.tokens

    def _fitted(self, turn: _Turn, room: int) -> tuple[_Turn, Sequence[_Turn], Dialogue]:
        """The turn with its output cut, and the chat before it, folded where it must be."""
        whole = self._turns, self._dialogue
        free = self._free(self._dialogue, turn, room)
        size = self._size(turn)
        if size <= free * _SHARE:
            return turn, *whole
        folded = self._fold(0)
        least_free = self._free(folded[1], turn, room)
        if least_free < 0:
            raise PromptTooLong(
                f"the dialogue has {room - least_free:,} tokens with all outputs folded, and the "
                f"window of {self.engine.name} ({self.engine.window:,}) has room for {room:,}",
                tokens=room - least_free,
                room=room,
            )
        turn, size = self._cut_to(
            turn, size, max(int(least_free * _SHARE), min(least_free, _LEAST_TOKENS))
        )
        if size <= free:
            return turn, *whole
        # With the output before it kept, there should still be room for some turns more.
        kept = self._fold(1)
        if size <= self._free(kept[1], turn, room) * _SHARE:
            return turn, *kept
        return turn, *folded

    def _fold(self, kept: int) -> tuple[Sequence[_Turn], Dialogue]:
        """The chat with all outputs folded but the newest `kept`."""
        long = [number for number, turn in enumerate(self._turns) if turn.foldable]
        chosen = set(long[: len(long) - kept])
        turns = [turn.fold() if n in chosen else turn for n, turn in enumerate(self._turns)]
        if not chosen:
            return turns, self._dialogue
        dialogue = self.engine.dialogue(self.system)
        for turn in turns:
            dialogue.ask(turn.message.text(turn.shown), turn.opening)
            if isinstance(turn.reply, str):
                dialogue.reply_text(turn.reply)
            elif turn.reply is not None:
                dialogue.reply(turn.reply)
        return turns, dialogue

    def _cut_to(self, turn: _Turn, size: int, most: int) -> tuple[_Turn, int]:
        while size > most and turn.shown:
            chars = int(len(turn.shown) * most / size * _TIGHTER)
            turn = replace(turn, shown=clip(turn.message.output, chars))
            size = self._size(turn)
        return turn, size

    def _free(self, dialogue: Dialogue, turn: _Turn, room: int) -> int:
        """Tokens left for the turn's output."""
        return room - self._length(dialogue, turn, "")

    def _size(self, turn: _Turn) -> int:
        """Tokens of the turn's output."""
        with_it, without = (self._length(self._dialogue, turn, one) for one in (turn.shown, ""))
        return with_it - without

    def _length(self, dialogue: Dialogue, turn: _Turn, output: str) -> int:
        prompt = dialogue.fork().ask(turn.message.text(output), turn.opening)
        return int(self.engine.length(prompt) * self._scale)
