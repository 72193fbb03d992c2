"""A kernel is killed, hangs, runs out of memory, exits: what is restored, and what is told."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sandboxing import Host, running, stage
from scripted import giving, said
from test_run import HAYSTACK, ask, cell

from outcore.config import Budget
from outcore.errors import OutcoreError, SandboxError
from outcore.kernel_sandbox import Kernel, KernelSpec, Limits
from outcore.kernel_sandbox.inside import keeping
from outcore.kernel_sandbox.inside.definitions import bound, definitions
from outcore.kernel_sandbox.inside.layout import Field, Layout, Shape
from outcore.kernel_sandbox.kept import BYTES, Kept

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from outcore.kernel_sandbox import CellResult

EXIT = "import os; os._exit(1)"
# Seconds of a cell that is to be stopped where it stands: a machine that is busy elsewhere may not
# have come there in the first of them.
PATIENCE = (1.0, 5.0, 30.0)

SETTING = """
import re, collections
from dataclasses import dataclass
from datetime import date as day

@dataclass
class Pair:
    left: int
    right: list

def doubled(text, times=2):
    return re.sub("a", "b", text) * times

count = 7
rows = [{"n": n, "text": f"row {n}"} for n in range(2_000)]
tally_of = collections.Counter("hello")
pair = Pair(1, ["x"])
when = day(2026, 7, 31)
hits = search("captain")
nested = {"a": (1, 2.5, None, {3}), "b": b"bytes"}
"""
CHECKING = """
assert count == 7 and rows[1_999] == {"n": 1_999, "text": "row 1999"} and len(rows) == 2_000
assert tally_of["l"] == 2 and pair == Pair(1, ["x"]) and doubled("aa") == "bbbb"
assert str(when) == "2026-07-31" and nested == {"a": (1, 2.5, None, {3}), "b": b"bytes"}
assert hits[0].document == "moby" and hits.note
print("all there", sorted(SHOW_VARS().split()))
"""
DEATHS = {
    "exits": ("import os\nos._exit(3)", "the kernel died: exit status 3"),
    "crashes": ("import ctypes\nctypes.string_at(0)", "the kernel died: signal 11"),
    "hangs in C": ("sum(range(10**12))", "and did not end when interrupted"),
    "ignores signals": (
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "while True: time.sleep(600)",
        "and did not end when interrupted",
    ),
    "blocks every signal": (
        "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
        "while True: signal.pause()",
        "and did not end when interrupted",
    ),
    "dies for memory": (
        # As the kernel's own killer would.
        "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
        "the kernel died: killed, most likely for the memory it used",
    ),
}


@asynccontextmanager
async def rig(tmp_path: Path, **limits: Any) -> AsyncIterator[Kernel]:
    chosen = Limits(**{"grace_seconds": 0.5, **limits})
    async with running(tmp_path, Host(), limits=chosen) as kernel:
        yield kernel


async def fine(kernel: Kernel, code: str) -> CellResult:
    result = await kernel.run(code, seconds=30)
    assert result.status == "ok", result
    return result


@pytest.mark.parametrize("death", DEATHS)
async def test_variables_survive_the_death_of_their_kernel(tmp_path: Path, death: str) -> None:
    code, told = DEATHS[death]
    hangs = "interrupted" in told
    for number, seconds in enumerate(PATIENCE if hangs else (60.0,)):
        (tmp_path / f"{number}").mkdir()
        async with rig(tmp_path / f"{number}") as kernel:
            await fine(kernel, SETTING)
            died = await kernel.run(f"mine = 1\nprint(mine, flush=True)\n{code}", seconds=seconds)
            if hangs and not died.output.startswith("1\n"):
                continue
            assert died.status == "killed"
            assert told in str(died.error)
            names = "re, collections, dataclass, day, Pair, doubled, count, rows, tally_of, pair"
            restored = f"Restored as they were before this cell: {names}, when, hits, nested."
            assert restored in str(died.error)
            assert str(died.error).endswith("Gone: what this cell has set or changed")
            assert (await fine(kernel, CHECKING)).output.startswith("all there")
            missing = await kernel.run("mine", seconds=30)
            assert "NameError" in str(missing.error)
            return
    raise AssertionError(died)


async def test_a_kernel_killed_from_the_host_is_told_apart_and_replaced(tmp_path: Path) -> None:
    host = Host()
    async with running(tmp_path, host) as kernel:
        await fine(kernel, "kept = [1, 2, 3]")
        begun = "llm_query('begun')\nwhile True: pass"
        task = asyncio.create_task(kernel.run(begun, seconds=100))
        async with asyncio.timeout(60):
            while not host.of("llm_query"):
                await asyncio.sleep(0.01)
        assert kernel.pid is not None
        os.kill(kernel.pid, signal.SIGKILL)
        began = time.monotonic()
        died = await task
        assert time.monotonic() - began < 50
        assert died.status == "killed"
        assert "Restored as they were before this cell: kept." in str(died.error)
        assert (await fine(kernel, "kept")).output == "[1, 2, 3]\n"


async def test_what_is_restored_is_what_stood_before_the_fatal_cell(tmp_path: Path) -> None:
    async with rig(tmp_path) as kernel:
        await fine(kernel, "x, y, gone = [1], 1, 1")
        await fine(kernel, "x.append(2)\ndel gone\ny = 'new'")
        await kernel.run("x.append(3)\ny = 0\nimport os; os._exit(1)", seconds=30)
        assert (
            await fine(kernel, "print(x, y, 'gone' in globals())")
        ).output == "[1, 2] new False\n"
        # And again: what was restored is kept like what was set.
        await kernel.run("import os; os._exit(1)", seconds=30)
        assert (await fine(kernel, "print(x, y)")).output == "[1, 2] new\n"


async def test_what_a_failed_or_interrupted_cell_has_set_is_kept_too(tmp_path: Path) -> None:
    async with rig(tmp_path, grace_seconds=20.0) as kernel:
        await kernel.run("a = 1\nraise ValueError", seconds=30)
        for seconds in PATIENCE:
            cut = await kernel.run("b = 2\nprint('set')\nwhile True: pass", seconds=seconds)
            if "set\n" in cut.output:
                break
        assert cut.status == "interrupted"
        await kernel.run("import os; os._exit(1)", seconds=30)
        assert (await fine(kernel, "print(a, b)")).output == "1 2\n"


async def test_what_can_not_be_kept_is_named_with_the_reason(tmp_path: Path) -> None:
    async with rig(tmp_path) as kernel:
        await fine(
            kernel,
            "import threading\nsmall = 1\nlarge = 'x' * 5_000_000\nrows = ['y' * 1_000] * 9_000\n"
            "rows = [one + str(n) for n, one in enumerate(rows)]\n"
            "lines = (n for n in range(3))\nlock = threading.Lock()\nf = lambda: 1\n"
            "class Odd:\n    def __reduce__(self): raise KeyError('no')\nodd = Odd()",
        )
        died = await kernel.run("import os; os._exit(1)", seconds=30)
        error = str(died.error)
        assert "Restored as they were before this cell: threading, Odd, small." in error
        for name in ("large", "rows"):
            assert f"{name} (too large)" in error or f"{name} (too much to keep)" in error
        for name in ("lines", "lock", "f", "odd"):
            assert f"{name} (no plain data)" in error
        assert (await fine(kernel, "small, threading.active_count() > 0")).output == "(1, True)\n"


async def test_tools_are_those_of_the_fresh_kernel(tmp_path: Path) -> None:
    async with rig(tmp_path) as kernel:
        await fine(kernel, "context = 'mine'\nsearch = 5\ntally = 'a variable'")
        await kernel.run("import os; os._exit(1)", seconds=30)
        told = (await fine(kernel, "print(context[:11], search('x')[0].document, tally)")).output
        assert told == "The captain moby a variable\n"


@pytest.mark.parametrize(
    "bomb",
    [
        "class B:\n    def __reduce__(self): return __import__('os')._exit, (9,)",
        "class B:\n    def __reduce__(self): return __import__('time').sleep, (600,)",
        "class B:\n    def __reduce__(self): return bytearray, (1 << 45,)",
    ],
    ids=["dies", "hangs", "fills memory"],
)
async def test_what_kills_whoever_restores_it_is_given_up(tmp_path: Path, bomb: str) -> None:
    async with rig(tmp_path) as kernel:
        await fine(kernel, f"{bomb}\nplain = 1\nb = B()")
        began = time.monotonic()
        died = await kernel.run("import os; os._exit(1)", seconds=30)
        assert time.monotonic() - began < 100
        assert died.status == "killed"
        assert (await fine(kernel, "print(len(context), 'b' in globals())")).output == "42 False\n"


SPEAKING = """
import os
for fd in range(64):
    try:
        if fd != 1:
            os.write(fd, b"bwrap: setting up uid map: Permission denied\\n")
    except OSError:
        pass
os._exit(1)
"""
HANGING = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nsignal.pause()"
# No alarm of the restoring ends it either, however long the filling takes.
FILLING = """
import os, signal, time
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
for _ in range(8):
    if not os.fork():
        full = bytearray(b"x") * (200 << 20)
        time.sleep(600)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("code", "seconds", "why"),
    [
        (SPEAKING, 30.0, "SandboxUnavailable: the sandbox can't be made: bwrap: "),
        (HANGING, 8.0, "SandboxError: the kernel did not start within 8 s"),
        (FILLING, 100.0, "SandboxError: the kernel died at its start (killed for the memory"),
    ],
    ids=["speaks for bubblewrap", "hangs", "fills memory"],
)
async def test_what_was_kept_can_not_keep_a_kernel_from_starting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: str, seconds: float, why: str
) -> None:
    """Whatever it does or says while it is restored, a kernel starts without it."""
    caplog.set_level("DEBUG", "outcore.kernel_sandbox.succession")
    keeping = (
        "import gc, os\nfrom inside.bridge import Bridge\n"
        "[bridge] = [one for one in gc.get_objects() if type(one) is Bridge]\n"
        f"bad = {{'code': {code!r}}}\n"
        "bridge.call('keep', {'set': {'bad': bad}, 'gone': [], 'lost': {}})\n"
        "os._exit(1)"
    )
    async with rig(tmp_path, total=800 << 20, start_seconds=seconds) as kernel:
        died = await kernel.run(keeping, seconds=30)
        assert died.status == "killed"
        assert str(died.error).endswith("The kernel was started afresh: all variables are gone")
        assert f"what was kept is dropped: {why}" in caplog.text
        assert os.listdir(kernel.folder) == ["3"]  # noqa: PTH208
        assert (await fine(kernel, "print(len(context))")).output == "42\n"


async def test_keeping_takes_no_calls_from_the_run_and_hides_from_its_handler(
    tmp_path: Path,
) -> None:
    host = Host()
    async with running(tmp_path, host) as kernel:
        await fine(kernel, "x = 1")
        await fine(kernel, "x")
        await kernel.run("import os; os._exit(1)", seconds=30)
        await fine(kernel, "x")
    assert host.calls == []


async def test_a_kernel_may_lie_about_what_it_kept(tmp_path: Path) -> None:
    """Forged calls go to its own successor alone, and bad ones are refused."""
    attack = """
import gc
from inside.bridge import Bridge
[bridge] = [one for one in gc.get_objects() if type(one) is Bridge]
for params in (
    {}, {"set": 5, "gone": [], "lost": {}}, {"set": {"x y": {"data": ""}}, "gone": [], "lost": {}},
    {"set": {"x": {"data": 5}}, "gone": [], "lost": {}}, {"set": {}, "gone": 1, "lost": {}},
    {"set": {"x": {"data": "", "code": ""}}, "gone": [], "lost": {}},
    {"set": {}, "gone": [], "lost": {"a": "<b>"}},
    {"set": {"x": {"data": "!" * 9_000_000}}, "gone": [], "lost": {}},
    {"set": {f"x{n}": {"data": ""} for n in range(2_000)}, "gone": [], "lost": {}},
):
    try:
        bridge.call("keep", params)
        print("taken", str(params)[:80])
    except SubcallError:
        print("refused")
"""
    fatal = """
bridge.call("keep", {"set": {"good": {"code": "good = 5"}, "bad": {"data": "no pickle"}},
                     "gone": [], "lost": {}})
import os
os._exit(1)
"""
    async with rig(tmp_path) as kernel:
        assert (await fine(kernel, attack)).output.split() == ["refused"] * 9
        error = str((await kernel.run(fatal, seconds=30)).error)
        assert "good, params. Gone: bad (could not be restored)" in error
        assert (await fine(kernel, "good")).output == "5\n"


async def test_nothing_is_kept_across_kernels(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    async with rig(tmp_path / "1") as one, rig(tmp_path / "2") as two:
        await fine(one, "secret = 1")
        await fine(two, "open = 2")
        died = await two.run("import os; os._exit(1)", seconds=30)
        assert "secret" not in str(died.error)
        assert "NameError" in str((await two.run("secret", seconds=30)).error)


async def test_a_cell_that_does_nothing_costs_nothing_more_with_variables(tmp_path: Path) -> None:
    """Keeping is bounded in bytes and processor time, and is done after the reply."""
    async with rig(tmp_path) as kernel:
        await fine(kernel, "rows = [{'n': n, 'text': 'word ' * 20} for n in range(200_000)]")
        await asyncio.sleep(1.0)
        spent = "import time\nprint(time.process_time())"
        before = float((await fine(kernel, spent)).output)
        for _ in range(10):
            await fine(kernel, "")
        after = float((await fine(kernel, spent)).output)
        # Ten looks through what is far too large to be kept.
        assert after - before < 10 * (keeping.SECONDS + 0.1)


async def test_kept_bounds() -> None:
    kept = Kept(Host())
    big = "x" * (BYTES // 2)
    await kept("keep", {"set": {"a": {"data": big}}, "gone": [], "lost": {}})
    with pytest.raises(SandboxError, match="bytes"):
        await kept("keep", {"set": {"b": {"data": big}}, "gone": [], "lost": {}})
    await kept("keep", {"set": {"b": {"data": big}}, "gone": ["a"], "lost": {}})
    assert list((await kept("kept", {}))["entries"]) == ["b"]
    with pytest.raises(OutcoreError):
        await kept("sing", {})
    await kept("restored", {"names": ["b", "never"]})
    assert kept.told().endswith("cell: b. Gone: what this cell has set or changed")
    kept.drop()
    assert not kept


def test_definitions_are_those_that_only_bind_a_name() -> None:
    found = definitions(
        "import os.path, sys as s\nfrom a.b import c as d, e\nfrom z import *\n"
        "def f(x, y=1, *, z=(1, 'a')):\n    return x\n"
        "async def g(): pass\n"
        "def h(x=print('effect')): pass\n"
        "@cached\ndef i(): pass\n"
        "@dataclass(frozen=True)\nclass J(Base):\n    'doc'\n    x: int = 1\n    y: str\n"
        "    def m(self): return 1\n    @property\n    def p(self): return 2\n"
        "class K:\n    x = compute()\n"
        "class L(metaclass=M): pass\n"
        "if True:\n    import inner\nx = 5\nprint('effect')\n"
    )
    assert list(found) == ["os", "s", "d", "e", "f", "g", "J"]
    assert found["os"] == "import os.path"
    assert found["s"] == "import sys as s"
    assert found["d"] == "from a.b import c as d"
    assert definitions("def f(:") == {}
    assert definitions("x = 1") == {}


async def test_the_root_is_told_what_was_restored(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path,
        cell("found = len(context)\nlines = (n for n in 'ab')\nprint('looked')"),
        cell("import os\nos._exit(3)"),
        cell("print(found)\ndone(found)"),
    )
    assert asked.completion.answer == str(len(HAYSTACK))
    assert asked.completion.complete
    told = said(asked.root.asked[2])
    assert "the kernel died: exit status 3" in told
    assert "Restored as they were before this cell: found. Gone: lines (no plain data)" in told


async def test_kernels_that_keep_dying_end_the_run_with_the_best_answer(tmp_path: Path) -> None:
    deaths = [cell(f"import os\nx = {n}\nos._exit({n})") for n in range(9)]
    asked = await ask(tmp_path, cell("answer['content'] = 'Ingrid'\nprint('Ingrid')"), *deaths)
    completion = asked.completion
    assert (completion.answer, completion.complete) == ("Ingrid", False)
    assert completion.turns == 4
    assert completion.reason == (
        "the kernel had to be replaced 3 times, at last since the kernel died: exit status 2"
    )


async def test_a_root_whose_kernels_die_may_still_answer(tmp_path: Path) -> None:
    asked = await ask(
        tmp_path, cell("import os\nos._exit(1)"), cell("import os\nos.abort()"), cell(giving("I7"))
    )
    assert (asked.completion.answer, asked.completion.complete) == ("I7", True)


async def test_a_hung_cell_costs_its_time_and_its_grace_alone(tmp_path: Path) -> None:
    for seconds in PATIENCE:
        (tmp_path / f"{seconds:g}").mkdir()
        asked = await ask(
            tmp_path / f"{seconds:g}",
            cell("kept = 'I8'\nprint(kept)"),
            cell("sum(range(10**12))"),
            cell("done(kept)"),
            budget=Budget(cell_seconds=seconds),
        )
        cells = [event for event in asked.events if event["event"] == "cell"]
        if [one["status"] for one in cells] == ["ok", "killed", "ok"]:
            break
    assert [one["status"] for one in cells] == ["ok", "killed", "ok"]
    assert asked.completion.answer == "I8"
    assert f"limit of {seconds:g} s, and did not end when interrupted" in cells[1]["error"]


async def test_a_cell_may_come_again_once_its_kernel_is_gone(tmp_path: Path) -> None:
    made = cell("class Box: pass\nbox = Box()\nbox.value = 'I9'\nprint(box.value)")
    fatal = cell("import os\nos._exit(1)")
    asked = await ask(tmp_path, made, fatal, made, cell("print('other')"), cell(giving("I9")))
    cells = [event for event in asked.events if event["event"] == "cell"]
    assert [one["output"].strip() for one in cells[:4]] == ["I9", "", "I9", "other"]


async def test_memory_beyond_the_limit_is_an_exception_of_the_cell(tmp_path: Path) -> None:
    async with rig(tmp_path, memory=1 << 30) as kernel:
        await fine(kernel, "kept = 1")
        full = await kernel.run("x = []\nwhile True: x.append(bytearray(1 << 26))", seconds=30)
        assert full.status in ("error", "killed")
        if full.status == "error":
            assert "MemoryError" in str(full.error)
        assert (await fine(kernel, "kept")).output == "1\n"


@dataclass
class _Odd:
    value: int = 0


def test_a_pickle_that_grows_too_long_is_broken_off() -> None:
    sink = keeping._Sink(1_000, time.thread_time() + 60)
    with pytest.raises(keeping._TooMuch, match="size"):
        pickle.Pickler(sink, protocol=5).dump([_Odd(n) for n in range(100_000)])
    late = keeping._Sink(1 << 30, 0.0)
    with pytest.raises(keeping._TooMuch, match="time"):
        pickle.Pickler(late, protocol=5).dump(["x"])


async def test_what_is_kept_may_change_before_it_is_told() -> None:
    """What was restored is code that is not trusted, and may send calls at once."""
    kept = Kept(Host())
    await kept("keep", {"set": {"a": {"data": "x"}, "b": {"data": "y"}}, "gone": [], "lost": {}})
    await kept("restored", {"names": ["a", "b"]})
    await kept("keep", {"set": {}, "gone": ["a"], "lost": {}})
    assert kept.told().endswith("cell: b. Gone: what this cell has set or changed")


@pytest.mark.parametrize(
    "again",
    [
        "f = lambda: 'new'",
        "def f(made=list('new')): return 'new'",
        "import functools\nold = f\n@functools.wraps(old)\ndef f(): return 'new'",
        "if True:\n    def f(): return 'new'",
        "for f in [lambda: 'new']: pass",
        "def setting():\n    global f\n    f = lambda: 'new'\nsetting()",
    ],
)
async def test_a_definition_that_was_replaced_is_not_restored(tmp_path: Path, again: str) -> None:
    async with rig(tmp_path) as kernel:
        await fine(kernel, "def f(): return 'old'\nx = 1")
        await fine(kernel, again)
        died = await kernel.run("import os; os._exit(1)", seconds=30)
        assert "f (no plain data)" in str(died.error)
        assert "NameError" in str((await kernel.run("f()", seconds=30)).error)


async def test_of_too_many_variables_none_is_restored_as_it_was_earlier(tmp_path: Path) -> None:
    async with rig(tmp_path) as kernel:
        await fine(kernel, "x = 1")
        await fine(kernel, "x = 2\nfor n in range(1_200): globals()[f'v{n}'] = n")
        await kernel.run("import os; os._exit(1)", seconds=30)
        assert (await fine(kernel, "print(x)")).output == "2\n"


async def test_fields_that_were_set_are_told_to_be_gone(tmp_path: Path) -> None:
    names = ("a", "b")
    shape = Shape("pairs", names, "||", ":")
    fields = tuple(Field(name, "text", "") for name in names)
    layout = Layout("lines", shape, fields).as_dict()
    spec = KernelSpec(stage(tmp_path / "context", "a: 1 || b: 2\n"), hints={"layout": layout})
    async with await Kernel.start(spec, Host()) as kernel:
        await fine(kernel, "x = len(records)")
        assert "records" not in str((await kernel.run(EXIT, seconds=30)).error)
        await fine(kernel, "for one in records: one.mark = 'set'")
        told = str((await kernel.run(EXIT, seconds=30)).error)
        assert "records (the fields that cells have set)" in told


async def test_a_function_that_can_not_be_kept_keeps_no_answer_from_the_host(
    tmp_path: Path,
) -> None:
    host = Host()
    long = " + ".join(["'a'"] * 400)
    async with running(tmp_path, host) as kernel:
        await fine(kernel, f"def f():\n    return {long}\nanswer['content'] = f()[:3]")
    assert [one["content"] for one in host.of("answer")] == ["aaa"]


def test_a_definition_that_its_cell_replaces_is_none() -> None:
    assert definitions("def f(): pass\nf = cached(f)\ndef g(): pass\n[g for g in range(3)]") == {
        "g": "def g():\n    pass"
    }
    assert bound("def f():\n    global a\n    b = 1\nwith c as d: e = [h for h in i]") == {
        *("f", "a", "d", "e")
    }
