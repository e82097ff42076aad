"""What a key may use in a minute: requests when they come, tokens when they are known.

Knows no HTTP and no keys: names and amounts.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_MINUTE = 60.0


@dataclass
class Bucket:
    """Fills by `per_minute` up to a minute's worth. What is taken may leave it in debt."""

    per_minute: float
    level: float
    at: float

    def fill(self, now: float) -> None:
        self.level = min(self.per_minute, self.level + (now - self.at) * self.per_minute / _MINUTE)
        self.at = now

    def seconds_until(self, level: float) -> float:
        """How long it takes to be filled so far."""
        return max(0.0, (level - self.level) * _MINUTE / self.per_minute)


class Quota:
    """The buckets of all names. `share`: the part of every amount that this process may give out,
    where several answer side by side."""

    def __init__(self, share: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def enter(self, name: str, requests: int | None, tokens: int | None) -> int | None:
        """Count a request. Returns None where it may go on, else seconds to wait."""
        waits = [self._wait(name, "requests", requests), self.debt_seconds(name, tokens)]
        longest = max((wait for wait in waits if wait is not None), default=None)
        if longest is None and requests is not None:
            self._bucket(name, "requests", requests).level -= 1.0
        return longest

    def debt_seconds(self, name: str, tokens: int | None) -> int | None:
        """Seconds until its tokens are paid, None where they are: what a request takes is known at
        its end."""
        return self._wait(name, "tokens", tokens)

    def _wait(self, name: str, what: str, amount: int | None) -> int | None:
        wait = 0.0 if amount is None else self._bucket(name, what, amount).seconds_until(1.0)
        return max(1, math.ceil(wait)) if wait > 0 else None

    def spend(self, name: str, per_minute: int | None, tokens: int) -> None:
        """Take tokens that were used, or give back such as were not."""
        if per_minute is None:
            return
        # a request that began under another amount says nothing of the one that holds now
        bucket = self._buckets.get((name, "tokens")) or self._bucket(name, "tokens", per_minute)
        bucket.fill(self._clock())
        bucket.level -= tokens

    def _bucket(self, name: str, what: str, amount: int) -> Bucket:
        """The bucket of this amount; one of another amount begins anew, but keeps its debt."""
        now = self._clock()
        # a whole request must fit, however small the share
        per_minute = max(1.0, amount * self._share)
        found = self._buckets.setdefault((name, what), Bucket(per_minute, per_minute, now))
        found.fill(now)
        if found.per_minute != per_minute:
            found.per_minute = per_minute
            found.level = found.level if found.level < 0 else per_minute
        return found
