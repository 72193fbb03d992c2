"""Profiles: what their files may hold, and what a root is told by them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from scripted import ScriptedEngine

from outcore.engine import profile as profiles
from outcore.engine.advice import advice
from outcore.engine.profile import Profile, fill
from outcore.errors import ConfigError
from outcore.kernel_sandbox.inside.answer import Desk
from outcore.kernel_sandbox.inside.dates import as_date
from outcore.kernel_sandbox.inside.extent import Extent
from outcore.kernel_sandbox.inside.listing import Listing
from outcore.kernel_sandbox.inside.look import Look
from outcore.kernel_sandbox.inside.numbers import as_number
from outcore.kernel_sandbox.inside.pairing import group, pairs
from outcore.kernel_sandbox.inside.queries import Queries
from outcore.kernel_sandbox.inside.recursion import Recursion
from outcore.kernel_sandbox.inside.search import Search
from outcore.kernel_sandbox.inside.tally import tally
from outcore.kernel_sandbox.inside.typed import Typed
from outcore.models.catalog import catalog

NAMES = sorted(file.stem for file in (Path(profiles.__file__).parent / "prompts").glob("*.toml"))
BASE = """
opening = ""
opening_after = ""
stop = ["\\n```"]
reply_tokens = 100
sub_tokens = 50
output_chars = 1000
system = "You see $context_type."
first = "$card $question"
after = "$output $note"
last = "$question"
repair = "$error"
"""


def written(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def system(name: str, sub: ScriptedEngine) -> str:
    return fill(
        Profile.load(name).system,
        context_type="a str",
        slice_tokens=4_096,
        slice_chars=15_000,
        output_chars=8_000,
        advice=advice(sub, 4.0, small=True),
    )


def test_the_profiles_there_are() -> None:
    assert NAMES == ["coder", "reasoning", "rlms", "small"]
    assert {model.profile for model in catalog().values()} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_system_message_has_the_served_limits(name: str) -> None:
    said = system(name, ScriptedEngine([""], window=32_768))
    assert "a str" in said
    assert "$" not in said
    # A token of English and code is four characters or a little less.
    assert len(said) < 900 * 4.2
    if name != "small":
        assert all(one in said for one in ("4096", "15000", "8000", "The sub-LM is small"))


def test_coder_and_reasoning_name_the_tools() -> None:
    sub = ScriptedEngine([""])
    coder, reasoning = system("coder", sub), system("reasoning", sub)
    assert reasoning.endswith(coder)
    for tool in (
        "records", "search(", "grep(", "slices(", "as_date(", "tally(", "group(", "pairs(",
        "help(", "llm_query(", "llm_query_batched(", "llm_classify(items, labels, task)",
        "llm_map(", "llm_filter(", "llm_extract(", "llm_list(", "rlm_query(", "done(",
    ):  # fmt: skip
        assert tool in coder, tool


def test_coder_tells_how_the_tools_are_called() -> None:
    every = (
        Search.search, Look.grep, Look.slices, Queries.llm_query, Queries.llm_query_batched,
        Typed.llm_classify, Typed.llm_map, Typed.llm_filter, Typed.llm_extract,
        Listing.llm_list,
        Recursion.rlm_query, Recursion.rlm_query_batched, Queries.count_tokens, Desk.done,
        Extent.headings, Extent.occurrences, Extent.extent, as_date, as_number, tally, group, pairs,
    )  # fmt: skip
    tools = {tool.__name__: list(inspect.signature(tool).parameters) for tool in every}
    tools["help"] = ["name"]
    for name in ("coder", "rlms"):
        for tool, given in re.findall(
            r"(?<![.\w])([a-z_]+)\(([^()]*)\)", Profile.load(name).system
        ):
            asked = [one.partition("=")[0].strip("* .[]") for one in given.split(",")]
            assert {one for one in asked if one} <= {*tools[tool]}, tool


def test_rlms_has_the_names_that_its_roots_know() -> None:
    said = system("rlms", ScriptedEngine([""]))
    for name in (
        "```repl", "llm_query(", "llm_query_batched(", "rlm_query(", "SHOW_VARS()",
        'answer["content"]', 'answer["ready"] = True', "FINAL(", "FINAL_VAR(",
    ):  # fmt: skip
        assert name in said, name


def test_a_profile_extends_another(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        base=BASE,
        own='extends = "base"\nreply_tokens = 7\nsystem = "First.\\n$inherited Last."',
    )
    own = Profile.load("own", folder)
    assert own.name == "own"
    assert own.reply_tokens == 7
    assert own.sub_tokens == 50
    assert own.stop == ("\n```",)
    assert own.system == "First.\nYou see $context_type. Last."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BASE + "reply_token = 3\n", "key 'reply_token' is not known here"),
        (BASE.replace("sub_tokens = 50\n", ""), "key 'sub_tokens' is missing"),
        (BASE.replace("= 50", '= "50"'), "'sub_tokens' must be of type int, not str"),
        (BASE.replace("= 50", "= 0"), "'sub_tokens' must be above zero"),
        (BASE.replace('["\\n```"]', "[3]"), "'stop' must be a list of texts"),
        (BASE.replace("$error", "$cause"), r"'repair' holds \$cause.*it can hold \$error"),
        (BASE.replace("$error", "costs $ 5"), "'repair' has a"),
        (BASE + "system = 3", "can't be read as a profile"),
        ('extends = "none"', "'extends' is 'none'; it can be one of: base, level"),
        ('extends = "own"', "'extends' is 'own'"),
        ("extends = 3", "'extends' must be of type str"),
        ('extends = "level"', "extends another itself"),
        ('extends = "base"\nwhat = 3', "key 'what' is not known here"),
        ('extends = "base"\nthing = "$inherited"', "'base' has no such text"),
    ],
)
def test_what_a_profile_may_not_hold(tmp_path: Path, text: str, said: str) -> None:
    folder = written(tmp_path, base=BASE, level='extends = "base"', own=text)
    with pytest.raises(ConfigError, match=f"(?s)own.toml.*{said}"):
        Profile.load("own", folder)


def test_unknown_profile_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="coder, reasoning, rlms, small"):
        Profile.load("../coder")


def test_small_windows_get_short_questions_and_large_ones_many_items() -> None:
    few = advice(ScriptedEngine([""], window=32_768), 4.0, small=True)
    short = advice(ScriptedEngine([""], window=32_768), 4.0, small=False)
    large = advice(ScriptedEngine([""], window=262_144), 4.0, small=False)
    assert "is small" in few
    assert "a slice at most" in short
    assert "pack many" in large
    assert "200,000 characters" in large
    # A text whose tokens are short has less room.
    dense = advice(ScriptedEngine([""], window=262_144), 1.5, small=False)
    assert "70,000 characters" in dense


def test_how_many_calls_are_fine() -> None:
    here = ScriptedEngine([""], capacity=60_000, in_flight=16, replicas=2)
    said = advice(here, 4.0, small=False)
    assert "32 calls at once" in said
    assert "about 600 calls" in said
    behind = ScriptedEngine([""], in_flight=256)
    assert "hundreds rather than thousands" in advice(behind, 4.0, small=False)
