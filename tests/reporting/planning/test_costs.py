"""Tests of time and price by number of engines, by figures computed by hand."""

from __future__ import annotations

import pytest
from phi3_mini import PHI3

from pipelines.corpus.units import LONG, SHORT
from pipelines.models.devices import gpu
from pipelines.reporting.planning.costs import (
    GPU_START_SECONDS,
    DeviceCost,
    ReplicaCost,
    Speed,
    cheapest,
    device_cost,
    replica_counts,
)
from pipelines.reporting.planning.work import EngineKind, Work, engine_times

H100 = gpu("H100")
ENGINE = EngineKind(PHI3)
WORK = Work(computed_tokens=1e9)
SECONDS = engine_times(WORK, ENGINE, H100).total


def cost(
    pools: dict[str, Work], *, units: int = 1000, longest: int = 4096, speed: Speed | None = None
) -> DeviceCost:
    return device_cost(
        pools,
        ENGINE,
        H100,
        longest=longest,
        price=2.0,
        replicas=(1, 2, 8),
        units=units,
        speed=speed,
    )


def test_engines_share_the_work_and_each_one_starts() -> None:
    rows = cost({SHORT: WORK}).replicas
    assert [row.replicas for row in rows] == [1, 2, 8]
    for row in rows:
        assert row.wall_seconds == pytest.approx(SECONDS / row.replicas + GPU_START_SECONDS)
        hours = (SECONDS + row.replicas * GPU_START_SECONDS) / 3600
        assert row.gpu_hours == pytest.approx(hours)
        assert row.cost_usd == pytest.approx(2 * hours)


def test_two_pools_on_one_engine_run_one_after_the_other_with_a_start_each() -> None:
    one, two, _ = cost({SHORT: WORK, LONG: WORK}).replicas
    assert one.wall_seconds == pytest.approx(2 * SECONDS + 2 * GPU_START_SECONDS)
    assert two.wall_seconds == pytest.approx(SECONDS + GPU_START_SECONDS)


def test_no_more_engines_work_than_there_are_units() -> None:
    one, two, eight = cost({SHORT: WORK}, units=2).replicas
    assert eight.wall_seconds == two.wall_seconds < one.wall_seconds
    assert eight.gpu_hours == two.gpu_hours


def test_a_measured_run_counts_on_its_own_device_only() -> None:
    measured = cost({SHORT: WORK}, speed=Speed("H100", 1.5, 10.0))
    assert measured.measured and measured.engine_seconds == pytest.approx(1.5 * SECONDS)
    assert measured.replicas[0].wall_seconds == pytest.approx(1.5 * SECONDS + 10)
    other = cost({SHORT: WORK}, speed=Speed("L4", 1.5, 10.0))
    assert not other.measured and other.engine_seconds == pytest.approx(SECONDS)


def test_a_device_on_which_the_longest_prompt_does_not_fit_has_no_rows() -> None:
    too_long = cost({SHORT: WORK}, longest=1_000_000)
    assert too_long.engine_seconds is None and not too_long.replicas
    assert too_long.kv_tokens == int(ENGINE.kv_tokens(H100))


def test_the_numbers_of_engines_are_powers_of_two_up_to_the_most() -> None:
    assert [replica_counts(most) for most in (1, 2, 6, 8)] == [
        (1,), (1, 2), (1, 2, 4, 6), (1, 2, 4, 8),
    ]  # fmt: skip


def test_the_cheapest_device_is_the_one_with_the_lowest_price_with_one_engine() -> None:
    def priced(name: str, usd: float | None) -> DeviceCost:
        return DeviceCost(name, 1, 1.0, False, 1, 1.0, (ReplicaCost(1, 1.0, 1.0, usd),))

    best = cheapest([priced("a", 3.0), priced("b", 2.0), priced("c", None)])
    assert best is not None and best.device == "b"
    assert cheapest([priced("c", None)]) is None
