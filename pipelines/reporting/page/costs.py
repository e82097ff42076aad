"""What a run has used, by device, with list prices, and what of it was for nothing.

Pure; knows accounts and prices.
"""

from __future__ import annotations

from pipelines.ledger.accounts import Account, DeviceTime
from pipelines.ledger.used import (
    ENGINE_DIED,
    FAILED,
    FENCED,
    IDLE,
    LOST_RACE,
    WATCHDOG,
    WORKER_DIED,
    Waste,
)
from pipelines.models.prices import PRICES_OF, list_price
from pipelines.reporting.page.facts import CostFacts, DeviceFacts, WasteFacts

_HOUR = 3600.0
_MEANINGS = {
    ENGINE_DIED: "an engine died while it answered",
    WATCHDOG: "an engine hung and was ended",
    WORKER_DIED: "a worker's process died",
    LOST_RACE: "another worker had committed the unit",
    FENCED: "another run took over",
    FAILED: "an error ended the run",
    "stopped": "a signal or a limit ended the run",
    IDLE: "an engine had nothing to do",
}


def cost_facts(account: Account) -> CostFacts:
    """Return what the run with this account has used."""
    used = account.used
    devices = [_device(name, held) for name, held in sorted(account.devices.items())]
    priced = [device.usd for device in devices if device.usd is not None]
    return CostFacts(
        engine_hours=_hours(used.engine_seconds),
        gpu_hours=_hours(account.gpu_seconds),
        start_seconds=round(used.start_seconds, 1),
        wasted_share=_share(used.wasted.seconds, used.engine_seconds),
        usd=round(sum(priced), 2) if priced else None,
        prices_of=PRICES_OF,
        devices=devices,
        waste=[
            _waste(reason, waste, used.engine_seconds)
            for reason, waste in sorted(used.waste.items(), key=lambda item: -item[1].seconds)
        ],
    )


def _device(name: str, held: DeviceTime) -> DeviceFacts:
    price = list_price(name) if held.gpu_seconds else None
    hours = _hours(held.gpu_seconds)
    return DeviceFacts(
        device=name,
        engine_hours=_hours(held.engine_seconds),
        gpu_hours=hours,
        cpu_hours=_hours(held.cpu_seconds),
        usd_per_hour=price,
        usd=None if price is None else round(held.gpu_seconds / _HOUR * price, 2),
    )


def _waste(reason: str, waste: Waste, engine_seconds: float) -> WasteFacts:
    return WasteFacts(
        reason=reason,
        meaning=_MEANINGS.get(reason, ""),
        seconds=round(waste.seconds, 1),
        share=_share(waste.seconds, engine_seconds),
        prompt_tokens=waste.tokens.prompt_tokens,
        output_tokens=waste.tokens.output_tokens,
    )


def _share(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def _hours(seconds: float) -> float:
    return round(seconds / _HOUR, 4)
