"""Limits of a run: which leaves how much, what a worker may begin, and how a run ends by one."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.corpus.units import SHORT, Unit
from pipelines.errors import LimitReached, SpecError
from pipelines.job.resources import Limits
from pipelines.ledger.accounts import Account, DeviceTime
from pipelines.ledger.used import Used
from pipelines.run.keeping_limits import LimitKeeper
from pipelines.run.limits import Allowance, RunLimits, Spent, run_limits
from pipelines.run.progress import Progress, UnitProgress
from pipelines.run.state import RunState
from pipelines.run.worker_account import WorkerAccount
from pipelines.run.worker_budget import WorkerBudget

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def limits_of(gpus: float = 1.0, device: str = "H100", **limits: Any) -> RunLimits:
    section = Limits.model_validate({"max_dead_letter_fraction": 1.0, **limits})
    return run_limits(section, device, gpus)


@pytest.mark.parametrize(
    ("limits", "gpus", "engines", "seconds"),
    [
        ({}, 1, 2, math.inf),
        ({"max_gpu_hours": 3}, 1, 2, 1.0 * 3600 / 2),
        ({"max_gpu_hours": 3}, 4, 2, 1.0 * 3600 / 8),
        ({"max_gpu_hours": 3}, 0.5, 2, 1.0 * 3600),
        ({"max_gpu_hours": 3}, 0, 2, 1.0 * 3600 / 2),
        ({"max_gpu_hours": 1.5}, 1, 2, 0.0),
        # $12 at $4 an hour are 3 hours
        ({"max_cost_usd": 12}, 1, 2, 1.0 * 3600 / 2),
        ({"max_cost_usd": 12, "usd_per_hour": 2}, 1, 2, 4.0 * 3600 / 2),
        ({"deadline": "2030-01-01T12:01:00Z"}, 1, 2, 60.0),
        ({"deadline": "2030-01-01T11:00:00Z"}, 1, 2, 0.0),
        ({"deadline": "2030-01-01T12:01:00Z", "max_gpu_hours": 3}, 1, 2, 60.0),
        ({"max_dead_letter_fraction": 0.1}, 1, 2, math.inf),
        ({"max_dead_letter_fraction": 0.09}, 1, 2, 0.0),
    ],
)
def test_each_engine_may_use_its_share_of_what_the_tightest_limit_leaves(
    limits: dict[str, Any], gpus: float, engines: int, seconds: float
) -> None:
    spent = Spent(hours=2.0, documents=100, dead_letters=10)
    allowed = limits_of(gpus, **limits).allowance(spent, engines, NOW)
    assert allowed.seconds == pytest.approx(seconds)
    assert limits_of(gpus, **limits).any == bool(limits)


def test_a_cost_needs_a_known_price() -> None:
    with pytest.raises(SpecError, match=r"max_cost_usd: got 5\.0, .* on CPU is not known"):
        limits_of(0, "CPU", max_cost_usd=5)
    with pytest.raises(SpecError, match="on B900 is not known"):
        limits_of(1, "B900", max_cost_usd=5)
    assert limits_of(0, "CPU", max_cost_usd=5, usd_per_hour=2).usd_per_hour == 2
    assert limits_of(1, "h100", max_cost_usd=5).usd_per_hour == 4


def test_the_measured_pace_decides_what_fits() -> None:
    slow = Spent(planned_seconds=10, answering_seconds=30)
    assert (slow.pace, Spent(answering_seconds=30).pace) == (3.0, 1.0)
    allowed = Allowance(90.0, slow.pace)
    assert allowed.allows(30.0) and not allowed.allows(30.1) and not allowed.allows(30.0, 1.0)
    assert Allowance().allows(1e12)


def test_a_worker_begins_what_fits_beside_its_units_in_hand() -> None:
    now = [0.0]
    account = WorkerAccount(now=lambda: now[0])
    budget = WorkerBudget(account)
    assert budget.begin(0, 1e9)
    with budget.in_hand(0):
        pass
    budget.restate(Allowance(60.0))
    assert budget.begin(1, 30.0) and not budget.begin(2, 31.0) and budget.begin(3, 30.0)
    assert not budget.begin(4, 0.1)
    # half of unit 1 is finished, so that 45 of 50 seconds are taken
    account.progress.units[1] = UnitProgress(rows=10, answered=4, dead_letters=1)
    now[0] = 10.0
    assert budget.begin(5, 5.0) and not budget.begin(6, 1.0)
    budget.restate(None)
    assert not budget.begin(6, 1.0)
    with budget.in_hand(1), budget.in_hand(3), budget.in_hand(5):
        pass
    assert budget.begin(7, 50.0) and not budget.begin(8, 1.0)


def unit(number: int, seconds: float = 10.0) -> Unit:
    return Unit(number, SHORT, "file", number, 5, 100, 50, seconds, "ids")


def state_of(progress: Progress) -> RunState:
    state = RunState()
    state.plan([unit(number) for number in range(4)], {0})
    state._latest = progress
    used = Used(engine_seconds=1800.0)
    state.books.earlier = Account(used=used, devices={"H100": DeviceTime(1800.0, 1800.0)})
    return state


def test_what_is_spent_is_of_all_sessions() -> None:
    progress = Progress(engine_seconds=3600.0, units={1: UnitProgress(5, dead_letters=2)})
    keeper = LimitKeeper(limits_of(max_gpu_hours=5), state_of(progress), 2)
    spent = keeper.spent()
    assert (spent.hours, spent.documents, spent.dead_letters) == (1.5, 20, 2)
    assert spent.planned_seconds == 10
    assert keeper.allowance().seconds == pytest.approx(3.5 * 3600 / 2)


def test_a_run_ends_before_its_engines_start_if_nothing_fits() -> None:
    state = state_of(Progress())
    LimitKeeper(limits_of(max_gpu_hours=0.51), state, 1).check()
    with pytest.raises(LimitReached) as ended:
        LimitKeeper(limits_of(max_gpu_hours=0.502), state, 1).check()
    assert ended.value.exit_code == 3
    assert ended.value.message == (
        "limits.max_gpu_hours: 0.5 of 0.502 GPU hours are used. 1 of 4 units are committed and "
        "kept; 15 of 20 documents are left, which need about 0.0083 GPU hours more. Raise the "
        "limit, and run the same command again"
    )
    # all is committed: there is nothing that a limit could keep from its end
    state.plan([unit(0)], {0})
    LimitKeeper(limits_of(max_gpu_hours=0.1), state, 1).check()


def test_a_run_ends_when_the_units_in_hand_are_finished() -> None:
    state = state_of(Progress(units={1: UnitProgress(5), 0: UnitProgress(5, committed=1.0)}))
    keeper = LimitKeeper(limits_of(deadline=NOW - timedelta(days=9999)), state, 1)
    keeper.not_begun()
    state._latest = Progress(units={0: UnitProgress(5, committed=1.0)})
    with pytest.raises(LimitReached, match=r"limits\.deadline: it is 20..-.* and the limit is"):
        keeper.not_begun()
