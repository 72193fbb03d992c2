"""The bridge itself: wrong tokens, wrong frames, wrong calls, and too many of all.

Each attack first makes a right call, so that a refusal means what it says, and ends by seeing
that the host still serves this kernel.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from .attack import Aim, Stopped, attack
from .line import Line, answer, framed, own_bridge, still_served

_WITHIN = "a right call is answered first, over the same bridge"


def _closed(send: Callable[[Line, Aim], object], aim: Aim) -> str:
    """The host has to hang up on what `send` sends, and to go on serving others."""
    path, token, _ = own_bridge()
    with Line(path, token) as line:
        line.ask("before")
        try:
            send(line, aim)
            line.is_closed()
        except TimeoutError:
            still_served()
            return "the host went on listening"
        except Stopped:
            still_served()
            raise
    return "the host answered"


def _refused(hello: Any) -> str:
    path, token, _ = own_bridge()
    with Line(path, token) as line:
        line.ask("before")
    try:
        with Line(path, hello) as line:
            return f"answered: {line.ask('let me in')}"
    finally:
        still_served()


def _nested(depth: int) -> bytes:
    return b'{"id":1,"op":"llm_query","params":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1)


@attack("kernel", control=_WITHIN)
def wrong_token(aim: Aim) -> str:
    """The host answers whoever knows where its socket is."""
    del aim
    return _refused(secrets.token_hex(32))


@attack("kernel", control=_WITHIN)
def no_token(aim: Aim) -> str:
    """A call is answered without any token before it."""
    del aim
    return _refused(None)


@attack("kernel", control=_WITHIN)
def empty_token(aim: Aim) -> str:
    """An empty token will do."""
    del aim
    return _refused("")


@attack("kernel", control=_WITHIN)
def part_of_the_token(aim: Aim) -> str:
    """The beginning of the token will do, so that it can be guessed piece by piece."""
    del aim
    return _refused(own_bridge()[1][:-1])


@attack("kernel", control=_WITHIN)
def token_of_another_type(aim: Aim) -> str:
    """A token that is no text passes the comparison."""
    del aim
    hellos = ({"token": True}, {"token": [own_bridge()[1]]}, {"token": None}, {"Token": "x"})
    for hello in hellos:
        with contextlib.suppress(Stopped):
            return _refused(framed(hello))
    raise Stopped("the host closed the connection")


@attack("kernel", control=_WITHIN)
def token_given_twice(aim: Aim) -> str:
    """A second hello is taken for a call."""

    def send(line: Line, aim: Aim) -> None:
        del aim
        line.send(framed({"token": own_bridge()[1]}))

    return _closed(send, aim)


@attack("kernel", expected="allowed", control=_WITHIN)
def frames_replayed(aim: Aim) -> str:
    """Frames sent again on a new connection are new calls of the same kernel, and charged so.

    Whoever can listen in on them is that kernel.
    """
    path, token, _ = own_bridge()
    sent = framed({"id": 7, "op": "llm_query", "params": {"prompt": f"replay {aim.mark}"}})
    answers = []
    for _ in range(2):
        with Line(path, token) as line:
            line.send(sent)
            answers.append(answer(line.read()))
    still_served()
    return f"answered {len(answers)} times"


@attack("kernel", control=_WITHIN)
def frame_of_two_gigabytes(aim: Aim) -> str:
    """A length in a header makes the host set aside that much memory."""
    return _closed(lambda line, _: line.send(struct.pack(">I", 1 << 31) + b"{"), aim)


@attack("kernel", control=_WITHIN)
def frame_above_the_cap(aim: Aim) -> str:
    """A frame one byte above the cap is taken."""
    cap = own_bridge()[2]
    return _closed(lambda line, _: line.send(struct.pack(">I", cap + 1) + b"{"), aim)


@attack("kernel", control=_WITHIN)
def bytes_of_another_protocol(aim: Aim) -> str:
    """The host takes another protocol's bytes for a frame."""
    return _closed(lambda line, _: line.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 4), aim)


@attack("kernel", control=_WITHIN)
def frame_that_is_not_json(aim: Aim) -> str:
    """Broken JSON stops the host."""
    return _closed(lambda line, _: line.send(framed(b'{"id": 1, "op": ')), aim)


@attack("kernel", control=_WITHIN)
def frame_that_is_not_text(aim: Aim) -> str:
    """Bytes that are no UTF-8 stop the host."""
    return _closed(lambda line, _: line.send(framed(b"\xff\xfe\x00" * 100)), aim)


@attack("kernel", control=_WITHIN)
def frame_of_deep_json(aim: Aim) -> str:
    """JSON of 200,000 levels uses up the host's stack."""
    return _closed(lambda line, _: line.send(framed(_nested(200_000))), aim)


@attack("kernel", control=_WITHIN)
def frame_of_many_values(aim: Aim) -> str:
    """A few megabytes of JSON become gigabytes of objects."""
    many = b'{"id":1,"op":"llm_query","params":{"p":[' + b"[]," * 1_200_000 + b"0]}}"
    return _closed(lambda line, _: line.send(framed(many)), aim)


@attack("kernel", control=_WITHIN)
def frame_of_many_objects(aim: Aim) -> str:
    """The same with objects, and with commas that only look like text."""
    one = rb'{"\"":{"\"":{}}},'
    many = b'{"id":1,"op":"llm_query","params":{"p":[' + one * 200_000 + b"0]}}"
    return _closed(lambda line, _: line.send(framed(many)), aim)


@attack("kernel", control=_WITHIN)
def frame_with_a_long_number(aim: Aim) -> str:
    """A number of a million digits keeps the host busy."""
    return _closed(lambda line, _: line.send(framed(b'{"id":' + b"9" * 1_000_000 + b"}")), aim)


@attack("kernel", control=_WITHIN)
def frame_with_numbers_that_are_none(aim: Aim) -> str:
    """Numbers that JSON lacks get past the host's checks."""

    def send(line: Line, _: Aim) -> None:
        line.send(framed(b'{"id":1,"op":"llm_query","params":{"max_tokens":NaN}}'))

    return _closed(send, aim)


@attack("kernel", control=_WITHIN)
def frame_with_half_a_character(aim: Aim) -> str:
    """Half of a surrogate pair in a text stops whoever writes it to disk."""

    def send(line: Line, _: Aim) -> None:
        line.send(framed(rb'{"id":1,"op":"llm_query","params":{"prompt":"\ud800"}}'))

    return _closed(send, aim)


@attack("kernel", control=_WITHIN)
def number_that_is_none(aim: Aim) -> str:
    """A call whose number is of another type confuses the host."""
    for number in ("1", 1.5, True, None, [1], {"a": 1}):

        def send(line: Line, _: Aim, number: Any = number) -> None:
            line.send(framed({"id": number, "op": "llm_query", "params": {"prompt": "x"}}))

        with contextlib.suppress(Stopped):
            return f"{number!r}: {_closed(send, aim)}"
    raise Stopped("the host closed the connection, each time")


@attack("kernel", control=_WITHIN)
def name_that_is_none(aim: Aim) -> str:
    """A call whose name is of another type, or endless, confuses the host."""
    for op in (5, None, ["llm_query"], {"a": 1}, "x" * 100_000):

        def send(line: Line, _: Aim, op: Any = op) -> None:
            line.send(framed({"id": 1, "op": op, "params": {}}))

        with contextlib.suppress(Stopped):
            return f"{op!r:.40}: {_closed(send, aim)}"
    raise Stopped("the host closed the connection, each time")


@attack("kernel", control=_WITHIN)
def one_number_for_two_calls(aim: Aim) -> str:
    """Two calls of one number at once: the host loses one of them."""

    def send(line: Line, aim: Aim) -> None:
        for _ in range(2):
            line.call("llm_query", {"prompt": f"sleep {aim.mark}"}, 99)

    return _closed(send, aim)


@attack("kernel", control=_WITHIN)
def calls_that_do_not_exist(aim: Aim) -> str:
    """Some name of a call reaches into the host's own code."""
    del aim
    path, token, _ = own_bridge()
    names = ("__class__", "__init__", "close", "serve", "eval", "exec", "", "llm_query\0", "../x")
    with Line(path, token) as line:
        line.ask("before")
        for op in names:
            line.call(op, {"prompt": "x"})
            with contextlib.suppress(Stopped):
                return f"{op!r} gave {answer(line.read())!r}"
    still_served()
    raise Stopped(f"the host refused {len(names)} names")


@attack("kernel", control=_WITHIN)
def parameters_of_other_types(aim: Aim) -> str:
    """Parameters that are no object, or not of the type the call wants, confuse the host."""
    del aim
    path, token, _ = own_bridge()
    odd: tuple[Any, ...] = (None, [], "x", 5, True)
    with Line(path, token) as line:
        line.ask("before")
        for params in odd:
            line.call("llm_query", params)
            with contextlib.suppress(Stopped):
                return f"{params!r} gave {answer(line.read())!r}"
    still_served()
    raise Stopped("the host refused them")


@attack("kernel", control=_WITHIN)
def call_of_another_connection_cancelled(aim: Aim) -> str:
    """One process of the kernel cancels the calls of another by their numbers."""
    path, token, _ = own_bridge()
    with Line(path, token) as one, Line(path, token) as two:
        one.call("llm_query", {"prompt": f"wait {aim.mark}"}, 5)
        for _ in range(3):
            two.send(framed({"id": 5, "op": "cancel"}))
            two.ask("after it")
        answer(one.read())
    still_served()
    raise Stopped("the call was answered")


@attack("kernel", control=_WITHIN)
def answer_of_another_connection_taken(aim: Aim) -> str:
    """A process of the kernel gets the answers to another's calls."""
    path, token, _ = own_bridge()
    with Line(path, token) as one, Line(path, token) as two:
        one.call("llm_query", {"prompt": f"wait {aim.mark}"}, 5)
        two.call("llm_query", {"prompt": "mine"}, 5)
        mine = str(answer(two.read()))
        one.read()
    still_served()
    if aim.mark in mine:
        return mine
    raise Stopped("each got its own")


@attack("kernel", control=_WITHIN)
def cancelling_what_is_not_there(aim: Aim) -> str:
    """Cancelling calls that do not exist, or whose number is no number, stops the host."""
    del aim
    path, token, _ = own_bridge()
    with Line(path, token) as line:
        for number in (0, -1, 10**40, 5):
            line.send(framed({"id": number, "op": "cancel"}))
        line.ask("after it")
    still_served()
    raise Stopped("nothing came of it")


@attack("kernel", control=_WITHIN)
def half_a_frame(aim: Aim) -> str:
    """A frame that never ends holds up the others."""
    path, token, _ = own_bridge()
    with Line(path, token) as line:
        line.send(struct.pack(">I", 5_000) + b'{"id": 1')
        started = time.monotonic()
        still_served()
        waited = time.monotonic() - started
    if waited > 5:
        return f"held up {aim.mark} for {waited:.1f} s"
    raise Stopped("the others were served")


@attack("kernel", control=_WITHIN)
def a_byte_at_a_time(aim: Aim) -> str:
    """A frame that comes slowly holds up the others."""
    path, token, _ = own_bridge()
    frame = framed({"id": 3, "op": "llm_query", "params": {"prompt": aim.mark}})
    with Line(path, token) as line:
        for at in range(len(frame)):
            line.send(frame[at : at + 1])
            if at % 40 == 0:
                still_served()
        answer(line.read())
    raise Stopped("all were served")


@attack("kernel", control=_WITHIN)
def answers_that_are_never_read(aim: Aim) -> str:
    """Answers that nobody takes pile up in the host."""
    path, token, cap = own_bridge()
    text = "x" * min(cap // 4, 1 << 20)
    with Line(path, token, seconds=2) as line, contextlib.suppress(TimeoutError, Stopped):
        for number in range(400):
            line.call("llm_query", {"prompt": f"echo {text}"}, number)
    still_served()
    raise Stopped(f"the host waited with them; {aim.mark}")


@attack("kernel", control=_WITHIN, seconds=30)
def flood_of_connections(aim: Aim) -> str:
    """So many connections that the host has none left for others."""
    del aim
    path, token, _ = own_bridge()
    held = []
    try:
        for _ in range(300):
            one = socket.socket(socket.AF_UNIX)
            one.settimeout(2)
            held.append(one)
            with contextlib.suppress(OSError):
                one.connect(path)
                one.send(framed({"token": token}))
    finally:
        for one in held:
            one.close()
    still_served()
    raise Stopped("the host went on")


@attack("kernel", control=_WITHIN, seconds=30)
def flood_of_silence(aim: Aim) -> str:
    """Connections that say nothing are held open for ever."""
    del aim
    path, _, _ = own_bridge()
    held = []
    for _ in range(40):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(12)
        with contextlib.suppress(OSError):
            one.connect(path)
            held.append(one)
    for one in held:
        try:
            if one.recv(1):
                return "the host spoke first"
        except TimeoutError:
            return "the host went on waiting"
        except OSError:
            pass
        finally:
            one.close()
    still_served()
    raise Stopped("the host hung up on all")


@attack("kernel", control=_WITHIN, seconds=30)
def flood_of_calls(aim: Aim) -> str:
    """More calls than the host can hold."""
    path, token, _ = own_bridge()
    body = json.dumps({"prompt": f"flood {aim.mark}"})
    frames = b"".join(
        framed(f'{{"id":{number},"op":"llm_query","params":{body}}}'.encode())
        for number in range(20_000)
    )
    with Line(path, token, seconds=20) as line:
        line.socket.setblocking(False)
        sent = 0
        until = time.monotonic() + 15
        while sent < len(frames) and time.monotonic() < until:
            try:
                sent += line.socket.send(frames[sent : sent + (1 << 16)])
            except BlockingIOError:
                # What is never read would stop an honest sender, so read.
                with contextlib.suppress(BlockingIOError):
                    line.socket.recv(1 << 20)
                time.sleep(0.001)
    still_served()
    raise Stopped(f"the host took {sent:,} bytes and went on")


@attack("kernel", control=_WITHIN)
def answer_of_odd_types(aim: Aim) -> str:
    """The answer of a run is replaced by something that is none."""
    del aim
    path, token, _ = own_bridge()
    odd: tuple[Any, ...] = (
        {"content": {"a": [1, {"b": None}]}, "ready": "yes", "quotes": "x"},
        {"content": "x" * 1_000_000, "ready": True, "quotes": ["q"] * 50_000},
        {"content": 5, "ready": 1, "quotes": None},
        {},
    )
    with Line(path, token) as line:
        for params in odd:
            line.call("answer", params)
            line.read()
        line.ask("after it")
    still_served()
    raise Stopped("the host went on")
