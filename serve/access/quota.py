"""Quotas per minute: requests, counted as they arrive, and tokens, charged when they are known.

Token buckets by name. Knows no HTTP and no keys.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

_MINUTE = 60.0


@dataclass
class Bucket:
    """A token bucket: `level` rises by `per_minute` each minute, up to `per_minute`.

    `level` may be negative: the quota is overdrawn. `at` is the clock's time in seconds at which
    `level` was computed.
    """

    per_minute: float
    level: float
    at: float

    def fill(self, now: float) -> None:
        """Raise the level by what has accrued until `now`."""
        self.level = min(self.per_minute, self.level + (now - self.at) * self.per_minute / _MINUTE)
        self.at = now

    def seconds_until(self, level: float) -> float:
        """Return the seconds until the level reaches `level`, 0.0 if it already has."""
        return max(0.0, (level - self.level) * _MINUTE / self.per_minute)


class Quota:
    """The quotas of all names in this process.

    `share` is the fraction of every quota that this process grants, where several processes
    answer requests: each of them counts only its own. `clock` returns seconds.
    """

    def __init__(self, share: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def enter(self, name: str, requests: int | None, tokens: int | None) -> int | None:
        """Count one request of `name`, if its quota allows it.

        `requests` and `tokens` are the name's quotas per minute, None if unlimited. Returns None
        if the request was counted. Otherwise counts nothing and returns the seconds to wait.
        """
        waits = [self._wait(name, "requests", requests), self.debt_seconds(name, tokens)]
        longest = max((wait for wait in waits if wait is not None), default=None)
        if longest is None and requests is not None:
            self._bucket(name, "requests", requests).level -= 1.0
        return longest

    def debt_seconds(self, name: str, tokens: int | None) -> int | None:
        """Return the seconds until `name` may send requests, or None if it may now.

        A request can overdraw the quota of `tokens` per minute, because its number of tokens is
        known only at its end. New requests then wait until the bucket has filled up again.
        """
        return self._wait(name, "tokens", tokens)

    def _wait(self, name: str, kind: str, amount: int | None) -> int | None:
        """Return the whole seconds until the bucket holds 1, or None if it does now."""
        wait = 0.0 if amount is None else self._bucket(name, kind, amount).seconds_until(1.0)
        return max(1, math.ceil(wait)) if wait > 0 else None

    def spend(self, name: str, per_minute: int | None, tokens: int) -> None:
        """Charge `tokens` to the token quota of `name`; a negative number is a refund.

        Does nothing if `per_minute`, the quota, is None.
        """
        if per_minute is None:
            return
        # an existing bucket keeps its quota: the key's may have changed since the request began
        bucket = self._buckets.get((name, "tokens")) or self._bucket(name, "tokens", per_minute)
        bucket.fill(self._clock())
        bucket.level -= tokens

    def _bucket(self, name: str, kind: str, amount: int) -> Bucket:
        """Return the bucket of `name` for `kind`, filled up to now.

        If the quota `amount` changed, the bucket starts full, or keeps its negative level.
        """
        now = self._clock()
        # at least one request must fit, however small the share
        per_minute = max(1.0, amount * self._share)
        bucket = self._buckets.setdefault((name, kind), Bucket(per_minute, per_minute, now))
        bucket.fill(now)
        if bucket.per_minute != per_minute:
            bucket.per_minute = per_minute
            bucket.level = bucket.level if bucket.level < 0 else per_minute
        return bucket
