"""The pace of a run: no estimate before it is known, and none that repeated work improves."""

from __future__ import annotations

import random

import pytest

from pipelines.run.pace import Pace, Sample


def steady(seconds: int, work: float, start: float = 0.0) -> Pace:
    """Return a pace of `work` a second, sampled every second."""
    pace = Pace()
    for time in range(seconds + 1):
        pace.note(Sample(50.0 + time, start + work * time, 3 * time))
    return pace


def test_a_steady_run_has_a_narrow_estimate() -> None:
    eta = steady(40, 100.0, start=500.0).eta(10_500.0)
    assert eta is not None
    assert (eta.seconds, eta.low, eta.high) == pytest.approx((60, 60, 60))


def test_nothing_is_said_before_ten_seconds_or_two_percent_of_the_work() -> None:
    assert Pace().eta(100.0) is None
    assert steady(9, 100.0).eta(1_000.0) is None
    assert steady(11, 100.0).eta(1_000_000.0) is None
    assert steady(11, 0.0).eta(1_000.0) is None
    assert steady(11, 100.0).eta(10_000.0) is not None


def test_an_uneven_run_has_an_interval_around_the_estimate() -> None:
    dice, pace, work = random.Random(1), Pace(), 0.0  # noqa: S311
    for time in range(100):
        pace.note(Sample(float(time), work, 0))
        work += dice.choice((0, 0, 0, 400))
    eta = pace.eta(50_000.0)
    assert eta is not None
    assert eta.low < eta.seconds < eta.high < 3 * eta.seconds
    assert eta.low < (50_000 - work) / 100 < eta.high


def test_work_that_is_lost_with_a_worker_makes_the_estimate_longer() -> None:
    pace = steady(40, 100.0)
    before = pace.eta(10_000.0)
    pace.note(Sample(91.0, 3_000.0, 1_000))
    after = pace.eta(10_000.0)
    assert before is not None and after is not None
    assert after.seconds > before.seconds + 10


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    pace = steady(100, 1.0)
    assert pace.tokens_per_second == 3
    for time in range(30):
        pace.note(Sample(151.0 + time, 0.0, 300))
    assert pace.tokens_per_second == 0
    assert Pace().tokens_per_second == 0


def test_a_long_run_keeps_few_samples_and_its_beginning() -> None:
    pace = steady(20_000, 10.0)
    assert len(pace._samples) <= 512
    assert pace._samples[0].time == 50.0
    eta = pace.eta(400_000.0)
    assert eta is not None and eta.seconds == pytest.approx(20_000, rel=0.01)
