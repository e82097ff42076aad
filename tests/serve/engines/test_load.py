"""How full an engine is, and who comes again when."""

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


def test_at_the_limit_all_are_refused_and_what_is_done_makes_room() -> None:
    load = LoadLimiter(100, Clock())
    with load.hold(50):
        with load.hold(50), pytest.raises(Overloaded), load.hold(1):
            raise AssertionError
        with load.hold(40):
            assert load.outstanding == 90
    assert load.outstanding == 0


def test_a_request_larger_than_everything_leaves_room_for_others() -> None:
    load = LoadLimiter(100, Clock())
    with load.hold(1000), load.hold(1), load.hold(48):
        assert load.outstanding == 99
    assert load.outstanding == 0


def test_a_large_request_is_not_kept_out_by_many_small_ones() -> None:
    load = LoadLimiter(100, Clock())
    with ExitStack() as small:
        for _ in range(99):
            small.enter_context(load.hold(1))
        with load.hold(1000):
            assert load.outstanding == 149


def test_what_was_done_is_not_kept_for_ever_where_nobody_is_refused() -> None:
    clock = Clock()
    load = LoadLimiter(1000, clock)
    with load.hold(1):
        for _ in range(1000):
            clock.now += 1
            with load.hold(1):
                pass
        assert len(load._done) <= 31


def test_what_fails_is_done_too() -> None:
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
        # 500 tokens in 10 s; 200 of 700 have no room
        later.enter_context(load.hold(500))
        with pytest.raises(Overloaded) as known, load.hold(200):
            raise AssertionError
        assert load.drain_rate() == 50
        assert known.value.retry_after == 4


def test_old_rates_are_forgotten() -> None:
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
    ("fullness", "wanted"),
    [({"a": 0.0}, 0.0), ({"a": 0.7}, 1.0), ({"a": 1.4}, 2.0), ({"a": 1.4, "b": 0.7}, 3.0)],
)
def test_engines_are_wanted_by_the_tokens_that_wait(
    fullness: dict[str, float], wanted: float
) -> None:
    assert scale_by_tokens(context(**fullness))[0] == pytest.approx(wanted)


def test_a_replica_that_is_gone_counts_no_more_and_none_known_changes_nothing() -> None:
    known = context(a=1.4, b=1.4)
    known.running_replicas = ["a"]
    assert scale_by_tokens(known)[0] == pytest.approx(2.0)
    known.running_replicas = ["c"]
    assert scale_by_tokens(known)[0] == 1
