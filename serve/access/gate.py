"""The gate in front of every route: who asks, whether they may, and how much they send.

An ASGI application around another. What it refuses it refuses before it reads a body, and of no
body does it read more than it may hold. Knows no engine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Protocol

from serve.access.keys import ApiKey, Keyring
from serve.access.quota import Quota
from serve.errors import (
    ApiError,
    BodyBufferFull,
    BodyIncomplete,
    BodyTimeout,
    BodyTooLarge,
    InvalidApiKey,
    QuotaExceeded,
)
from serve.spec import ServeLimits
from serve.wire import error_json

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PUBLIC = frozenset(("/", "/healthz", "/readyz", "/openapi.json"))
# A body of so many times the size that is taken is read before it is refused.
_READ_AWAY = 4
# What all requests hold together, in bodies of the size that is taken.
_BODIES_HELD = 32
# As a web server's log has it where the client went away before it was answered.
_CLIENT_LEFT = 499
_LOGGER = logging.getLogger("ray.serve")


class Record(Protocol):
    """Is told of every request that ended: its path, status and seconds."""

    def __call__(self, path: str, code: int, seconds: float) -> None: ...


class AccessMiddleware:
    """Lets requests with a key through to `app`, each with its owner and its whole body."""

    def __init__(
        self, app: App, keyring: Keyring, quota: Quota, limits: ServeLimits, record: Record
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._quota = quota
        self._limits = limits
        self._record = record
        self._bytes_held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            elif scope["type"] == "websocket":
                await self._refuse_websocket(scope, receive, send)
            return
        began = time.monotonic()
        code = 500
        started = False

        async def noted(message: Event) -> None:
            nonlocal code, started
            if message["type"] == "http.response.start":
                code, started = message["status"], True
            await send(message)

        try:
            await self._pass(scope, receive, noted)
        except ApiError as refused:
            await respond(noted, refused.status, refused.body, refused.headers)
        except asyncio.CancelledError:
            if not started:
                code = _CLIENT_LEFT
            raise
        except Exception:
            # what it was about is nobody's but the sender's
            _LOGGER.exception("a request to %r failed", scope["path"])
            if not started:
                await respond(noted, 500, error_json("internal error", "server_error"))
        finally:
            self._record(scope["path"], code, time.monotonic() - began)

    async def _refuse_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """No route takes one, whoever asks: before it is accepted, a close is a 403."""
        began = time.monotonic()
        await receive()
        await send({"type": "websocket.close"})
        self._record(scope["path"], 403, time.monotonic() - began)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if scope["method"] == "OPTIONS" or scope["path"] in PUBLIC:
            _takes_no_body(headers)
            await self._app(scope, _no_body(receive), send)
            return
        key = self._owner(headers)
        self._count(key)
        scope.setdefault("state", {})["key"] = key
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await self._body(headers, receive)
        try:
            await self._app(scope, _replay(body, receive), send)
        finally:
            self._bytes_held -= len(body)

    def _owner(self, headers: Mapping[str, str]) -> ApiKey:
        scheme, _, sent = headers.get("authorization", "").partition(" ")
        key = self._keyring.owner(sent.strip() if scheme.lower() == "bearer" else None)
        if key is None:
            told = "Incorrect API key provided." if sent else "You sent no API key."
            raise InvalidApiKey(f"{told} Send it in the header `Authorization: Bearer KEY`.")
        return key

    def _count(self, key: ApiKey) -> None:
        wait = self._quota.enter(key.name, key.requests_per_minute, key.tokens_per_minute)
        if wait is not None:
            raise QuotaExceeded(key.name, wait)

    async def _body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        """The whole body, which is counted as held from now on."""
        most = self._limits.body_bytes
        told = headers.get("content-length", "")
        if told.isdecimal() and int(told) > most:
            if int(told) <= _READ_AWAY * most:
                await self._read_away(receive)
            raise BodyTooLarge(_too_large(most))
        read = bytearray()
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while await self._read_more(read, receive):
                    pass
        except TimeoutError:
            self._bytes_held -= len(read)
            raise BodyTimeout(
                f"the body did not come within {self._limits.body_seconds:g} s"
            ) from None
        except BaseException:
            self._bytes_held -= len(read)
            raise
        return bytes(read)

    async def _read_more(self, read: bytearray, receive: Receive) -> bool:
        """Add what came of a body; returns whether there is more."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyIncomplete("the body ended early")
        came = message.get("body", b"")
        read += came
        self._bytes_held += len(came)
        if len(read) > self._limits.body_bytes:
            raise BodyTooLarge(_too_large(self._limits.body_bytes))
        if self._bytes_held > _BODIES_HELD * self._limits.body_bytes:
            raise BodyBufferFull("The endpoint holds as much text as it can. Try again in 5 s.", 5)
        return bool(message.get("more_body", False))

    async def _read_away(self, receive: Receive) -> None:
        """Take a body and keep nothing of it: a client that still sends would meet a closed
        connection, and not read why."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.body_seconds):
                while (await receive()).get("more_body", False):
                    pass


def _too_large(most: int) -> str:
    return f"the body is larger than {most} bytes, the most that this endpoint takes"


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body in one message, then whatever the server tells."""
    given = False

    async def again() -> Event:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _takes_no_body(headers: Mapping[str, str]) -> None:
    """Raises BodyTooLarge where a body is announced: Ray Serve would read and hold it, whoever
    sends it."""
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        raise BodyTooLarge("a request without a key takes no body")


def _no_body(receive: Receive) -> Receive:
    return _replay(b"", receive)


async def respond(
    send: Send, status: int, body: Mapping[str, Any], headers: Mapping[str, str] = {}
) -> None:
    """A whole JSON response."""
    data = json.dumps(body).encode()
    told = {"content-type": "application/json", "content-length": str(len(data)), **headers}
    pairs = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": data})
