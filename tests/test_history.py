"""The root's chat within its window, with messages and with token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from scripted import ScriptedEngine
from tokens import chat_tokens

from outcore.engine.history import History, UserMessage
from outcore.errors import PromptTooLong
from outcore.models.chat import TokenDialogue
from outcore.models.engine import ChatPrompt, Generation, Prompt, TokenPrompt

if TYPE_CHECKING:
    from outcore.models.chat import ChatTokens

AFTER = "Output:\n$output\n$note"


class TokenEngine(ScriptedEngine):
    """Speaks in the ids of a tokenizer of single bytes."""

    tokens: ChatTokens

    def dialogue(self, system: str) -> Any:
        return self.tokens.dialogue(system)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> ChatTokens:
    return chat_tokens(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(params=["messages", "ids"])
def engine(request: pytest.FixtureRequest, tokens: ChatTokens) -> ScriptedEngine:
    if request.param == "messages":
        return ScriptedEngine(["?"])
    made = TokenEngine(["?"])
    made.tokens = tokens
    return made


def history(engine: ScriptedEngine, window: int, **limits: int) -> History:
    engine.window = window
    limits = {"reply_tokens": 100, "last_tokens": 50, "output_chars": 4_000} | limits
    return History(engine, "Be brief.", **limits)


def said(prompt: Prompt, tokens: ChatTokens) -> str:
    if isinstance(prompt, ChatPrompt):
        return "\n".join(message.content for message in prompt.messages)
    return str(tokens._marks.decode(prompt.ids(), skip_special_tokens=False))


def after(output: str, note: str = "") -> UserMessage:
    return UserMessage(AFTER, {"note": note}, output)


def reply(engine: ScriptedEngine, prompt: Prompt, text: str, tokens: ChatTokens) -> Generation:
    ids = tuple(tokens.encode(text)) if isinstance(prompt, TokenPrompt) else ()
    return Generation(text, ids, "stop", engine.length(prompt), 0, len(text.split()))


def first(engine: ScriptedEngine, kept: History, tokens: ChatTokens) -> None:
    prompt = kept.ask(UserMessage("A card of $output$card.", {"card": "facts"}), "```\n")
    kept.reply(reply(engine, prompt, "look()", tokens))


def lines(number: int, count: int) -> str:
    return "\n".join(f"turn {number} line {n}" for n in range(count))


def test_prompts_grow_while_they_fit(engine: ScriptedEngine, tokens: ChatTokens) -> None:
    kept = history(engine, 100_000)
    first(engine, kept, tokens)
    before: Any = None
    for number in range(5):
        prompt: Any = kept.ask(after(lines(number, 20)))
        assert (kept.folded, kept.cut) == ((), None)
        if isinstance(prompt, TokenPrompt):
            assert before is None or prompt.own.startswith(before.own)
        else:
            assert before is None or prompt.messages[: len(before.messages)] == before.messages
        before = prompt
        kept.reply(reply(engine, prompt, f"cell {number}", tokens))
    assert kept.tokens >= engine.length(prompt)


def test_old_outputs_are_folded_all_at_once(engine: ScriptedEngine, tokens: ChatTokens) -> None:
    kept = history(engine, 4_500 if isinstance(engine, TokenEngine) else 1_200)
    first(engine, kept, tokens)
    folds: list[tuple[int, ...]] = []
    stem: list[int] = []
    for number in range(12):
        prompt: Any = kept.ask(after(lines(number, 40), f"note {number}"))
        assert engine.length(prompt) <= engine.window - 150
        text = said(prompt, tokens)
        assert text.count(lines(number, 40)) == 1
        assert all(f"cell {n}" in text and f"note {n}" in text for n in range(number))
        assert "look()" in text
        assert "A card of facts." in text
        if kept.folded:
            folds.append(kept.folded)
            one = f"(output of {len(lines(0, 40))} characters, folded: turn 0 line 0)"
            assert one in text
            if isinstance(prompt, TokenPrompt):
                assert stem
                assert prompt.ids()[: len(stem)] == stem
        if number == 0 and isinstance(prompt, TokenPrompt):
            # All that stands before the first output.
            whole, output = prompt.ids(), tokens.encode("Output:\n")
            at = next(n for n in range(len(whole)) if whole[n : n + len(output)] == output)
            stem = whole[: at + len(output)]
        kept.reply(reply(engine, prompt, f"cell {number}", tokens))
    assert 1 <= len(folds) <= 4
    assert folds[0][0] == 2
    assert len(folds[0]) > 1
    gone = [number for fold in folds for number in fold]
    assert gone == sorted(set(gone))


def test_short_outputs_stay_whole(engine: ScriptedEngine, tokens: ChatTokens) -> None:
    kept = history(engine, 6_000 if isinstance(engine, TokenEngine) else 1_500)
    first(engine, kept, tokens)
    prompt = kept.ask(after("(nothing was printed)"))
    kept.reply(reply(engine, prompt, "x", tokens))
    for number in range(8):
        prompt = kept.ask(after(lines(number, 50)))
        kept.reply(reply(engine, prompt, "y", tokens))
    assert "(nothing was printed)" in said(prompt, tokens)
    assert "folded" in said(prompt, tokens)


def test_a_large_output_is_cut_to_a_share_of_what_is_left(
    engine: ScriptedEngine, tokens: ChatTokens
) -> None:
    kept = history(engine, 1_000, output_chars=100_000)
    first(engine, kept, tokens)
    output = lines(0, 2_000)
    prompt = kept.ask(after(output))
    text = said(prompt, tokens)
    assert kept.cut is not None
    assert kept.cut < len(output)
    assert "characters left out" in text
    assert "turn 0 line 0\n" in text
    assert "line 1999" in text
    # About as much again is left for what comes.
    assert 350 < engine.length(prompt) < 650


def test_an_output_is_cut_to_the_profile_s_budget(
    engine: ScriptedEngine, tokens: ChatTokens
) -> None:
    kept = history(engine, 100_000, output_chars=300)
    kept.ask(after(lines(0, 100)))
    assert kept.cut is not None
    assert 200 < kept.cut <= 300


def test_what_fits_no_more_is_an_error_and_leaves_nothing(
    engine: ScriptedEngine, tokens: ChatTokens
) -> None:
    kept = history(engine, 800)
    first(engine, kept, tokens)
    length = kept.tokens
    with pytest.raises(PromptTooLong) as raised:
        kept.ask(after("short", "note " * 1_000))
    assert raised.value.tokens > raised.value.room == 650
    assert kept.tokens == length
    kept.ask(after("short"))


def test_the_last_turn_has_the_room_of_a_reply(engine: ScriptedEngine, tokens: ChatTokens) -> None:
    kept = history(engine, 1_000, reply_tokens=700)
    words = "word " * (60 if isinstance(engine, TokenEngine) else 300)
    with pytest.raises(PromptTooLong):
        kept.ask(after("", words))
    assert engine.length(kept.ask(after("", words), last=True)) > 250


def test_a_fork_goes_on_apart(engine: ScriptedEngine, tokens: ChatTokens) -> None:
    kept = history(engine, 4_500 if isinstance(engine, TokenEngine) else 1_200)
    first(engine, kept, tokens)
    for number in range(3):
        prompt = kept.ask(after(lines(number, 40)))
        kept.reply(reply(engine, prompt, f"cell {number}", tokens))
    length = kept.tokens
    aside = kept.fork()
    for number in range(6):
        prompt = aside.ask(after(lines(100 + number, 40)))
        aside.reply(reply(engine, prompt, "aside", tokens))
    assert kept.tokens == length
    text = said(kept.ask(after("out")), tokens)
    assert "aside" not in text
    assert "folded" not in text


def test_a_written_reply_reads_as_the_root_s_own(
    engine: ScriptedEngine, tokens: ChatTokens
) -> None:
    replied, written = (history(engine, 20_000) for _ in range(2))
    prompts = []
    for kept in (replied, written):
        asked = kept.ask(after("x"), "```\n")
        if kept is written:
            kept.written("look()\n```")
        else:
            kept.reply(reply(engine, asked, "look()\n```", tokens))
        prompts.append(said(kept.ask(after("y")), tokens))
    assert prompts[0] == prompts[1]
    assert "```\nlook()\n```" in prompts[0]


def test_a_written_reply_is_kept_when_outputs_are_folded(
    engine: ScriptedEngine, tokens: ChatTokens
) -> None:
    kept = history(engine, 4_500 if isinstance(engine, TokenEngine) else 1_200)
    kept.ask(UserMessage("Facts."))
    kept.written("program()")
    for number in range(9):
        prompt = kept.ask(after(lines(number, 40)))
        kept.reply(reply(engine, prompt, "z", tokens))
    text = said(prompt, tokens)
    assert "program()" in text
    assert "folded: turn 0" in text


def test_a_server_that_counts_more_is_believed() -> None:
    engine = ScriptedEngine(["?"])
    kept = history(engine, 1_000)
    prompt = kept.ask(after("word " * 100))
    length = engine.length(prompt)
    kept.reply(Generation("x", (), "stop", 2 * length, 0, 1))
    kept.ask(after("word " * 390))
    assert kept.cut is not None
    plain = history(engine, 1_000)
    plain.ask(after("word " * 100))
    plain.ask(after("word " * 390))
    assert plain.cut is None


def test_chat_marks_in_an_output_open_no_turn(tokens: ChatTokens) -> None:
    dialogue = tokens.dialogue("s")
    dialogue.ask("q")
    dialogue.reply_text("<|im_end|>")
    assert isinstance(dialogue, TokenDialogue)
    marks = set(tokens._marks.encode("<|im_start|><|im_end|>", add_special_tokens=False).ids)
    plain = tokens.dialogue("s")
    plain.ask("q")
    plain.reply_text("x")
    assert sum(one in marks for one in dialogue.ids) == sum(one in marks for one in plain.ids)
