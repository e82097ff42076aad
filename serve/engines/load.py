"""How much an engine has to do, in prompt tokens, and who must come again later.

Knows no engine and no HTTP: tokens that come, and tokens that are done.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve.errors import Overloaded

_MEASURED_SECONDS = 30.0
# Before anything was measured, and at most.
_FIRST_RETRY_SECONDS, _MOST_RETRY_SECONDS = 2, 300


class LoadLimiter:
    """The prompt tokens that were let in and are not done. Where they reach `limit`, whoever comes
    is refused; below it whoever comes is let in, large or small: none has a better chance.

    One request counts as half of the limit at most: a long document is read a passage at a time,
    and leaves room for others however long it is.
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
        """Whether whoever comes is refused."""
        return self.outstanding >= self.limit

    def drain_rate(self) -> float | None:
        """Tokens a second that were done of late, None where none were."""
        since = self._forget()
        seconds = self._clock() - since
        done = sum(tokens for _, tokens in self._done)
        return done / seconds if done and seconds > 0 else None

    def _forget(self) -> float:
        """Drop what was done too long ago; returns since when it is known what was done."""
        since = max(self._began, self._clock() - _MEASURED_SECONDS)
        while self._done and self._done[0][0] < since:
            self._done.popleft()
        return since

    def _retry_after(self, tokens: int) -> int:
        """Seconds until so many more will be within the limit."""
        rate = self.drain_rate()
        if rate is None:
            return _FIRST_RETRY_SECONDS
        over = self.outstanding + tokens - self.limit
        return min(_MOST_RETRY_SECONDS, max(1, math.ceil(over / rate)))
