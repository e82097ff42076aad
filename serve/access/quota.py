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
    """A token bucket for one quota: `level`, what may still be spent, in requests or in tokens.

    `level` rises evenly by `per_minute` each minute, to at most `per_minute`. A negative `level`
    means that the quota is overdrawn. `at` is the time in seconds at which `level` was computed.
    """

    per_minute: float
    level: float
    at: float

    def fill(self, now: float) -> None:
        """Update `level` and `at` to the time `now`, in seconds of the clock that gave `at`."""
        self.level = min(self.per_minute, self.level + (now - self.at) * self.per_minute / _MINUTE)
        self.at = now

    def seconds_until(self, level: float) -> float:
        """Return the seconds, counted from `at`, until the bucket's level reaches `level`.

        0.0 if it already has. `level` must be at most `per_minute`.
        """
        return max(0.0, (level - self.level) * _MINUTE / self.per_minute)


class Quota:
    """The quotas of all keys in this process, by the key's name.

    `share` is the fraction of every quota that this process grants. If several processes answer
    requests, each counts only its own, and their shares add up to 1. A share of a quota is never
    less than 1 per minute. `clock` returns seconds.
    """

    def __init__(self, share: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def enter(self, name: str, requests: int | None, tokens: int | None) -> int | None:
        """Count one request of the key `name`, if its quotas allow it.

        `requests` and `tokens` are the key's quotas per minute, None if unlimited. Returns None if
        the request is allowed and was counted. Otherwise counts nothing, and returns the whole
        seconds to wait, at least 1. Charges no tokens: `spend` does.
        """
        waits = [self._wait(name, "requests", requests), self.debt_seconds(name, tokens)]
        longest = max((wait for wait in waits if wait is not None), default=None)
        if longest is None and requests is not None:
            self._bucket(name, "requests", requests).level -= 1.0
        return longest

    def debt_seconds(self, name: str, tokens: int | None) -> int | None:
        """Return the whole seconds until the token quota of `name` allows requests, at least 1.

        None if it allows them now. `tokens` is the quota per minute, None if unlimited. A request
        can overdraw the quota, because its number of tokens is known only at its end; the next
        request is then allowed once at least one token has accrued again.

        Counts no request: call it again before tokens of a counted request are charged, because
        other requests may have overdrawn the quota since `enter`.
        """
        return self._wait(name, "tokens", tokens)

    def _wait(self, name: str, kind: str, amount: int | None) -> int | None:
        """Return the whole seconds until the bucket holds 1, or None if it does now."""
        wait = 0.0 if amount is None else self._bucket(name, kind, amount).seconds_until(1.0)
        return max(1, math.ceil(wait)) if wait > 0 else None

    def spend(self, name: str, per_minute: int | None, tokens: int) -> None:
        """Charge `tokens` to the token quota of `name`; a negative number is a refund.

        The quota may be overdrawn by this. `per_minute` is the quota; if it is None (unlimited),
        nothing is charged.
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
