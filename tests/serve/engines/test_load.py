"""Tests of the load limit of an engine, the retry delay, and autoscaling."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace

import pytest

from serve.engines.load import LoadLimiter
from serve.engines.replica import FULLNESS
from serve.engines.scaling import scale_by_tokens
from serve.errors import Overloaded


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_are_rejected_at_the_limit_and_accepted_when_others_finish() -> None:
    load = LoadLimiter(100, Clock())
    with load.hold(50):
        with load.hold(50), pytest.raises(Overloaded), load.hold(1):
            raise AssertionError
        with load.hold(40):
            assert load.outstanding == 90
    assert load.outstanding == 0


def test_a_request_larger_than_the_limit_does_not_fill_it_alone() -> None:
    load = LoadLimiter(100, Clock())
    with load.hold(1000), load.hold(1), load.hold(48):
        assert load.outstanding == 99
    assert load.outstanding == 0


def test_a_large_request_is_accepted_below_the_limit() -> None:
    load = LoadLimiter(100, Clock())
    with ExitStack() as small:
        for _ in range(99):
            small.enter_context(load.hold(1))
        with load.hold(1000):
            assert load.outstanding == 149


def test_finished_requests_are_forgotten_even_if_none_is_rejected() -> None:
    clock = Clock()
    load = LoadLimiter(1000, clock)
    with load.hold(1):
        for _ in range(1000):
            clock.now += 1
            with load.hold(1):
                pass
        assert len(load._done) <= 31


def test_a_failed_request_is_no_longer_outstanding() -> None:
    load = LoadLimiter(100, Clock())
    with pytest.raises(ZeroDivisionError), load.hold(80):
        raise ZeroDivisionError
    assert load.outstanding == 0


def test_retry_after_follows_the_measured_rate() -> None:
    clock = Clock()
    load = LoadLimiter(1000, clock)
    with ExitStack() as held, ExitStack() as later:
        later.enter_context(load.hold(500))
        held.enter_context(load.hold(500))
        with pytest.raises(Overloaded) as unknown, load.hold(400):
            raise AssertionError
        assert unknown.value.retry_after == 2
        clock.now = 10
        held.close()
        # 500 tokens in 10 s; of 700 + 500 tokens, 200 are above the limit
        later.enter_context(load.hold(500))
        with pytest.raises(Overloaded) as known, load.hold(200):
            raise AssertionError
        assert load.drain_rate() == 50
        assert known.value.retry_after == 4


def test_the_rate_is_measured_over_the_last_30_seconds() -> None:
    clock = Clock()
    load = LoadLimiter(1000, clock)
    with load.hold(10):
        clock.now = 1
        with load.hold(500):
            clock.now = 2
        assert load.drain_rate() == 250
        clock.now = 100
        assert load.drain_rate() is None


def context(**fullness: float) -> SimpleNamespace:
    return SimpleNamespace(
        aggregated_metrics={FULLNESS: fullness},
        running_replicas=list(fullness),
        target_num_replicas=1,
    )


@pytest.mark.parametrize(
    ("fullness", "engines"),
    [({"a": 0.0}, 0.0), ({"a": 0.7}, 1.0), ({"a": 1.4}, 2.0), ({"a": 1.4, "b": 0.7}, 3.0)],
)
def test_the_number_of_engines_follows_the_waiting_tokens(
    fullness: dict[str, float], engines: float
) -> None:
    assert scale_by_tokens(context(**fullness))[0] == pytest.approx(engines)


def test_ended_replicas_do_not_count_and_without_reports_nothing_changes() -> None:
    reported = context(a=1.4, b=1.4)
    reported.running_replicas = ["a"]
    assert scale_by_tokens(reported)[0] == pytest.approx(2.0)
    reported.running_replicas = ["c"]
    assert scale_by_tokens(reported)[0] == 1
