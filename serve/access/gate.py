"""The access middleware in front of every route: it checks the key, the quota and the body.

An ASGI application that wraps another. It rejects a request before it reads the body wherever
it can, and reads no more of a body than the limits allow. Knows no engine and no routes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol

from serve.access.asgi import App, Event, Receive, Scope, Send, replay, respond
from serve.access.body import BodyBudget, BodyReader
from serve.access.keys import ApiKey, Keyring
from serve.access.quota import Quota
from serve.errors import INTERNAL_ERROR, ApiError, BodyTooLarge, InvalidApiKey, QuotaExceeded
from serve.spec import ServeLimits
from serve.wire import error_json

PUBLIC_PATHS = frozenset(("/", "/healthz", "/readyz", "/openapi.json"))
"""Paths that need no key."""
# The bodies of all requests together are at most this many times the largest body.
_BODIES_HELD = 32
# Recorded for a client that disconnected before the response began, as web servers log it.
_CLIENT_CLOSED_REQUEST = 499
_LOGGER = logging.getLogger("ray.serve")


class Record(Protocol):
    """Is called once with each finished request: its path, HTTP status, and duration in seconds."""

    def __call__(self, path: str, code: int, seconds: float) -> None: ...


class AccessMiddleware:
    """ASGI middleware: passes a request to `app` if it has a valid key whose quota is not used up.

    `app` finds the `ApiKey` in `scope["state"]["key"]`. A POST is passed on once its whole body has
    arrived. Requests to `PUBLIC_PATHS` and `OPTIONS` requests need no key, count in no quota, and
    must not have a body. All other requests get an error response, and WebSockets are closed.
    `record` is called once for each request or WebSocket, when it ends.
    """

    def __init__(
        self, app: App, keyring: Keyring, quota: Quota, limits: ServeLimits, record: Record
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._quota = quota
        budget = BodyBudget(_BODIES_HELD * limits.body_bytes)
        self._bodies = BodyReader(limits.body_bytes, limits.body_seconds, budget)
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, WebSocket or `lifespan` connection, as ASGI defines it.

        `lifespan` messages, of the server's start and end, are passed to `app` unchanged.
        """
        if scope["type"] == "http":
            await self._handle_http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._reject_websocket(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)

    async def _handle_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, whatever it raises, and record it."""
        began = time.monotonic()
        status = 500
        started = False

        async def send_and_note(message: Event) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], True
            await send(message)

        try:
            await self._pass_on(scope, receive, send_and_note)
        except ApiError as error:
            await respond(send_and_note, error.status, error.body, error.headers)
        except asyncio.CancelledError:
            if not started:
                status = _CLIENT_CLOSED_REQUEST
            raise
        except Exception:
            # the log names the path alone: texts and keys of requests are private
            _LOGGER.exception(
                "unexpected error in a request to %r; please report this traceback", scope["path"]
            )
            if not started:
                body = error_json(INTERNAL_ERROR, "server_error")
                await respond(send_and_note, 500, body)
        finally:
            self._record(scope["path"], status, time.monotonic() - began)

    async def _reject_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close a WebSocket before it is accepted, which servers answer with a 403.

        No route accepts WebSockets, whatever the key.
        """
        began = time.monotonic()
        await receive()
        await send({"type": "websocket.close"})
        self._record(scope["path"], 403, time.monotonic() - began)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request and call the application with it. Raises ApiError."""
        headers = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        if scope["method"] == "OPTIONS" or scope["path"] in PUBLIC_PATHS:
            _check_no_body(headers)
            await self._app(scope, replay(b"", receive), send)
            return
        key = self._key_of(headers)
        self._count(key)
        scope.setdefault("state", {})["key"] = key
        if scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        async with self._bodies.read(headers.get("content-length"), receive) as body:
            await self._app(scope, replay(body, receive), send)

    def _key_of(self, headers: Mapping[str, str]) -> ApiKey:
        scheme, _, value = headers.get("authorization", "").partition(" ")
        sent = value.strip() if scheme.lower() == "bearer" else None
        key = self._keyring.owner(sent)
        if key is None:
            problem = "Incorrect API key provided." if value else "You sent no API key."
            raise InvalidApiKey(
                f"{problem} Send a valid key in the header `Authorization: Bearer KEY`."
            )
        return key

    def _count(self, key: ApiKey) -> None:
        """Count a request of `key` in its quota. Raises QuotaExceeded."""
        wait = self._quota.enter(key.name, key.requests_per_minute, key.tokens_per_minute)
        if wait is not None:
            raise QuotaExceeded(key.name, wait)


def _check_no_body(headers: Mapping[str, str]) -> None:
    """Raise BodyTooLarge if a request that needs no key announces a body.

    Ray Serve would receive and hold the whole body before the application runs.
    """
    if headers.get("content-length", "0") != "0" or "transfer-encoding" in headers:
        paths = ", ".join(sorted(PUBLIC_PATHS))
        raise BodyTooLarge(
            f"OPTIONS requests and requests to {paths} must not have a body. Send the request "
            "without one."
        )
