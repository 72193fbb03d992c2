"""Calls to an OpenAI-compatible server, and what their failures mean."""

from __future__ import annotations

import asyncio
import json
import math
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import aiohttp

from outcore.errors import ConfigError, ModelError, ModelUnavailable, PromptTooLong
from outcore.models.api_key import SHARED
from outcore.models.pulse import outlasts

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONNECT_SECONDS = 10.0
# A server may have much to do for others before it comes to a call, and may write slowly: it has
# this long, and longer the longer a reply it was asked for, from the last it sent to any call.
_ANSWER_SECONDS = 1800.0
_TOKEN_SECONDS = 1.0
# No reply is longer; what goes on sending has lost its way.
_MOST_BYTES = 64 << 20
# What a server, or the proxy before it, says while it has too much to do or starts again.
_AWAY = (429, 502, 503, 504)
# Servers word it each in their own way.
_TOO_LONG = re.compile(r"context.{0,20}(length|size|window)", re.IGNORECASE)
_SHOWN_CHARS = 500


@dataclass(slots=True)
class Heard:
    """How many parts of answers a server has sent, to all its calls together."""

    parts: int = 0


def client(connections: int, key: str | None) -> aiohttp.ClientSession:
    """Keeps connections open between calls, and sends the key with each; to be closed."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(
            # What is waited for after that is `post`'s to decide: aiohttp counts the seconds of
            # one call alone, and none while a server doesn't take what is sent to it.
            total=None,
            sock_connect=_CONNECT_SECONDS,
        ),
        connector=aiohttp.TCPConnector(limit=connections),
        # An on-prem server is reached directly, never through a proxy of the environment.
        trust_env=False,
        headers={"Authorization": f"Bearer {key}"} if key else {},
    )


async def models(session: aiohttp.ClientSession, base: str) -> list[dict[str, Any]]:
    """What the server at `base` serves.

    Raises:
        ConfigError: it is no address, or wants a key.
        ModelError: nothing answers there, or not as an OpenAI-compatible server.
    """
    try:
        async with asyncio.timeout(2 * _CONNECT_SECONDS), session.get(f"{base}/models") as response:
            if response.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise ConfigError(
                    f"{base} wants an API key, or another one; put it into {SHARED} "
                    "(for one role alone: OUTCORE_ROOT_API_KEY, OUTCORE_SUB_API_KEY)"
                )
            response.raise_for_status()
            listed = json.loads(await _whole(f"{base}/models", response, Heard()))["data"]
            return [{**model, "id": str(model["id"])} for model in listed]
    except aiohttp.InvalidURL as error:
        raise ConfigError(f"{base} is no address: {error}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ModelError(
            f"nothing serves models at {base} ({type(error).__name__}: {error}); check the address "
            "and that the server has started"
        ) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelError(
            f"{base}/models is no list of models; is this the right address?"
        ) from error


async def post(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], heard: Heard, tokens: int = 0
) -> Any:
    """What the server answers, as JSON values.

    Args:
        session: from `client`.
        url: of the call.
        body: what is sent, as JSON values.
        heard: of all calls to this server.
        tokens: of the longest reply it may write.

    Raises:
        PromptTooLong: by the server's word; its numbers are not known.
        ModelUnavailable: it is away, or its answer did not arrive whole.
        ModelError: it refused; or it has sent nothing, to this call or any other, for half an
            hour and a second for each token.
    """
    silent = _ANSWER_SECONDS + _TOKEN_SECONDS * tokens
    call = asyncio.ensure_future(_answer(session, url, body, heard))
    try:
        if await outlasts(call, lambda: heard.parts, silent):
            return call.result()
        raise ModelError(
            f"{url} has sent nothing for {silent:,.0f} s, to this call or any other; is the "
            "server at work? Its log may tell; a server that hangs must be started again"
        )
    finally:
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def _answer(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], heard: Heard
) -> Any:
    try:
        async with session.post(url, json=body) as response:
            said = await _whole(url, response, heard)
    except aiohttp.ClientPayloadError as error:
        raise ModelUnavailable(f"{url} broke off its answer ({error})") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ModelUnavailable(
            f"{url} does not answer ({type(error).__name__}: {error}); is the server running?",
            away=True,
        ) from error
    if response.status != HTTPStatus.OK:
        _refused(url, response.status, said.decode(errors="replace"), response.headers)
    try:
        return json.loads(said)
    except (ValueError, RecursionError) as error:
        raise ModelUnavailable(
            f"{url} answered no JSON: {said.decode(errors='replace'):.200}"
        ) from error


async def _whole(url: str, response: aiohttp.ClientResponse, heard: Heard) -> bytes:
    said = bytearray()
    async for part in response.content.iter_any():
        heard.parts += 1
        said += part
        if len(said) > _MOST_BYTES:
            response.close()
            raise ModelError(f"{url} sent more than {_MOST_BYTES >> 20} MiB; is this the address?")
    return bytes(said)


def _refused(url: str, status: int, said: str, headers: Mapping[str, str]) -> None:
    told = f"{url} refused the request with {status}: {said[:_SHOWN_CHARS]}"
    if status == HTTPStatus.BAD_REQUEST and _TOO_LONG.search(said):
        raise PromptTooLong(f"{told}; send a smaller slice", tokens=0, room=0)
    if status in _AWAY:
        raise ModelUnavailable(told, away=True, after=_after(headers))
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        raise ModelUnavailable(told)
    raise ModelError(told)


def _after(headers: Mapping[str, str]) -> float | None:
    """Seconds that `Retry-After` asks for; a date in it is taken by the server's own clock."""
    wanted = headers.get("Retry-After", "").strip()
    try:
        seconds = float(wanted)
    except ValueError:
        try:
            now = parsedate_to_datetime(headers.get("Date", ""))
            seconds = (parsedate_to_datetime(wanted) - now).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
