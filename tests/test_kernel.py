from __future__ import annotations

import asyncio
import errno
import os
import re
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import pytest_asyncio
from sandboxing import TEXT, Host, descendants, running

from outcore.errors import ConfigError, SandboxError
from outcore.kernel_sandbox import Kernel, KernelSpec, Limits
from outcore.kernel_sandbox.channel import Execution
from outcore.kernel_sandbox.child import Child
from outcore.kernel_sandbox.inside import stream
from outcore.kernel_sandbox.output import Output

if TYPE_CHECKING:
    from pathlib import Path


class Rig:
    """A kernel shared by the tests of this file, and its host."""

    def __init__(self, kernel: Kernel, host: Host) -> None:
        self.kernel = kernel
        self.host = host

    async def ok(self, code: str, seconds: float = 60) -> str:
        """Output of a cell that has to work."""
        result = await self.kernel.run(code, seconds=seconds)
        assert result.status == "ok", result
        return result.output


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    host = Host()
    # None of its cells is to be killed, on a machine that is busy elsewhere either.
    limits = Limits(grace_seconds=20.0)
    async with running(tmp_path_factory.mktemp("kernel"), host, limits=limits) as kernel:
        yield Rig(kernel, host)


# Seconds of a cell that is to be stopped where it stands: a machine that is busy elsewhere may not
# have come there in the first of them.
PATIENCE = (0.5, 5.0, 30.0)
# The tests share a kernel, and an answer stays until another is set.
NO_ANSWER = "answer = {'content': '', 'ready': False}"


@pytest.fixture
def rig(shared: Rig) -> Rig:
    shared.host.calls.clear()
    shared.host.peak = shared.host.cancelled = 0
    return shared


async def test_output_holds_all_in_order(rig: Rig) -> None:
    code = "import sys, os\nprint('a')\nsys.stdout.flush()\nprint('b', file=sys.stderr)\n'c'"
    assert await rig.ok(code) == "a\nb\n'c'\n"
    assert "from a child" in await rig.ok("!echo from a child")
    assert "from fork" in await rig.ok(
        "pid = os.fork()\nif pid == 0:\n    print('from fork')\n    os._exit(0)\n"
        "_ = os.waitpid(pid, 0)\nimport time; time.sleep(0.1)"
    )


async def test_output_of_children_is_complete_when_the_cell_ends(rig: Rig) -> None:
    code = "import subprocess, sys\n_ = subprocess.run(['sh', '-c', {!r}]{})"
    for number in range(20):
        assert await rig.ok(code.format(f"echo {number}; echo e >&2", "")) in (
            f"{number}\ne\n",
            f"e\n{number}\n",
        )
    assert await rig.ok(code.format("echo own", ", stdout=sys.stdout")) == "own\n"
    assert len(await rig.ok("_ = subprocess.run(['seq', '20000'])")) == 108_894


async def test_the_context_is_the_text_as_it_is(rig: Rig) -> None:
    assert await rig.ok("context") == f"{TEXT!r}\n"


async def test_top_level_await_and_gather(rig: Rig) -> None:
    code = (
        "import asyncio\n"
        "answers = await asyncio.gather(*[allm_query('meet 100', str(i)) for i in range(100)])\n"
        "len(answers)"
    )
    assert await rig.ok(code) == "100\n"
    assert rig.host.peak == 100


async def test_200_threads_call_at_once(rig: Rig) -> None:
    code = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(200) as pool:\n"
        "    answers = list(pool.map(lambda i: llm_query('meet 200', i), range(200)))\n"
        "print(len(answers), set(answers))"
    )
    assert await rig.ok(code) == "200 {'re: meet 200'}\n"
    assert rig.host.peak == 200
    assert sorted(int(one["text"]) for one in rig.host.of("llm_query")) == list(range(200))


async def test_a_batch_answers_in_order_and_shares_its_text(rig: Rig) -> None:
    assert await rig.ok("llm_query_batched(['a', 'b'], text='t')") == "['re: a', 're: b']\n"
    assert {one["text"] for one in rig.host.of("llm_query")} == {"t"}
    assert await rig.ok("llm_query_batched('q', text=['x', 'y'])") == "['re: q', 're: q']\n"
    assert [one["text"] for one in rig.host.of("llm_query")][2:] == ["x", "y"]
    assert await rig.ok("llm_query_batched('one')") == "['re: one']\n"
    assert await rig.ok("llm_query_batched([])") == "[]\n"
    result = await rig.kernel.run("llm_query_batched(['a'], text=['x', 'y'])", seconds=30)
    assert result.error == "ValueError: 1 prompts and 2 texts; give one of them once, or as many"


async def test_one_failed_call_of_a_batch_costs_no_other(rig: Rig) -> None:
    result = await rig.kernel.run("llm_query_batched(['a', 'long', 'sleep 0.2', 'd'])", seconds=30)
    assert result.status == "error"
    assert result.error is not None
    assert result.error.startswith("BatchError: 1 of 4 calls failed; the first is number 1")
    assert "PromptTooLong: the prompt has 9 tokens; 5 fit" in result.error
    assert len(rig.host.of("llm_query")) == 4
    code = (
        "try:\n    llm_query_batched(['a', 'long', 'd'])\n"
        "except SubcallError as e:\n    r = e.results\n"
        "print(r[0], type(r[1]).__name__, r[1].tokens, r[1].room, r[2])"
    )
    assert await rig.ok(code) == "re: a PromptTooLong 9 5 re: d\n"
    code = "[str(one) for one in llm_query_batched(['a', 'broke'], return_exceptions=True)]"
    assert await rig.ok(code) == "['re: a', 'all 10 calls are spent']\n"


async def test_the_hosts_errors_keep_their_names(rig: Rig) -> None:
    code = "try:\n    llm_query('{}')\nexcept {} as e:\n    print(type(e).__mro__[1].__name__, e)"
    assert await rig.ok(code.format("long", "PromptTooLong")) == (
        "ModelError the prompt has 9 tokens; 5 fit\n"
    )
    assert await rig.ok(code.format("broke", "BudgetExceeded")) == (
        "SubcallError all 10 calls are spent\n"
    )
    assert "KeyError" in await rig.ok(code.format("bug", "SubcallError"))


async def test_arguments_are_forgiven(rig: Rig) -> None:
    await rig.ok(
        "llm_query([{'role': 'user', 'content': 'hello'}], b'bytes', choices=(1, 2), model='gpt')"
    )
    await rig.ok("llm_query(5, 6, max_tokens=7.0, schema={'type': 'string'})")
    assert rig.host.of("llm_query") == [
        {
            "prompt": "hello",
            "text": "bytes",
            "schema": None,
            "choices": ["1", "2"],
            "max_tokens": None,
        },
        {
            "prompt": "5",
            "text": "6",
            "schema": {"type": "string"},
            "choices": None,
            "max_tokens": 7,
        },
    ]
    for code, said in (
        ("llm_query(None)", "TypeError: a prompt is text, and this one is None"),
        ("llm_query('x', choices='yes')", "TypeError: choices is a list"),
        ("llm_query('x', schema='yes')", "TypeError: schema is a JSON schema"),
        ("llm_query('\\udc80')", "SubcallError: llm_query: the text holds"),
        ("llm_query('x' * 17_000_000)", "SubcallError: llm_query: the call is 17,0"),
    ):
        result = await rig.kernel.run(code, seconds=30)
        assert result.error is not None
        assert result.error.startswith(said), result.error


async def test_a_pydantic_class_gives_its_schema_and_takes_the_answer(rig: Rig) -> None:
    code = (
        "import pydantic\nclass N(pydantic.BaseModel):\n    n: int\n"
        "one = llm_query('typed', schema=N)\nprint(type(one).__name__, one.n)"
    )
    assert await rig.ok(code) == "N 3\n"
    assert rig.host.of("llm_query")[0]["schema"]["properties"]["n"]["type"] == "integer"


async def test_search_prints_well_and_counts_are_whole(rig: Rig) -> None:
    assert await rig.ok("hits = search('white whale', k=2)\nhits") == (
        "the passage for 'white whale'\n[0] moby @ 4\nwhite whale\n"
    )
    assert await rig.ok("print(hits[0].offset, hits[0]['text'], hits[0].document)") == (
        "4 white whale moby\n"
    )
    assert rig.host.of("search") == [{"query": "white whale", "k": 2}]
    assert await rig.ok("count_tokens('a b c')") == "3\n"
    assert await rig.ok("count_tokens('word word\\n' * 300_000)") == "600000\n"
    assert len(rig.host.of("count_tokens")) == 4


async def test_help_shows_how_to_use_each_tool(rig: Rig) -> None:
    for name in (
        "llm_query",
        "allm_query",
        "llm_query_batched",
        "search",
        "count_tokens",
        "done",
        "FINAL",
        "FINAL_VAR",
        "SUBMIT",
        "SHOW_VARS",
        "grep",
        "slices",
        "tally",
        "group",
        "pairs",
        "help",
    ):
        shown = await rig.ok(f"help({name})")
        assert shown.startswith(f"{name}("), name
        assert len(shown.splitlines()) > 2, name
        assert "outcore" not in shown, name


async def test_search_takes_what_roots_write(rig: Rig) -> None:
    for call in (
        "search('whale', 3)",
        "search('whale', '3')",
        "search(query='whale', top_k=3)",
        "search(context * 60, 'whale', num_results=3)",
        "search(3, 'whale')",
    ):
        await rig.ok(f"_ = {call}")
        assert rig.host.of("search")[-1] == {"query": "whale", "k": 3}, call
    assert await rig.ok("len(search(['a', 'b', 'a']))") == "1\n"
    assert rig.host.of("search")[-1] == {"query": ["a", "b"], "k": 5}
    for wrong in ("search()", "search('  ')", "search('a', folder='b')"):
        result = await rig.kernel.run(wrong, seconds=30)
        assert (result.error or "").endswith('it is search("words", k=5)'), wrong


async def test_a_cell_may_use_the_names_of_the_counting_tools(rig: Rig) -> None:
    assert await rig.ok("tally(['a', 'a']).most()") == "a\n"
    await rig.ok("pairs = [1, 2]")
    assert await rig.ok("pairs") == "[1, 2]\n"
    assert "pairs: list[2]" in await rig.ok("SHOW_VARS()")
    assert await rig.ok("del pairs\nNone") == ""
    assert await rig.ok("done(pairs({2: [1], 1: [1]}, bool))") == "[]\n"
    assert rig.host.of("answer")[-1]["content"] == "(1, 2)"


async def test_variables_outlive_an_exception_and_tracebacks_are_short(rig: Rig) -> None:
    result = await rig.kernel.run(
        "import json\nkept = 5\ndef f(t):\n    return json.loads(t)\nf('nope')", seconds=30
    )
    assert result.status == "error"
    assert result.error == "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"
    assert re.sub(r"cell \d+", "cell N", result.output) == (
        "Traceback (most recent call last):\n"
        "  File \"<cell N>\", line 5, in <module>\n    f('nope')\n"
        '  File "<cell N>", line 4, in f\n    return json.loads(t)\n'
        "           ^^^^^^^^^^^^^\n"
        "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)\n"
    )
    assert await rig.ok("kept") == "5\n"


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("1 +", "error", "SyntaxError: invalid syntax"),
        ("def f():\nreturn 1", "error", "IndentationError: "),
        ("def r(): r()\nr()", "error", "RecursionError: maximum"),
        ("raise KeyboardInterrupt", "error", "KeyboardInterrupt: "),
        ("raise ValueError('x' * 10**7)", "error", "ValueError: xxx"),
        (
            "class E(Exception):\n    def __str__(self): raise RuntimeError\nraise E",
            "error",
            "E: its message can't be shown",
        ),
        ("raise ValueError('\\ud800')", "error", "ValueError: ?"),
        ("import sys; sys.exit(3)", "error", "SystemExit: 3"),
        ("exit()", "ok", None),
        ("import sys; sys.exit()", "ok", None),
        ("quit(0)", "ok", None),
        ("input('name?')", "error", "StdinNotImplementedError: "),
    ],
)
async def test_cells_that_fail(rig: Rig, code: str, status: str, error: str | None) -> None:
    await rig.ok("alive = True")
    result = await rig.kernel.run(code, seconds=30)
    assert result.status == status
    assert (result.error or "").startswith(error or "")
    assert (result.error is None) == (error is None)
    assert "\x1b" not in result.output
    assert len(result.output) < 10_000
    assert await rig.ok("alive") == "True\n"


async def test_broken_tools_are_mended_before_the_next_cell(rig: Rig) -> None:
    await rig.ok(NO_ANSWER)
    await rig.ok("mine = 1\ncontext = llm_query = search = None\ndel done, FINAL\nanswer = None")
    assert await rig.ok("context[:11]") == "'The captain'\n"
    assert await rig.ok("llm_query('x'), mine") == "('re: x', 1)\n"
    assert await rig.ok("answer, done.__name__") == "({'content': '', 'ready': False}, 'done')\n"
    assert await rig.ok("get_ipython().reset()\nNone") == ""
    assert await rig.ok("llm_query('x')") == "'re: x'\n"


async def test_show_vars_lists_the_roots_own(rig: Rig) -> None:
    await rig.ok("get_ipython().reset()\nlines = ['a'] * 3\nn = 4\n_hidden = 1")
    assert await rig.ok("SHOW_VARS()") == "lines: list[3]\nn: int\n"
    assert await rig.ok("print(SHOW_VARS())") == "lines: list[3]\nn: int\n"


async def test_a_cell_can_say_and_keep_its_answer(rig: Rig) -> None:
    await rig.ok(NO_ANSWER)
    rig.host.calls.clear()
    await rig.ok("answer['content'] = 'draft'")
    await rig.ok("1 + 1")
    await rig.ok("answer['ready'] = True")
    assert rig.host.of("answer") == [
        {"content": "draft", "ready": False, "quotes": []},
        {"content": "draft", "ready": True, "quotes": []},
    ]
    # Said again, it is sent again; left alone, it is not.
    await rig.ok("answer['ready'] = True")
    await rig.ok("1 + 1")
    assert len(rig.host.of("answer")) == 3


async def test_done_tells_which_quotes_do_not_stand(rig: Rig) -> None:
    shown = await rig.ok("done(42, quotes=['The whale is white.', 'The whale is black.'])")
    assert "this quote does not stand in the context: 'The whale is black.'" in shown
    assert rig.host.of("answer") == [
        {
            "content": "42",
            "ready": True,
            "quotes": ["The whale is white.", "The whale is black."],
        }
    ]


@pytest.mark.parametrize(
    ("code", "content"),
    [
        ("FINAL('a')", "a"),
        ("SUBMIT(['b', 'ü'])", "b\nü"),
        ("c = {'k': 1}\nFINAL_VAR('c')", '{"k": 1}'),
        ("d = 'd'\nFINAL_VAR(' \"d\" ')", "d"),
        ("FINAL_VAR(3)", "3"),
        ("answer = {'content': 'e', 'ready': True}", "e"),
        ("FINAL('half \\udc80')", "half ?"),
        ("FINAL('f')\nraise ValueError", "f"),
    ],
)
async def test_answers_other_roots_were_taught(rig: Rig, code: str, content: str) -> None:
    await rig.kernel.run(code, seconds=30)
    said = rig.host.of("answer")
    assert [(one["content"], one["ready"]) for one in said] == [(content, True)]


async def test_an_empty_answer_is_refused_and_the_last_one_counts(rig: Rig) -> None:
    for nothing in ("None", "''", "[]", "{}", "set()"):
        result = await rig.kernel.run(f"done({nothing})", seconds=30)
        assert "so it was not taken" in (result.error or "")
    await rig.ok("if True:\n    done('first')\ndone(2.0, evidence='The whale is white.')\nNone")
    assert rig.host.of("answer")[-1] == {
        "content": "2",
        "ready": True,
        "quotes": ["The whale is white."],
    }


async def test_final_var_of_nothing_names_what_there_is(rig: Rig) -> None:
    await rig.ok("get_ipython().reset()\ntotal = 1")
    result = await rig.kernel.run("FINAL_VAR('totl')", seconds=30)
    assert result.error == "NameError: there is no variable 'totl'; there are: total"
    assert rig.host.of("answer") == []


async def test_printing_an_answer_is_no_answer(rig: Rig) -> None:
    await rig.ok("print(\"answer['ready'] = True FINAL('x')\")")
    assert rig.host.of("answer") == []


async def test_a_deadline_interrupts_and_variables_stay(rig: Rig) -> None:
    await rig.ok("kept = 7")
    for seconds in PATIENCE:
        result = await rig.kernel.run("print('begun')\nwhile True: pass", seconds=seconds)
        assert result.seconds < seconds + 10
        assert result.status == "interrupted"
        assert result.error == f"the cell ran into its limit of {seconds:g} s"
        if result.output.startswith("begun\n"):
            break
    assert result.output.startswith("begun\n")
    assert await rig.ok("kept") == "7\n"


async def test_an_async_cell_that_never_yields_is_interrupted_too(rig: Rig) -> None:
    await rig.ok("kept = 9")
    code = "import asyncio\nawait asyncio.sleep(0)\nwhile True: pass"
    assert (await rig.kernel.run(code, seconds=0.3)).status == "interrupted"
    assert await rig.ok("kept") == "9\n"


@pytest.mark.parametrize(
    "code",
    [
        "llm_query('sleep 60')",
        "llm_query_batched(['sleep 60'] * 20)",
        "await asyncio.gather(*[allm_query('sleep 60') for _ in range(20)])",
        "task = asyncio.create_task(allm_query('sleep 60'))\nawait task",
    ],
)
async def test_an_interrupted_cell_cancels_its_calls(rig: Rig, code: str) -> None:
    await rig.ok("import asyncio")
    result = await rig.kernel.run(code, seconds=0.4)
    assert result.status == "interrupted"
    async with asyncio.timeout(20):
        while rig.host.running:
            await asyncio.sleep(0.01)
    assert await rig.ok("llm_query('x')") == "'re: x'\n"


async def test_forked_children_call_over_their_own_connection(rig: Rig) -> None:
    code = (
        "import multiprocessing\n"
        "def ask(i):\n    return llm_query(f'q{i}')\n"
        "with multiprocessing.get_context('fork').Pool(3) as pool:\n"
        "    print(pool.map(ask, range(6)))"
    )
    assert await rig.ok(code) == f"{[f're: q{i}' for i in range(6)]}\n"
    assert await rig.ok("llm_query('x')") == "'re: x'\n"


async def test_a_large_value_is_cut_and_a_large_print_counted(rig: Rig) -> None:
    shown = await rig.ok("'x' * 10**7")
    assert "characters cut" in shown
    assert len(shown) < 200_000
    result = await rig.kernel.run("print('a' + 'y' * 10**6 + 'b')", seconds=30)
    assert result.status == "ok"
    assert result.dropped == 10**6 + 3 - (1 << 18)
    assert result.output[0] == "a"
    assert result.output.endswith("b\n")
    assert f"{result.dropped:,} bytes of output cut here" in result.output


async def test_output_that_has_to_wait_for_an_earlier_flood_is_not_lost() -> None:
    execution = Execution.new(Output(100), 100)
    execution.replied.set_result(None)
    finished = asyncio.create_task(execution.finished())
    for _ in range(5):
        # Read meanwhile: what an earlier cell has printed.
        await asyncio.sleep(0.6)
        execution.heard += 1
        assert not finished.done()
    execution.idle.set_result(None)
    await finished


async def test_a_sign_of_the_end_that_was_lost_is_not_waited_for() -> None:
    execution = Execution.new(Output(100), 100)
    execution.idle.set_result(None)
    async with asyncio.timeout(20):
        await execution.finished()


async def test_a_flood_is_interrupted_and_never_held(rig: Rig) -> None:
    await rig.ok("kept = 8")
    before = psutil.Process().memory_info().rss
    started = time.monotonic()
    result = await rig.kernel.run("while True: print('z' * 100_000)", seconds=60)
    assert time.monotonic() - started < 50
    assert result.status == "interrupted"
    assert result.error == "the cell printed more than 16,777,216 characters"
    assert len(result.output) < 300_000
    assert psutil.Process().memory_info().rss - before < 150 << 20
    assert await rig.ok("kept") == "8\n"


async def test_messages_that_are_none_disturb_no_one(rig: Rig) -> None:
    code = """
from ipykernel.kernelapp import IPKernelApp
app = IPKernelApp.instance()
io = app.iopub_thread
for parts in (
    [b'x'],
    [b'<IDS|MSG>', b'bad signature', b'{}', b'{}', b'{}', b'{}'],
    [b'<IDS|MSG>'],
    [b'<IDS|MSG>', b'\\xff' * 10] + [b'[' * 100_000] * 4,
    [b'\\0' * 500_000],
):
    io.send_multipart(parts)
parent = app.kernel.get_parent('shell')
for kind, content in (
    ('stream', {'text': 5}),
    ('stream', {}),
    ('status', {}),
    ('error', {'traceback': None}),
    ('execute_result', {'data': 7}),
):
    app.session.send(io, app.session.msg(kind, content, parent=parent))
print('still here')
"""
    assert "still here" in await rig.ok(code)
    assert await rig.ok("1") == "1\n"


async def test_a_message_too_large_costs_that_message_alone(rig: Rig) -> None:
    code = (
        "from ipykernel.kernelapp import IPKernelApp\nio = IPKernelApp.instance().iopub_thread\n"
        "io.send_multipart([b'x' * 50_000_000])\nimport time\ntime.sleep(0.5)"
    )
    await rig.ok(code)
    assert await rig.ok("2") == "2\n"


async def test_only_one_cell_at_a_time(rig: Rig) -> None:
    code = "import time\na = time.time()\ntime.sleep(0.1)\nprint(a, time.time())"
    outputs = await asyncio.gather(*[rig.ok(code) for _ in range(3)])
    spans = sorted(tuple(map(float, one.split())) for one in outputs)
    assert spans[0][1] <= spans[1][0]
    assert spans[1][1] <= spans[2][0]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os._exit(3)", "the kernel died: exit status 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "the kernel died: killed"),
        ("import ctypes; ctypes.string_at(0)", "the kernel died: signal 11"),
    ],
)
async def test_a_kernel_that_dies_is_replaced_at_once(tmp_path: Path, code: str, said: str) -> None:
    host = Host()
    async with running(tmp_path, host) as kernel:
        started = time.monotonic()
        result = await kernel.run(f"print('begun', flush=True)\n{code}", seconds=100)
        assert time.monotonic() - started < 50
        assert result.status == "killed"
        assert result.error is not None
        assert result.error.startswith(said)
        assert result.error.endswith("all variables are gone")
        fresh = await kernel.run("llm_query('x'), context[:3]", seconds=30)
        assert fresh.output == "('re: x', 'The')\n"
        assert len(list(kernel.folder.iterdir())) == 1


async def test_a_cell_that_will_not_stop_is_killed_and_its_calls_with_it(tmp_path: Path) -> None:
    host = Host()
    async with running(tmp_path, host, limits=Limits(grace_seconds=0.6)) as kernel:
        code = (
            "import signal, threading\n"
            "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
            "print('begun', flush=True)\n"
            "threading.Thread(target=lambda: llm_query('sleep 600')).start()\n"
            "while True: pass"
        )
        for seconds in PATIENCE:
            host.calls.clear()
            host.cancelled = 0
            result = await kernel.run(code, seconds=seconds)
            if host.of("llm_query"):
                break
        assert result.seconds < seconds + 10
        assert result.status == "killed"
        assert f"limit of {seconds:g} s, and did not end when interrupted" in (result.error or "")
        assert result.output == "begun\n"
        assert (host.running, host.cancelled) == (0, 1)
        assert (await kernel.run("1", seconds=30)).output == "1\n"
        # One long call in C sees no signal at all.
        for seconds in PATIENCE:
            result = await kernel.run("sum(range(10**12))", seconds=seconds)
            if result.status == "killed":
                break
        assert result.status == "killed"


async def test_a_kernel_that_died_between_cells_says_so(tmp_path: Path) -> None:
    host = Host()
    async with running(tmp_path, host) as kernel:
        dying = "import threading, os\ndef die():\n    llm_query('wait')\n    os._exit(4)"
        begun = await kernel.run(f"{dying}\nthreading.Thread(target=die).start()", seconds=30)
        assert begun.status == "ok"
        host.told.set()
        async with asyncio.timeout(30):
            while kernel.alive:
                await asyncio.sleep(0.01)
        result = await kernel.run("print('not run')", seconds=30)
        assert result.status == "killed"
        assert result.output == ""
        assert "the cell was not run" in (result.error or "")
        assert (await kernel.run("1", seconds=30)).status == "ok"


async def test_a_cancelled_run_leaves_a_usable_kernel(tmp_path: Path) -> None:
    async with running(tmp_path, Host()) as kernel:
        task = asyncio.create_task(kernel.run("while True: pass", seconds=60))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await kernel.run("1", seconds=30)).output == "1\n"


async def test_memory_is_capped(tmp_path: Path) -> None:
    async with running(tmp_path, Host(), limits=Limits(memory=1 << 30)) as kernel:
        result = await kernel.run("kept = 1\nx = bytearray(2 << 30)", seconds=30)
        assert (result.error or "").startswith("MemoryError")
        assert (await kernel.run("kept", seconds=30)).output == "1\n"


async def test_a_closed_kernel_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, Host()) as kernel:
        await kernel.close()
        await kernel.close()
        with pytest.raises(SandboxError, match="closed"):
            await kernel.run("1", seconds=1)


async def test_closing_ends_a_cell_under_way(tmp_path: Path) -> None:
    async with running(tmp_path, Host()) as kernel:
        task = asyncio.create_task(kernel.run("while True: pass", seconds=60))
        await asyncio.sleep(0.2)
        await kernel.close()
        with pytest.raises(SandboxError, match="closed while a cell ran"):
            await task


async def test_a_missing_context_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    before = descendants()
    with pytest.raises(SandboxError, match="not a folder"):
        await Kernel.start(KernelSpec(context=tmp_path / "none"), Host())
    (tmp_path / "empty").mkdir()
    with pytest.raises(SandboxError, match=r"died at its start.*meta\.json"):
        await Kernel.start(KernelSpec(context=tmp_path / "empty"), Host())
    assert descendants() <= before


def test_limits_are_checked_where_they_are_made() -> None:
    with pytest.raises(ConfigError, match="sandbox limits: tmp must be above zero, not 0"):
        Limits(tmp=0)


def test_output_keeps_both_ends() -> None:
    output = Output(10)
    for piece in ("ab", "cdefgh", "", "i" * 50, "\x1b[31mz\x1b[0m"):
        output.add(piece)
    assert output.total == 68
    assert output.text().startswith("abcde\n... 58 bytes")
    small = Output(4)
    for letter in "abcdef\u00e9g":
        small.add(letter)
    assert small.text() == "ab\n... 4 bytes of output cut here ...\n\u00e9g"
    whole = Output(100)
    whole.add("\x1b[1;31mred\x1b[0m \x1b]0;title\x07ok")
    assert whole.text() == "red ok"
    assert whole.dropped == 0


def test_what_is_taken_between_two_looks_at_it_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread that takes what children have printed empties the pipe while it is looked into."""
    out: Any = SimpleNamespace(_fid=0, _taking=False, written=False)

    def written() -> None:
        out.written = True
        out._taking = False

    def unread(_: int) -> int:
        if not out.written and not out._taking:
            out._taking = True
            threading.Timer(0.05, written).start()
        return 0

    monkeypatch.setattr(stream, "_unread", unread)
    stream.Stream.catch_up(out)
    assert out.written


async def test_a_process_that_can_not_be_held_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(pid: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    before = descendants()
    monkeypatch.setattr(os, "pidfd_open", full)
    with pytest.raises(OSError, match="Too many"):
        Child.spawn(["/bin/sleep", "60"], env={}, fds=())
    assert descendants() <= before
