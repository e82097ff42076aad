"""Reads request bodies within limits: bytes and seconds of one, and bytes of all together.

A body's bytes are counted from their arrival until the request ends. Knows no keys and no routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from serve.access.asgi import Receive
from serve.errors import BodyBufferFull, BodyIncomplete, BodyTimeout, BodyTooLarge

# A body whose announced size is at most this many times the limit is received before the response
# is sent: a client that is still sending would see a closed connection instead of the error.
_DISCARDED_TIMES_LIMIT = 4
_RETRY_AFTER_SECONDS = 5


class BodyBudget:
    """Counts the bytes of request bodies that a process holds, summed over all requests.

    `held_bytes` is their number now; `limit_bytes` is the maximum.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.held_bytes = 0

    @contextmanager
    def share(self) -> Iterator[BodyShare]:
        """Yield an empty share of the budget for one body, and release its bytes at the end."""
        share = BodyShare(self)
        try:
            yield share
        finally:
            self.held_bytes -= share.held_bytes


class BodyShare:
    """The bytes that one body takes of a `BodyBudget`: `held_bytes`. Made by `BodyBudget.share`."""

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.held_bytes = 0

    def add(self, count: int) -> None:
        """Count `count` more bytes of the body, until the share is released.

        Raises BodyBufferFull if the bytes of all shares together then exceed the budget's limit.
        """
        self.held_bytes += count
        self._budget.held_bytes += count
        if self._budget.held_bytes > self._budget.limit_bytes:
            raise BodyBufferFull(
                f"The endpoint's buffer for request bodies is full ({self._budget.limit_bytes} "
                f"bytes). Retry after {_RETRY_AFTER_SECONDS} s.",
                _RETRY_AFTER_SECONDS,
            )


class BodyReader:
    """Reads request bodies; one body has at most `max_bytes` and arrives within `timeout_seconds`.

    All bodies that are being read or used are counted in `budget`.
    """

    def __init__(self, max_bytes: int, timeout_seconds: float, budget: BodyBudget) -> None:
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._budget = budget

    @asynccontextmanager
    async def read(self, content_length: str | None, receive: Receive) -> AsyncIterator[bytes]:
        """Read one request's body and yield it; its bytes are released when the block ends.

        `content_length` is the value of that header, or None without one. Raises BodyTooLarge,
        BodyTimeout, BodyIncomplete or BodyBufferFull before the block is entered.
        """
        await self._check_announced(content_length or "", receive)
        with self._budget.share() as share:
            yield await self._read(share, receive)

    async def _check_announced(self, content_length: str, receive: Receive) -> None:
        if not content_length.isdecimal() or int(content_length) <= self._max_bytes:
            return
        if int(content_length) <= _DISCARDED_TIMES_LIMIT * self._max_bytes:
            await self._discard(receive)
        raise self._too_large()

    async def _read(self, share: BodyShare, receive: Receive) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                while await self._read_message(body, share, receive):
                    pass
        except TimeoutError:
            raise BodyTimeout(
                f"The request body did not arrive within {self._timeout_seconds:g} s "
                f"({len(body)} bytes received), the limit of this endpoint (limits.body_seconds). "
                "Send it faster, or send less text."
            ) from None
        return bytes(body)

    async def _read_message(self, body: bytearray, share: BodyShare, receive: Receive) -> bool:
        """Append the next message's bytes to `body`; return whether more messages follow."""
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyIncomplete(
                f"The connection closed after {len(body)} bytes of the body. Send the request "
                "again, with the whole body."
            )
        data = message.get("body", b"")
        body += data
        if len(body) > self._max_bytes:
            raise self._too_large()
        share.add(len(data))
        return bool(message.get("more_body", False))

    async def _discard(self, receive: Receive) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_seconds):
                while (await receive()).get("more_body", False):
                    pass

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The request body is larger than {self._max_bytes} bytes, the limit of this endpoint "
            "(limits.body_bytes). Send a shorter text."
        )
