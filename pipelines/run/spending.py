"""What a run has used of what its job limits: hours, cost, time and dead letters; what is left.

The live view and `phifleet status` state the same of it. Pure: knows numbers and the job file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from pipelines.job.resources import Limits
from pipelines.ledger.accounts import Account, DeviceTime
from pipelines.models.prices import list_price

GPU_HOURS, ENGINE_HOURS, USD, SECONDS, DOCUMENTS = (
    "GPU hours",
    "engine hours",
    "USD",
    "seconds",
    "documents",
)
"""The units of `LimitUse`."""


@dataclass(frozen=True, slots=True)
class LimitUse:
    """What is used of one limit, and what is left, in `unit`.

    Attributes:
        key: the key of the job file's section `limits`.
        limit: its value; a time for `deadline`.
        unit: GPU_HOURS, ENGINE_HOURS, USD, SECONDS or DOCUMENTS.
        used: what is used so far; None for a deadline.
        left: what is left, 0 or less if the limit is reached; None if that is not known.
    """

    key: str
    limit: float | datetime
    unit: str
    used: float | None
    left: float | None


@dataclass(frozen=True, slots=True)
class Spending:
    """What a run has used in all sessions, with the limits that are in force.

    `dead_letters` are those among all its `documents`.
    """

    limits: Limits
    account: Account
    documents: int
    dead_letters: int

    @property
    def hours(self) -> float:
        """GPU hours; hours of engines if no GPU was used."""
        return (self.account.gpu_seconds or self.account.used.engine_seconds) / 3600

    @property
    def cost_usd(self) -> float | None:
        """The cost so far, None if the price of a device is not known.

        `limits.usd_per_hour` is the price of any device; without it, GPUs have their list price.
        """
        total = 0.0
        for device, time in self.account.devices.items():
            price = price_per_hour(self.limits, device)
            if price is None:
                return None
            total += price * (time.gpu_seconds or time.engine_seconds) / 3600
        return total if self.account.devices or self.limits.usd_per_hour else None

    def uses(self, now: datetime) -> Iterator[LimitUse]:
        """Yield what is used of each limit that is set."""
        limits, hours, cost = self.limits, self.hours, self.cost_usd
        if (most := limits.max_gpu_hours) is not None:
            unit = GPU_HOURS if self.account.gpu_seconds else ENGINE_HOURS
            yield LimitUse("max_gpu_hours", most, unit, hours, most - hours)
        if (most := limits.max_cost_usd) is not None:
            left = None if cost is None else most - cost
            yield LimitUse("max_cost_usd", most, USD, cost, left)
        if limits.deadline is not None:
            seconds = (limits.deadline - now).total_seconds()
            yield LimitUse("deadline", limits.deadline, SECONDS, None, seconds)
        if (fraction := limits.max_dead_letter_fraction) < 1:
            # a run may have this number of dead letters, and fails with one more
            left = fraction * self.documents - self.dead_letters
            used = float(self.dead_letters)
            yield LimitUse("max_dead_letter_fraction", fraction, DOCUMENTS, used, left)


def price_per_hour(limits: Limits, device: str) -> float | None:
    """Return the price of one GPU of a type, or of one engine on CPUs, for an hour in US dollars;
    None if it is not known. `device` is the name that workers record."""
    return list_price(device) if limits.usd_per_hour is None else limits.usd_per_hour


def known_prices(limits: Limits, devices: Mapping[str, DeviceTime]) -> dict[str, float]:
    """Return the prices by which a cost was computed, by device."""
    prices = {device: price_per_hour(limits, device) for device in devices}
    return {device: price for device, price in prices.items() if price is not None}
