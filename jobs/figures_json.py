"""The figures of a run as JSON values: the same for `phifleet status --json` and for JSON logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from jobs.figures import format_time, oldest_unit, shares_of_time
from pipelines.ledger.accounts import Account
from pipelines.ledger.worker_records import WorkerRecord
from pipelines.run.spending import LimitUse, Spending


def time_to_json(account: Account) -> dict[str, Any]:
    """Return the engine time, the shares of what it was spent on, and the seconds of waste."""
    return {
        "engine_seconds": round(account.used.engine_seconds, 2),
        "gpu_seconds": round(account.gpu_seconds, 2),
        "engine_time": {
            name: round(share, 4) for name, share in shares_of_time(account.used).items()
        },
        "waste_seconds": {
            why: round(waste.seconds, 2) for why, waste in sorted(account.used.waste.items())
        },
    }


def unit_to_json(workers: Sequence[WorkerRecord]) -> dict[str, Any] | None:
    """Return the unit that is in hand for the longest time and its worker, None without any."""
    oldest = oldest_unit(workers)
    if oldest is None:
        return None
    record, unit = oldest
    return {"worker": record.life, "host": record.host, **asdict(unit)}


def spending_to_json(spending: Spending, now: datetime) -> dict[str, Any]:
    """Return the cost so far, None if the price is not known, and each limit that is set: its
    value, what is used, and what is left."""
    cost = spending.cost_usd
    return {
        "cost_usd": None if cost is None else round(cost, 4),
        "limits": {use.key: _use_to_json(use) for use in spending.uses(now)},
    }


def _use_to_json(use: LimitUse) -> dict[str, Any]:
    limit = format_time(use.limit) if isinstance(use.limit, datetime) else use.limit
    return {
        "limit": limit,
        "unit": use.unit,
        "used": None if use.used is None else round(use.used, 4),
        "left": None if use.left is None else round(use.left, 4),
    }
