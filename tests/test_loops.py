"""Loops in cells: transformed, they do and say what they would untouched."""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import inspect
import io
import linecache
import textwrap
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from outcore.kernel_sandbox.inside.dry_run import loops

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def names_in_builtins() -> Iterator[None]:
    before = dict(vars(builtins))
    loops.install()
    yield
    for name in set(vars(builtins)) - set(before):
        delattr(builtins, name)


def outcome(source: str, *, transformed: bool) -> tuple[str, str]:
    """What a cell prints, and its traceback with the chain of causes."""
    name = "<cell 1>"
    tree = ast.parse(source, name)
    if transformed:
        loops.transform(tree)
        ast.fix_missing_locations(tree)
    code = compile(tree, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    printed, report = io.StringIO(), ""
    space: dict[str, Any] = {"__name__": "__main__"}
    with contextlib.redirect_stdout(printed):
        try:
            done = eval(code, space)
            if inspect.iscoroutine(done):
                asyncio.run(done)
        except BaseException as error:
            trace = error.__traceback__
            while trace is not None and trace.tb_frame.f_code.co_filename != name:
                trace = trace.tb_next
            report = "".join(traceback.format_exception(type(error), error, trace))
    return printed.getvalue(), report


RAISING = {
    "for": "for i in range(3):\n    print(i)\n    if i == 1:\n        {}['a' + str(i)]",
    "nested": (
        "for i in range(2):\n  for j in range(2):\n    while True:\n      (i +\n"
        "       1 / (j - 1))\n"
        "      break"
    ),
    "function": (
        "def f(x):\n    '''says'''\n    for one in x:\n        yield int(one)\n"
        "print(f.__doc__)\nfor n in f(['1', 'x']):\n    print(n)"
    ),
    "method": (
        "class A:\n    '''says'''\n    n = 0\n    for n in range(3):\n        pass\n"
        "    def m(self):\n        while self.n:\n            self.n -= 1\n            self.k\n"
        "print(A.__doc__)\nA().m()"
    ),
    "raise from": (
        "for x in 'ab':\n    try:\n        int(x)\n    except ValueError as e:\n"
        "        raise KeyError(x) from e"
    ),
    "context": ("for x in 'ab':\n    try:\n        int(x)\n    except ValueError:\n        len(5)"),
    "finally": (
        "def f():\n    for x in range(3):\n        try:\n            if x == 1:\n"
        "                continue\n            if x == 2:\n                return 1 / 0\n"
        "        finally:\n            print('finally', x)\nf()"
    ),
    "bare raise": (
        "def f():\n    try:\n        1 / 0\n    except ZeroDivisionError:\n"
        "        for _ in range(1):\n            raise\nf()"
    ),
    "else": "for i in range(2):\n    pass\nelse:\n    print('else', i)\n    None.x",
    "except star": (
        "for i in range(2):\n    try:\n        raise ExceptionGroup('g', [ValueError(i), "
        "KeyError(i)])\n    except* ValueError as e:\n        print(e.exceptions)"
    ),
    "in a handler": (
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    for i in [1]:\n        [][i]"
    ),
    "with": (
        "import contextlib\nfor i in range(3):\n    with contextlib.suppress(KeyError):\n"
        "        print(i)\n        raise KeyError if i < 2 else IndexError(i)"
    ),
    "lambda": "for f in [lambda: 1, lambda: {}[0]]:\n    print(f())",
    "decorator": (
        "def twice(f):\n    def inner(*a):\n        for _ in range(2):\n            r = f(*a)\n"
        "        return r\n    return inner\n@twice\ndef g(x):\n    print(x)\n"
        "    return x / 0\ng(4)"
    ),
    "recursion": "def r(n):\n    for x in [n]:\n        r(x + 1)\nr(0)",
    "recursion seen": (
        "def r(n):\n    for x in [n]:\n        try:\n            return r(x + 1)\n"
        "        except RecursionError as e:\n            return type(e.__context__), str(e)\n"
        "print(r(0))"
    ),
    "global": "def f():\n    for i in range(2):\n        global g\n        g = i\n    h\nf()",
    "unbound": "def f():\n    for i in []:\n        x = 1\n    return x\nf()",
    "delete": "for i in range(2):\n    del i\n    i",
    "await": (
        "import asyncio\nasync def f(i):\n    await asyncio.sleep(0)\n    return 1 / (1 - i)\n"
        "for i in range(3):\n    print(await f(i))"
    ),
    "async for": (
        "async def g():\n    for i in range(2):\n        yield i\n    raise ValueError('end')\n"
        "async for x in g():\n    print(x)\n    await nothing"
    ),
    "future": "from __future__ import annotations\nfor i in [0]:\n    x: nope = 1 / i",
    "exit": "for i in range(3):\n    raise SystemExit(i)",
    "thrown in": (
        "def g():\n    while True:\n        try:\n            yield 1\n"
        "        except KeyError:\n            print('key')\nit = g()\nnext(it)\n"
        "it.throw(KeyError)\n"
        "it.throw(ValueError('in'))"
    ),
    "closed": (
        "def g():\n    for i in range(9):\n        try:\n            yield i\n        finally:\n"
        "            print('closed')\nit = g()\nnext(it)\nit.close()\n1 / 0"
    ),
    "stop": "it = iter([])\nfor i in [1]:\n    next(it)",
    "match": (
        "for p in [(1, 2), 'x']:\n    match p:\n        case (a, b):\n            print(a)\n"
        "        case _:\n            for c in p:\n                c.nope"
    ),
    "one line": "for i in range(3): print(i); i / 0",
    "while line": "x = 3\nwhile x: x -= 1; print(1 / (x - 1))",
    "condition": "x = [1, 2]\nwhile x[2]:\n    pass",
    "iterator": "for i in 5:\n    pass",
    "target": "for i, j in [(1, 2), (3,)]:\n    print(i)",
    "multiline": "for i in range(2):\n    print(\n        i,\n        max([],\n"
    "            key=len),\n    )",
    "notes": "for i in [1]:\n    e = ValueError(1)\n    e.add_note('n')\n    raise e",
    "reused": (
        "e = ValueError('kept')\nfor i in range(2):\n    try:\n        raise e\n"
        "    except ValueError:\n        pass\nraise e"
    ),
}
QUIET = {
    "break else": (
        "for i in range(3):\n    if i == 1:\n        break\nelse:\n    print('no')\nprint(i)\n"
        "while i:\n    i -= 1\n    continue\nelse:\n    print('else')"
    ),
    "return": "def f():\n    for i in range(3):\n        while True:\n            return i\n"
    "print(f())",
    "own handlers": (
        "for x in ['1', 'a', '2']:\n    try:\n        print(int(x))\n    except ValueError as e:\n"
        "        print('bad', e, e.__context__, e.__traceback__.tb_lineno)"
    ),
    "around": (
        "import sys\ntry:\n    for i in [1]:\n        1 / 0\nexcept Exception as e:\n"
        "    print(e.__context__, e.__cause__, e.__traceback__.tb_next)\nprint(sys.exc_info())"
    ),
    "exc_info": "import sys\nfor i in [1]:\n    print(sys.exc_info())",
    "generator value": (
        "def g():\n    for i in range(2):\n        x = yield i\n        print(x)\n    return 9\n"
        "def h():\n    while True:\n        r = yield from g()\n        print('r', r)\n"
        "        return\n"
        "it = h()\nprint(next(it), it.send(5))\nprint(list(it))"
    ),
    "scopes": (
        "class A:\n    __x = 3\n    for i in range(2):\n        __y = i\n    def f(self):\n"
        "        n = 0\n        def g():\n            nonlocal n\n            for j in range(4):\n"
        "                n += self.__x\n        g()\n        return n, self._A__y\nprint(A().f())"
    ),
}


@pytest.mark.parametrize("shape", RAISING)
def test_a_traceback_is_the_same_to_the_letter(shape: str) -> None:
    printed, report = outcome(RAISING[shape], transformed=False)
    assert report or "print" in RAISING[shape]
    assert outcome(RAISING[shape], transformed=True) == (printed, report)


@pytest.mark.parametrize("shape", QUIET)
def test_what_raises_nothing_runs_the_same(shape: str) -> None:
    printed, report = outcome(QUIET[shape], transformed=False)
    assert printed
    assert not report
    assert outcome(QUIET[shape], transformed=True) == (printed, report)


@pytest.mark.parametrize("depth", [1, 4, 9, 10, 12, 17])
@pytest.mark.parametrize("kind", ["for i in [1]:", "with open('/dev/null'):", "try:"])
def test_what_python_can_nest_can_still_be_nested(kind: str, depth: int) -> None:
    def nested(left: int) -> str:
        if not left:
            return "for i in [1]:\n    for j in [2]:\n        print(i + j)"
        tail = "\nfinally:\n    pass" if kind == "try:" else ""
        return f"{kind}\n    " + nested(left - 1).replace("\n", "\n    ") + tail

    source = nested(depth)
    plain = outcome(source, transformed=False)
    assert plain[0]
    assert outcome(source, transformed=True) == plain


def test_the_loops_of_a_dry_run_go_on_past_exceptions() -> None:
    slips: list[int] = []
    source = (
        "def f():\n    for i in range(3):\n        for j in range(2):\n            print(i, j)\n"
        "            {}[j]\nf()\nk = 0\nwhile k < 3:\n    k += 1\n    print(k)\n    k.nope\n"
        "def g():\n    for i in range(2):\n        yield i\n        1 / 0\nprint(list(g()))"
    )
    loops.let_exceptions_by(lambda: slips.append(1))
    printed, report = outcome(source, transformed=True)
    assert report == ""
    assert printed == "0 0\n0 1\n1 0\n1 1\n2 0\n2 1\n1\n2\n3\n[0, 1]\n"
    assert len(slips) == 11


@pytest.mark.parametrize("way_out", ["SystemExit", "KeyboardInterrupt", "GeneratorExit"])
def test_what_ends_a_program_ends_a_dry_run(way_out: str) -> None:
    loops.let_exceptions_by(lambda: None)
    printed, report = outcome(
        f"for i in range(3):\n    print(i)\n    raise {way_out}", transformed=True
    )
    assert printed == "0\n"
    assert way_out in report


@pytest.mark.parametrize(
    ("source", "again"),
    [
        ("x = llm_query('a')", False),
        ("print(llm_query('a').strip())", False),
        ("x = llm_query('a')\ny = llm_query('b')", True),
        ("for i in x:\n    pass", True),
        ("[llm_query(i) for i in x]", True),
        ("list(map(llm_query, x))", True),
        ("asked(3)", True),
        ("thing.ask().more(3)", True),
        ("len(x)\nllm_query('a')", False),
        ("f = lambda: llm_query('a')", True),
        ("while x:\n    x = llm_query(x)", True),
    ],
)
def test_a_cell_that_can_ask_once_is_told_from_one_that_can_ask_again(
    source: str, again: bool
) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("def asked(n): pass\nclass Thing: pass\nthing = Thing()", names)
    assert loops.asks_again(ast.parse(source), names) is again


@pytest.mark.parametrize("star", ["", "*"])
@pytest.mark.parametrize("levels", range(1, 8))
def test_what_python_can_nest_stays_as_it_was(star: str, levels: int) -> None:
    """Handlers take more of Python's blocks than what they stand beside."""
    source = "print('there')"
    for _ in range(levels):
        inside = textwrap.indent(source, " " * 8)
        source = (
            f"for x in [1]:\n    try:\n        1 / 0\n"
            f"    except{star} ZeroDivisionError as error:\n{inside}\n"
            "    finally:\n        pass"
        )
    try:
        compile(source, "cell", "exec")
    except SyntaxError:
        return
    tree = ast.parse(source)
    loops.transform(tree)
    compile(tree, "cell", "exec")
