"""What a kernel can write into the host's log: little, and nothing that a terminal obeys."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from test_broker import call, frame, is_closed, joined, read, serving, still_serves

from outcore.kernel_sandbox.bounded_log import BoundedLog

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

LOG = logging.getLogger("tests.bounded_log")


def test_few_of_each_kind_are_shown_and_the_others_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = BoundedLog(LOG)
    for number in range(12):
        log.warning("no %s", number)
        log.warning("other")
    said = caplog.text
    assert "no 3" in said
    assert "no 4 (the next ones like this are counted only)" in said
    assert "no 5" not in said
    caplog.clear()
    log.close()
    assert "7 more like: no %s" in caplog.text
    assert "7 more like: other" in caplog.text
    caplog.clear()
    log.close()
    assert caplog.text == ""


def test_what_it_is_about_is_one_short_line_of_plain_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    BoundedLog(LOG).warning("sent %s", "\x1b[2J\nINFO all is well\x07\u202e" + "x" * 10_000)
    (record,) = caplog.records
    said = record.getMessage()
    assert said.startswith("sent \\x1b[2J\\nINFO all is well\\x07\\u202ex")
    assert said.isprintable()
    assert len(said) < 400


async def test_refused_connections_fill_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path):
        for _ in range(40):
            async with joined(tmp_path, hello={"token": "wrong"}) as (reader, _):
                assert await is_closed(reader)
        await still_serves(tmp_path)
        assert caplog.text.count("wrong token") == 5
    assert "35 more like: bridge: refused a connection with a wrong token" in caplog.text


async def test_frames_that_break_the_rules_fill_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path):
        for _ in range(40):
            async with joined(tmp_path) as (reader, writer):
                writer.write(frame(b"\x1b[31mno frame"))
                assert await is_closed(reader)
        assert caplog.text.count("closed a connection that sent") == 5
        assert "\x1b" not in caplog.text


async def test_calls_that_a_bug_of_the_host_fails_fill_no_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path), joined(tmp_path) as (reader, writer):
        for number in range(40):
            writer.write(call(number, "bug"))
            assert (await read(reader))["error"]["type"] == "SubcallError"
        assert caplog.text.count("Traceback") == 5
        writer.write(call(40, op="\x1b[31m"))
        await read(reader)
        assert "\x1b" not in caplog.text
