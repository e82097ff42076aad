"""The pace of a run: tokens a second now, and when the work that is left will be done.

Work is measured in the prompt tokens that the plan states for documents, so that work which is
repeated after a death does not count as progress. Pure; the caller passes the time.
"""

from __future__ import annotations

import bisect
import itertools
import statistics
from dataclasses import dataclass, field

_RATE_SECONDS = 30.0
# The estimate uses the latest half of the time so far, and at least this much of it.
_MIN_WINDOW_SECONDS = 60.0
_MIN_SECONDS = 10.0
_MIN_SHARE = 0.02
_BLOCKS = 8
# Student's t for a two-sided interval of 90 % with 7 degrees of freedom.
_T90 = 1.895
# The slowest pace that is expected, as a share of the mean.
_SLOWEST = 0.2
_MAX_SAMPLES = 512


@dataclass(frozen=True, slots=True)
class Eta:
    """Seconds until all work is done: an estimate, and an interval that contains nine of ten."""

    seconds: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of a run at one time: `time` in seconds, `work` done so far in planned tokens, and
    the `tokens` of all finished requests."""

    time: float
    work: float
    tokens: int


@dataclass
class Pace:
    """Samples of one session of a run."""

    _samples: list[Sample] = field(default_factory=list)

    def note(self, sample: Sample) -> None:
        """Add a sample, later than those before it. Begin with the first unit in hand."""
        self._samples.append(sample)
        if len(self._samples) > _MAX_SAMPLES:
            older = _MAX_SAMPLES // 2
            # the first one stays: it is the begin of the work
            self._samples[:older] = self._samples[:older:2]

    @property
    def tokens_per_second(self) -> float:
        """Tokens of finished requests a second, over the last 30 seconds."""
        if len(self._samples) < 2:
            return 0.0
        last = self._samples[-1]
        first = self._at(last.time - _RATE_SECONDS)
        seconds = last.time - first.time
        return (last.tokens - first.tokens) / seconds if seconds else 0.0

    def eta(self, total: float) -> Eta | None:
        """Return when all work, `total` in planned tokens, will be done. None before it is known:
        until 10 seconds have passed and 2 % of the session's work is done."""
        if not self._samples:
            return None
        first, last = self._samples[0], self._samples[-1]
        seconds, left = last.time - first.time, max(0.0, total - last.work)
        enough = last.work - first.work >= _MIN_SHARE * (total - first.work)
        if seconds < _MIN_SECONDS or not enough or last.work <= first.work:
            return None
        rates = self._rates(last.time - max(seconds / 2, _MIN_WINDOW_SECONDS))
        mean = statistics.fmean(rates)
        if mean <= 0:
            return None
        margin = _T90 * statistics.stdev(rates) / len(rates) ** 0.5
        slowest = max(mean - margin, _SLOWEST * mean)
        return Eta(left / mean, left / (mean + margin), left / slowest)

    def _rates(self, since: float) -> list[float]:
        """Return the work a second in blocks of equal time from `since` to the last sample."""
        start, end = self._at(since), self._samples[-1]
        step = (end.time - start.time) / _BLOCKS
        edges = [self._work_at(start.time + step * number) for number in range(_BLOCKS + 1)]
        return [(b - a) / step for a, b in itertools.pairwise(edges)]

    def _at(self, time: float) -> Sample:
        """Return the first sample that is not before `time`."""
        at = bisect.bisect_left(self._samples, time, key=lambda sample: sample.time)
        return self._samples[min(at, len(self._samples) - 1)]

    def _work_at(self, time: float) -> float:
        """Return the work at a time, on the straight line between two samples."""
        at = bisect.bisect_left(self._samples, time, key=lambda sample: sample.time)
        if at == 0 or at == len(self._samples):
            return self._samples[min(at, len(self._samples) - 1)].work
        a, b = self._samples[at - 1], self._samples[at]
        share = (time - a.time) / (b.time - a.time) if b.time > a.time else 1.0
        return a.work + share * (b.work - a.work)
