"""ASGI in types, and the two messages that the middleware sends or passes on itself.

https://asgi.readthedocs.io describes the interface. Knows no keys and no limits.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
"""One connection as ASGI describes it: its type and, of a request, path, method and headers."""
Event = MutableMapping[str, Any]
"""One ASGI message, such as `http.request` or `http.response.start`."""
Receive = Callable[[], Awaitable[Event]]
"""Waits for the server's next message and returns it."""
Send = Callable[[Event], Awaitable[None]]
"""Sends a message to the server."""
App = Callable[[Scope, Receive, Send], Awaitable[None]]
"""An ASGI application."""


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives `body` in one message, and then the messages of `receive`.

    With it, an application can read a body that was received before it was called, and is still
    notified when the client disconnects.
    """
    replayed = False

    async def receive_again() -> Event:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def respond(
    send: Send, status: int, body: Mapping[str, Any], headers: Mapping[str, str] = {}
) -> None:
    """Send a complete response with the HTTP status `status` and `body` as JSON.

    `headers` are sent in addition to content-type and content-length.
    """
    data = json.dumps(body).encode()
    fields = {"content-type": "application/json", "content-length": str(len(data)), **headers}
    pairs = [(name.encode(), value.encode()) for name, value in fields.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": data})
