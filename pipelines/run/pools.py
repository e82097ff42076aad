"""The pools of a run on Ray Data: units grouped by engine kind, and the workers that run them.

Ray Data carries only units and small result rows; workers read and write the documents themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.data import ActorPoolStrategy, Dataset

from pipelines.corpus.units import LONG, SHORT, Unit, costliest_first
from pipelines.run.cluster import EngineResources
from pipelines.run.worker_config import WorkerConfig

UNITS_IN_FLIGHT = 3
"""Units in flight in one worker, so that its engine has requests while a unit is committed."""
_MOST_IN_FLIGHT = 32


@dataclass(frozen=True, slots=True)
class PoolWorkers:
    """The units that one pool has to run, and its workers.

    Attributes:
        units: the units, in the order in which they start.
        config: the workers' settings.
        resources: the CPUs and GPUs of each worker.
        min_workers: workers that Ray Data keeps at least.
        max_workers: workers that it starts with, and runs at most.
        in_flight: units in flight in one worker.
    """

    units: Sequence[Unit]
    config: WorkerConfig
    resources: EngineResources
    min_workers: int
    max_workers: int
    in_flight: int = UNITS_IN_FLIGHT

    def map_units(
        self, worker: Callable[..., Any], plans: Mapping[int, str], progress_actor: Any
    ) -> Dataset:
        """Return a lazy dataset of the rows that workers return, one for each unit (see
        `Worker.__call__`). The units run when the dataset is read.

        Args:
            worker: the actor class, `pipelines.run.worker.Worker`.
            plans: the digest of each unit's plan, by the unit's number.
            progress_actor: the handle of the run's ProgressActor.
        """
        rows = [
            {
                "number": unit.number,
                "seconds": unit.seconds,
                "file": unit.file,
                "row_group": unit.row_group,
                "plan": plans[unit.number],
            }
            for unit in self.units
        ]
        # one block for each unit, so that units are dispatched and retried separately
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            worker,
            batch_size=None,
            fn_constructor_args=(self.config, progress_actor),
            compute=ActorPoolStrategy(
                min_size=self.min_workers,
                max_size=self.max_workers,
                initial_size=self.max_workers,
                max_tasks_in_flight_per_actor=self.in_flight + 1,
                max_concurrent_calls_per_actor=self.in_flight,
            ),
            num_cpus=self.resources.cpus,
            num_gpus=self.resources.gpus,
        )


def units_in_flight(units: Sequence[Unit], unit_seconds: float) -> int:
    """Return how many units a worker has in flight at a time if they take less than the
    `unit_seconds` of usual ones: as many as take the time of `UNITS_IN_FLIGHT` of those, at most
    32."""
    mean = sum(unit.seconds for unit in units) / len(units)
    usual = UNITS_IN_FLIGHT * unit_seconds
    return (
        _MOST_IN_FLIGHT
        if mean * _MOST_IN_FLIGHT <= usual
        else max(UNITS_IN_FLIGHT, int(usual / mean))
    )


def run_concurrently(datasets: Sequence[Dataset]) -> Iterator[Mapping[str, Any]]:
    """Execute datasets, at least one, at the same time, and yield the rows of all as they are
    finished."""
    first, *others = datasets
    yield from first.union(*others).iter_rows() if others else first.iter_rows()


def split_by_pool(units: Sequence[Unit]) -> list[list[Unit]]:
    """Return a list of units for each pool that has any, the short pool first. The costliest units
    of a pool come first."""
    pools = [[unit for unit in units if unit.pool == name] for name in (SHORT, LONG)]
    return [costliest_first(pool) for pool in pools if pool]


def share_engines(pools: Sequence[Sequence[Unit]], engines: int) -> list[int]:
    """Return the number of engines for each pool, in proportion to the estimated seconds of its
    units.

    Each pool gets at least one engine. The sum is `engines`, or the number of pools if `engines` is
    less or all estimates are 0.
    """
    seconds = [sum(unit.seconds for unit in pool) for pool in pools]
    shares = [1] * len(pools)
    while sum(shares) < engines and any(seconds):
        shares[max(range(len(pools)), key=lambda pool: seconds[pool] / shares[pool])] += 1
    return shares
