"""API keys: each goes to the server that it belongs to, and to no other."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from outcore.errors import ConfigError
from outcore.models.api_key import api_keys
from outcore.models.progress import SILENT
from outcore.models.serve import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ONE, OTHER = "http://one:8000", "http://other:8000"
SHARED, ROOT, SUB = "OUTCORE_API_KEY", "OUTCORE_ROOT_API_KEY", "OUTCORE_SUB_API_KEY"


@pytest.mark.parametrize(
    ("addresses", "environment", "keys"),
    [
        ({"root": ONE}, {}, {}),
        ({}, {SHARED: "k"}, {}),
        ({"sub": ONE}, {SHARED: "k"}, {ONE: "k"}),
        ({"sub": ONE}, {ROOT: "k"}, {}),
        ({"root": ONE, "sub": ONE}, {SHARED: "k"}, {ONE: "k"}),
        ({"root": ONE, "sub": ONE}, {SUB: "k"}, {ONE: "k"}),
        ({"root": ONE, "sub": ONE}, {ROOT: "r", SUB: "s"}, {ONE: "r"}),
        ({"root": f"{ONE}#a", "sub": f"{ONE}/v1#b"}, {SHARED: "k"},
         {f"{ONE}#a": "k", f"{ONE}/v1#b": "k"}),
        ({"root": "https://a", "sub": "https://a:443"}, {SHARED: "k"},
         {"https://a": "k", "https://a:443": "k"}),
        ({"root": ONE, "sub": OTHER}, {ROOT: "r"}, {ONE: "r"}),
        ({"root": ONE, "sub": OTHER}, {ROOT: "r", SUB: "s"}, {ONE: "r", OTHER: "s"}),
        ({"root": ONE, "sub": OTHER}, {ROOT: "r", SHARED: "k"}, {ONE: "r", OTHER: "k"}),
    ],
)  # fmt: skip
def test_whose_key_it_is(
    addresses: dict[str, str], environment: dict[str, str], keys: dict[str, str]
) -> None:
    assert api_keys(addresses, environment) == keys


@pytest.mark.parametrize("other", [OTHER, "https://one:8000", "http://one:8001", "http://one"])
def test_a_key_of_two_servers_is_refused(other: str) -> None:
    with pytest.raises(ConfigError, match=f"{ROOT} and {SUB}"):
        api_keys({"root": ONE, "sub": other}, {SHARED: "secret"})


def test_an_address_that_is_none_is_named() -> None:
    with pytest.raises(ConfigError, match="http://one:port is no address"):
        api_keys({"root": "http://one:port", "sub": ONE}, {SHARED: "k"})


@asynccontextmanager
async def server() -> AsyncIterator[tuple[str, list[str | None]]]:
    """A server; its address, and the keys that it was sent."""
    sent: list[str | None] = []

    async def models(request: web.Request) -> web.Response:
        sent.append(request.headers.get("Authorization"))
        return web.json_response({"data": [{"id": "m", "max_model_len": 4096}]})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", sent
    finally:
        await runner.cleanup()


async def test_each_server_gets_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT, "of the root")
    monkeypatch.setenv(SUB, "of the sub-LM")
    async with server() as (root, of_root), server() as (sub, of_sub):
        served = await serve(root, sub, scratch=tmp_path, logs=tmp_path, progress=SILENT)
        await served.close()
    assert set(of_root) == {"Bearer of the root"}
    assert set(of_sub) == {"Bearer of the sub-LM"}


async def test_a_shared_key_reaches_none_of_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SHARED, "secret")
    async with server() as (root, of_root), server() as (sub, of_sub):
        with pytest.raises(ConfigError) as told:
            await serve(root, sub, scratch=tmp_path, logs=tmp_path, progress=SILENT)
    assert of_root == of_sub == []
    assert "secret" not in str(told.value)
