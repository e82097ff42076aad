"""Admission by tokens: who may enter the engine now, in the order of asking.

Knows nothing of engines or documents: a capacity in tokens, and holds on it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Admission:
    """A first-come-first-served semaphore whose permits are tokens of KV cache.

    A document that needs more than the whole capacity is admitted alone: the engine queues what it
    cannot hold, and one document is never refused here.
    """

    def __init__(self, capacity_tokens: int) -> None:
        if capacity_tokens < 1:
            raise ValueError(f"capacity_tokens is {capacity_tokens}, must be at least 1")
        self.capacity_tokens = capacity_tokens
        self.in_flight_tokens = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, tokens: int) -> AsyncIterator[None]:
        """Wait for room for `tokens`, then keep it until the block ends."""
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
