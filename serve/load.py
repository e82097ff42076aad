"""How much an engine has to do, in prompt tokens, and who must come again later.

Knows no engine and no HTTP: tokens that come, and tokens that are done.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_MEASURED_SECONDS = 30.0
# Before anything was measured, and at most.
_FIRST_RETRY_SECONDS, _MOST_RETRY_SECONDS = 2, 300


class Overloaded(Exception):
    """There is more to do already than fits. `retry_after`: seconds until there will be room."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


class Load:
    """The prompt tokens that were let in and are not done, at most `limit`.

    One request that is larger than the limit is let in when there is nothing else.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self.outstanding = 0
        self._clock = clock
        self._began = clock()
        self._done: deque[tuple[float, int]] = deque()

    @contextmanager
    def hold(self, tokens: int) -> Iterator[None]:
        """Be counted for the time of the block. Raises Overloaded."""
        if self.outstanding and self.outstanding + tokens > self.limit:
            raise Overloaded(self._retry_after(tokens))
        if not self.outstanding:
            self._began = self._clock()
            self._done.clear()
        self.outstanding += tokens
        try:
            yield
        finally:
            self.outstanding -= tokens
            self._done.append((self._clock(), tokens))

    def drain_rate(self) -> float | None:
        """Tokens a second that were done of late, None where none were."""
        now = self._clock()
        since = max(self._began, now - _MEASURED_SECONDS)
        while self._done and self._done[0][0] < since:
            self._done.popleft()
        done = sum(tokens for _, tokens in self._done)
        return done / (now - since) if done and now > since else None

    def _retry_after(self, tokens: int) -> int:
        rate = self.drain_rate()
        if rate is None:
            return _FIRST_RETRY_SECONDS
        over = self.outstanding + min(tokens, self.limit) - self.limit
        return min(_MOST_RETRY_SECONDS, max(1, math.ceil(over / rate)))
