"""Admission by tokens: limits the tokens in flight to a capacity, first come, first served.

Knows nothing of engines or documents.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Admission:
    """A first-come-first-served semaphore whose permits are tokens of KV cache.

    A request for more than the whole capacity is not rejected: it counts as the capacity, and waits
    until nothing else is in flight. The engine queues what it cannot hold.

    Attributes:
        capacity_tokens: tokens that may be in flight.
        in_flight_tokens: tokens in flight now.
    """

    def __init__(self, capacity_tokens: int) -> None:
        """Raises ValueError if `capacity_tokens` is less than 1."""
        if capacity_tokens < 1:
            raise ValueError(f"capacity_tokens is {capacity_tokens}, must be at least 1")
        self.capacity_tokens = capacity_tokens
        self.in_flight_tokens = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, tokens: int) -> AsyncIterator[None]:
        """Wait until `tokens` tokens are free, and reserve them until the block ends. More than
        `capacity_tokens` counts as `capacity_tokens`."""
        tokens = min(tokens, self.capacity_tokens)
        await self._enter(tokens)
        try:
            yield
        finally:
            self._leave(tokens)

    async def _enter(self, tokens: int) -> None:
        if not self._waiting and self._fits(tokens):
            self.in_flight_tokens += tokens
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((tokens, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(tokens)
            self._admit()
            raise

    def _leave(self, tokens: int) -> None:
        self.in_flight_tokens -= tokens
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            tokens, turn = self._waiting[0]
            if not turn.done():
                if not self._fits(tokens):
                    return
                self.in_flight_tokens += tokens
                turn.set_result(None)
            self._waiting.popleft()

    def _fits(self, tokens: int) -> bool:
        return self.in_flight_tokens + tokens <= self.capacity_tokens
