"""Admission by tokens: limits the tokens in flight to a capacity, first come, first served.

Knows nothing of engines or documents.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Hold:
    """Tokens that one block of `Admission.hold` has reserved.

    Attributes:
        tokens: tokens that it reserves now.
    """

    def __init__(self, tokens: int, give_back: Callable[[int], None]) -> None:
        self.tokens = tokens
        self._give_back = give_back

    def shrink(self, tokens: int) -> None:
        """Reserve only `tokens` tokens from now on, and give the others back. A number above that
        of the reserved tokens changes nothing: a reservation never grows."""
        excess = self.tokens - tokens
        if excess > 0:
            self.tokens = tokens
            self._give_back(excess)


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
        self._waiting: deque[tuple[Callable[[], int], asyncio.Future[int]]] = deque()

    @asynccontextmanager
    async def hold(self, tokens: int | Callable[[], int]) -> AsyncIterator[Hold]:
        """Wait until `tokens` tokens are free, and reserve them until the block ends or they are
        given back with `Hold.shrink`. More than `capacity_tokens` counts as `capacity_tokens`.

        If `tokens` is a function, it is called whenever the tokens are counted while the request is
        the first that waits. The number that it returned last is reserved.
        """
        count = tokens if callable(tokens) else lambda: tokens
        hold = Hold(await self._enter(count), self._leave)
        try:
            yield hold
        finally:
            hold.shrink(0)

    async def _enter(self, count: Callable[[], int]) -> int:
        """Reserve the tokens that `count` returns, as soon as they are free, and return them."""
        if not self._waiting and (tokens := self._reserve(count)) is not None:
            return tokens
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave(turn.result())
            self._admit()
            raise

    def _leave(self, tokens: int) -> None:
        self.in_flight_tokens -= tokens
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            count, turn = self._waiting[0]
            if not turn.done():
                tokens = self._reserve(count)
                if tokens is None:
                    return
                turn.set_result(tokens)
            self._waiting.popleft()

    def _reserve(self, count: Callable[[], int]) -> int | None:
        """Reserve tokens and return their number, or return None if they are not free."""
        tokens = min(count(), self.capacity_tokens)
        if self.in_flight_tokens + tokens > self.capacity_tokens:
            return None
        self.in_flight_tokens += tokens
        return tokens
