"""What a run has used of its limits, and what is left."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.job.resources import Limits
from pipelines.ledger.accounts import Account, DeviceTime
from pipelines.ledger.used import Used
from pipelines.run.spending import LimitUse, Spending

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
H100 = DeviceTime(engine_seconds=3_600.0, gpu_seconds=7_200.0)


def spending(devices: dict[str, DeviceTime], **limits: Any) -> Spending:
    seconds = sum(time.engine_seconds for time in devices.values())
    account = Account(used=Used(engine_seconds=seconds), devices=devices)
    return Spending(Limits.model_validate(limits), account, documents=200, dead_letters=4)


@pytest.mark.parametrize(
    ("devices", "limits", "hours", "cost"),
    [
        ({"H100": H100}, {}, 2.0, 8.0),
        ({"H100": H100}, {"usd_per_hour": 2.5}, 2.0, 5.0),
        # Ray names an A100 with 80 GB otherwise than the price list
        ({"A100-80G": DeviceTime(3_600.0, 3_600.0)}, {}, 1.0, 3.4),
        ({"H100": H100, "L4": DeviceTime(3_600.0, 3_600.0)}, {}, 3.0, 8.8),
        ({"H100": H100, "TPU": DeviceTime(3_600.0, 3_600.0)}, {}, 3.0, None),
        ({"CPU": DeviceTime(1_800.0, 0.0, 3_600.0)}, {}, 0.5, None),
        ({"CPU": DeviceTime(1_800.0, 0.0, 3_600.0)}, {"usd_per_hour": 0.4}, 0.5, 0.2),
        ({}, {}, 0.0, None),
        ({}, {"usd_per_hour": 1}, 0.0, 0.0),
    ],
)
def test_the_cost_is_by_the_price_of_each_device(
    devices: dict[str, DeviceTime], limits: dict[str, Any], hours: float, cost: float | None
) -> None:
    used = spending(devices, **limits)
    assert used.hours == pytest.approx(hours)
    assert used.cost_usd == (cost if cost is None else pytest.approx(cost))


def test_each_limit_that_is_set_has_what_is_used_and_left() -> None:
    used = spending(
        {"H100": H100}, max_gpu_hours=40, max_cost_usd=6, deadline="2030-01-01T13:00:00Z"
    )
    assert list(used.uses(NOW)) == [
        LimitUse("max_gpu_hours", 40.0, "GPU hours", 2.0, 38.0),
        LimitUse("max_cost_usd", 6.0, "USD", 8.0, -2.0),
        LimitUse("deadline", datetime(2030, 1, 1, 13, tzinfo=UTC), "seconds", None, 3_600.0),
        LimitUse("max_dead_letter_fraction", 0.05, "documents", 4.0, 6.0),
    ]
    assert list(spending({}, max_dead_letter_fraction=1.0).uses(NOW)) == []


def test_on_cpus_hours_are_those_of_engines_and_a_cost_without_price_is_not_known() -> None:
    used = spending({"CPU": DeviceTime(1_800.0)}, max_gpu_hours=1, max_cost_usd=6)
    hours, cost, _ = used.uses(NOW)
    assert hours == LimitUse("max_gpu_hours", 1.0, "engine hours", 0.5, 0.5)
    assert cost == LimitUse("max_cost_usd", 6.0, "USD", None, None)
