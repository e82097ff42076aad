"""Time and price of a workload on a device, for numbers of engines that work at the same time.

Pure; knows no files. The constants are assumptions until a run has measured them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.models.devices import Device
from pipelines.reporting.planning.work import EngineKind, Work, engine_times

GPU_START_SECONDS, CPU_START_SECONDS = 90.0, 25.0
"""The time until an engine answers: loading weights, profiling memory, capturing graphs. An
assumption for GPUs, near what this project has measured on CPUs."""
_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Speed:
    """What a run has measured of engines on one device.

    Attributes:
        device: the device's name.
        factor: the measured time of engines as a multiple of the estimate.
        start_seconds: the measured time until an engine answers.
    """

    device: str
    factor: float
    start_seconds: float


@dataclass(frozen=True, slots=True)
class ReplicaCost:
    """Time and price with `replicas` engines; `cost_usd` is None without a price."""

    replicas: int
    wall_seconds: float
    gpu_hours: float
    cost_usd: float | None


@dataclass(frozen=True, slots=True)
class DeviceCost:
    """Time and price on one device.

    Attributes:
        device: the device's name.
        gpus: GPUs of one engine; 0 on a CPU.
        engine_seconds: engine time without starts; None if the model or a document does not fit.
        measured: whether the time is scaled by a measured run on this device.
        kv_tokens: tokens that an engine's KV cache holds; None on a CPU.
        price_per_hour: US dollars an hour for one GPU, or one engine on CPUs; None if unknown.
        replicas: time and price by number of engines, ascending; empty if nothing fits.
    """

    device: str
    gpus: int
    engine_seconds: float | None
    measured: bool
    kv_tokens: int | None
    price_per_hour: float | None
    replicas: Sequence[ReplicaCost] = ()


def device_cost(
    pools: Mapping[str, Work],
    engine: EngineKind,
    device: Device,
    *,
    longest: int,
    price: float | None,
    replicas: Sequence[int],
    units: int,
    speed: Speed | None,
) -> DeviceCost:
    """Return time and price of the work of some pools of engines on a device.

    Pools run at the same time if there are as many engines, and one after the other otherwise.

    Args:
        pools: the work of each pool.
        engine: the settings of engines.
        device: one GPU, or a CPU.
        longest: the length in tokens of the longest prompt with its answer, which must fit.
        price: US dollars for one GPU, or one engine on CPUs, for one hour; None if unknown.
        replicas: the numbers of engines to state, ascending.
        units: the number of units, which bounds the engines that have something to do.
        speed: what a run has measured; it counts only if it is of this device.
    """
    measured = speed is not None and speed.device == device.name
    kv_tokens = engine.kv_tokens(device)
    held = int(kv_tokens) if math.isfinite(kv_tokens) else None
    gpus = engine.gpus if device.gpu else 0
    fits = kv_tokens >= longest
    seconds = sum(engine_times(work, engine, device).total for work in pools.values())
    if not fits or not math.isfinite(seconds):
        return DeviceCost(device.name, gpus, None, False, held and max(0, held), price)
    start = GPU_START_SECONDS if device.gpu else CPU_START_SECONDS
    if speed is not None and measured:
        seconds, start = seconds * speed.factor, speed.start_seconds
    rows = [
        _replica_cost(count, len(pools), seconds, start, max(1, gpus), price, units)
        for count in replicas
    ]
    return DeviceCost(device.name, gpus, seconds, measured, held, price, tuple(rows))


def _replica_cost(
    count: int,
    pools: int,
    seconds: float,
    start: float,
    gpus: int,
    price: float | None,
    units: int,
) -> ReplicaCost:
    working = max(1, min(count, units))
    # with fewer engines than pools, the pools run one after the other
    starts = pools if working < pools else 1
    hours = gpus * (seconds + start * working * starts) / _HOUR
    wall = seconds / working + start * starts
    return ReplicaCost(count, wall, hours, None if price is None else hours * price)


def replica_counts(most: int) -> tuple[int, ...]:
    """Return the numbers of engines to state for a job with at most `most`: powers of two and the
    most; none for 0."""
    if most < 1:
        return ()
    powers = [2**power for power in range(most.bit_length()) if 2**power < most]
    return (*powers, most)


def cheapest(costs: Sequence[DeviceCost]) -> DeviceCost | None:
    """Return the device with the lowest price with one engine, None if no device has a price."""
    priced = [cost for cost in costs if cost.replicas and cost.replicas[0].cost_usd is not None]
    return min(priced, key=lambda cost: cost.replicas[0].cost_usd or 0.0, default=None)
