"""The limits of a job while it runs: GPU hours, cost, a deadline, and dead letters.

The driver states from time to time how long each worker may still use its engine; a worker begins
no unit that would take longer. Units in hand are always finished, so that nothing that was paid for
is lost. Pure: knows numbers and the job file, no Ray and no storage.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pipelines.errors import SpecError
from pipelines.job.resources import Limits
from pipelines.models.devices import CPU
from pipelines.models.prices import LIST_PRICES, PRICES_OF
from pipelines.run.spending import price_per_hour


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a worker may still do: `seconds` of engine time from now on, infinite without a limit.
    `pace` is the measured time of a unit as a multiple of its planned time."""

    seconds: float = math.inf
    pace: float = 1.0

    def allows(self, planned_seconds: float, elapsed: float = 0.0) -> bool:
        """Return whether units whose planned time is `planned_seconds` in all may be in hand, if
        `elapsed` seconds have passed since the allowance was stated."""
        return planned_seconds * self.pace <= self.seconds - elapsed


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run has used so far, in all sessions.

    Attributes:
        hours: GPU hours; hours of engines if they run on CPUs.
        documents: documents of all units, `dead_letters` those of them without any answer.
        planned_seconds: the planned engine time of committed units, `answering_seconds` the
            measured one.
    """

    hours: float = 0.0
    documents: int = 0
    dead_letters: int = 0
    planned_seconds: float = 0.0
    answering_seconds: float = 0.0

    @property
    def pace(self) -> float:
        """The measured engine time as a multiple of the planned one; 1 before anything is known."""
        known = self.planned_seconds > 0 and self.answering_seconds > 0
        return self.answering_seconds / self.planned_seconds if known else 1.0


@dataclass(frozen=True, slots=True)
class RunLimits:
    """The limits of a job on its cluster.

    `device` is the name of the engines' device, and `gpus` the number that each of them holds, 0 on
    CPUs. `usd_per_hour` is the price of one such GPU, or of one engine on CPUs, for an hour.
    """

    limits: Limits
    device: str
    gpus: float
    usd_per_hour: float = field(default=0.0)

    @property
    def any(self) -> bool:
        """True if one of the limits can end the run early."""
        limits = self.limits
        hours = (limits.max_gpu_hours, limits.max_cost_usd, limits.deadline)
        return any(limit is not None for limit in hours) or limits.max_dead_letter_fraction < 1

    def allowance(self, spent: Spent, engines: int, now: datetime) -> Allowance:
        """Return what each of `engines` engines may still do."""
        seconds = min((left for _, left in self._left(spent, engines, now)), default=math.inf)
        return Allowance(max(0.0, seconds), spent.pace)

    def reached(self, spent: Spent, engines: int, now: datetime) -> str:
        """Return the limit that leaves the least time, what was used of it, and how to raise it."""
        key, _ = min(self._left(spent, engines, now), key=lambda limit: limit[1])
        limit = getattr(self.limits, key)
        what = "GPU hours" if self.gpus else "engine hours"
        used = {
            "max_gpu_hours": f"{spent.hours:.3g} of {limit} {what} are used",
            "max_cost_usd": f"${spent.hours * self.usd_per_hour:,.2f} of ${limit} are used, at "
            f"${self.usd_per_hour:g} an hour of {self.device}",
            "deadline": f"it is {now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}, and the limit is {limit}",
            "max_dead_letter_fraction": f"{spent.dead_letters:,} of {spent.documents:,} documents "
            f"are dead letters, more than the fraction {limit}",
        }
        return f"limits.{key}: {used[key]}"

    def _left(self, spent: Spent, engines: int, now: datetime) -> Iterator[tuple[str, float]]:
        """Yield for each limit its key, and the seconds that it leaves to each engine."""
        limits, held = self.limits, engines * (self.gpus or 1.0)
        if limits.max_gpu_hours is not None:
            yield "max_gpu_hours", (limits.max_gpu_hours - spent.hours) * 3600 / held
        if limits.max_cost_usd is not None:
            hours = limits.max_cost_usd / self.usd_per_hour if self.usd_per_hour else math.inf
            yield "max_cost_usd", (hours - spent.hours) * 3600 / held
        if limits.deadline is not None:
            yield "deadline", (limits.deadline - now).total_seconds()
        if spent.dead_letters > limits.max_dead_letter_fraction * spent.documents:
            yield "max_dead_letter_fraction", 0.0


def run_limits(limits: Limits, device: str, gpus: float) -> RunLimits:
    """Return the limits of a job on engines that hold `gpus` GPUs of type `device` each.

    Raises SpecError if `max_cost_usd` is set and the price of the device is not known.
    """
    price = price_per_hour(limits, device if gpus else CPU.name) or 0.0
    if limits.max_cost_usd is not None and not price:
        known = ", ".join(LIST_PRICES)
        raise SpecError(
            f"limits.max_cost_usd: got {limits.max_cost_usd}, but the price of an engine on "
            f"{device if gpus else CPU.name} is not known. Set limits.usd_per_hour to the price "
            f"of one {'GPU' if gpus else 'engine'} for an hour (list prices of {PRICES_OF} are "
            f"known of {known})"
        )
    return RunLimits(limits, device, gpus, price)
