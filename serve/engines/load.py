"""The load limit of an engine in prompt tokens, and when a rejected client should retry.

Counts tokens that are accepted and finished; knows no engine and no HTTP.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve.errors import Overloaded

# The window over which the rate of finished tokens is measured.
_MEASURED_SECONDS = 30.0
# The retry delay before a rate is known, and the maximum.
_FIRST_RETRY_SECONDS, _MAX_RETRY_SECONDS = 2, 300


class LoadLimiter:
    """Counts the outstanding prompt tokens of an engine: accepted and not yet finished.

    A request is rejected if `limit` is reached, and accepted below it, whatever its size, so that
    small requests have no better chance than large ones. A request counts as at most half of the
    limit: a long document is read one passage at a time, and never fills the engine alone.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with no outstanding tokens. `limit`: prompt tokens; `clock` returns seconds."""
        self.limit = limit
        self.outstanding = 0
        self._clock = clock
        self._began = clock()
        self._done: deque[tuple[float, int]] = deque()

    @contextmanager
    def hold(self, tokens: int) -> Iterator[None]:
        """Count a request with `tokens` prompt tokens as outstanding during the block.

        Raises Overloaded, with the seconds after which to retry, if the limit is reached already.
        """
        counted = min(tokens, max(1, self.limit // 2))
        if self.full:
            raise Overloaded(self._retry_after(counted))
        if not self.outstanding:
            self._began = self._clock()
            self._done.clear()
        self.outstanding += counted
        try:
            yield
        finally:
            self.outstanding -= counted
            self._done.append((self._clock(), counted))
            self._forget()

    @property
    def full(self) -> bool:
        """True if the outstanding prompt tokens have reached the limit: `hold` would reject any
        further request, and the router prefers other replicas."""

        return self.outstanding >= self.limit

    def drain_rate(self) -> float | None:
        """Return the prompt tokens finished per second, or None if none were.

        Measured over the last 30 s, or since the engine was last idle if that is less.
        """
        since = self._forget()
        seconds = self._clock() - since
        done = sum(tokens for _, tokens in self._done)
        return done / seconds if done and seconds > 0 else None

    def _forget(self) -> float:
        """Drop finished requests from before the measured window; return the window's start."""
        since = max(self._began, self._clock() - _MEASURED_SECONDS)
        while self._done and self._done[0][0] < since:
            self._done.popleft()
        return since

    def _retry_after(self, tokens: int) -> int:
        """Return the seconds after which `tokens` more will probably be within the limit."""
        rate = self.drain_rate()
        if rate is None:
            return _FIRST_RETRY_SECONDS
        excess = self.outstanding + tokens - self.limit
        return min(_MAX_RETRY_SECONDS, max(1, math.ceil(excess / rate)))
