"""Map-reduce, as a system of the quality benchmark."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from systems import ALONE, REPLY_TOKENS, Models, Reply, chars_per_token, whole

from outcore.engine.budget import Usage
from outcore.models.engine import Asked, Priority, Request

if TYPE_CHECKING:
    from tasks.item import Item

_PART_TOKENS = 256
_SLICE_SHARE, _SLICE_MOST = 0.6, 8_192
_NOTHING = "NONE"
# A line end, the number, a full stop.
_NUMBER_TOKENS = 8
_MAP = (
    "{question}\n\nThe text above is one part of a longer one. Answer from this part alone, and "
    f"briefly; where it says nothing about the question, answer {_NOTHING}."
)
_REDUCE = (
    "A long text was read in parts. These are the answers that the parts gave, in order:\n\n"
    "{answers}\n\nPut them together and answer the question.\n\n{question}"
)


@dataclass(slots=True)
class MapReduce:
    """The sub-LM is asked about every slice, and the root puts the answers together."""

    models: Models
    name: str = "mapreduce"

    def begin(self) -> None:
        """Nothing to do."""

    def answer(self, item: Item) -> Reply:
        """Ask about every slice; where the seconds end, answer from those that are done."""
        return self.models.run(self._answer(item))

    def end(self) -> None:
        """Nothing was taken."""

    async def _answer(self, item: Item) -> Reply:
        root, sub, seconds = Usage(), Usage(), self.models.budget.seconds
        try:
            async with asyncio.timeout(seconds):
                answers, reason = await self._read(item, 0.8 * seconds, sub)
                answer = await self._merged(item.question, answers, root)
        except TimeoutError:
            return Reply("", False, f"{seconds:g} seconds", root=root, sub=sub)
        return Reply(answer, reason is None, reason, root=root, sub=sub, turns=root.calls)

    async def _read(self, item: Item, seconds: float, usage: Usage) -> tuple[list[str], str | None]:
        """What the slices say, and what is missing if they can't all be read in time."""
        text = await asyncio.to_thread(whole, item.context)
        engine = self.models.sub.engine
        tokens = min(_SLICE_MOST, int(engine.window * _SLICE_SHARE) - _PART_TOKENS)
        pieces = slices(text, int(tokens * await chars_per_token(self.models.sub, text)))
        question = _MAP.format(question=item.question)
        tasks = [asyncio.create_task(self._map(question, piece, usage)) for piece in pieces]
        try:
            done, late = await asyncio.wait(tasks, timeout=seconds)
        finally:
            for task in tasks:
                task.cancel()
        said = [task.result() for task in tasks if task in done]
        reason = f"{len(late)} of {len(tasks)} slices were not read in time" if late else None
        return [one for one in said if one and not one.upper().startswith(_NOTHING)], reason

    async def _merged(self, question: str, answers: list[str], usage: Usage) -> str:
        window = self.models.root.engine.window
        room = max(2 * _PART_TOKENS, window // 2 - REPLY_TOKENS)
        while True:
            groups = await self._groups(answers, room)
            # What comes of several groups must get shorter, or would never be one.
            most = REPLY_TOKENS if len(groups) == 1 else min(REPLY_TOKENS, room // 4)
            answers = [await self._reduce(question, group, most, usage) for group in groups]
            if len(answers) == 1:
                return answers[0]

    async def _map(self, question: str, piece: str, usage: Usage) -> str:
        request = Request(Asked(question, piece), _PART_TOKENS, priority=Priority.SUB_CALL)
        generation = await self.models.sub.submit(request, usage)
        usage.add(generation)
        return generation.text.strip()

    async def _groups(self, answers: list[str], room: int) -> list[list[str]]:
        """Answers in groups of at most `room` tokens; at least one group, perhaps empty."""
        groups: list[list[str]] = [[]]
        used = 0
        for answer in answers:
            length = await self.models.root.engine.count_tokens(answer) + _NUMBER_TOKENS
            if groups[-1] and used + length > room:
                groups.append([])
                used = 0
            groups[-1].append(answer)
            used += length
        return groups

    async def _reduce(self, question: str, group: list[str], most: int, usage: Usage) -> str:
        listed = "\n".join(f"{at + 1}. {answer}" for at, answer in enumerate(group))
        told = _REDUCE.format(answers=listed or "(none)", question=question)
        prompt = self.models.root.engine.dialogue(ALONE).ask(told)
        request = Request(prompt, most, priority=Priority.ROOT)
        generation = await self.models.root.submit(request, usage)
        usage.add(generation)
        return generation.text.strip()


def slices(text: str, chars: int) -> list[str]:
    """Pieces of at most `chars` characters, cut at line ends where there are any."""
    found, at = [], 0
    while at < len(text):
        end = min(len(text), at + max(1, chars))
        if end < len(text):
            line = text.rfind("\n", at, end)
            end = line + 1 if line > at else end
        found.append(text[at:end])
        at = end
    return found
