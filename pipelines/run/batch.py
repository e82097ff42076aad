"""A batch run: index the corpus, plan its units, run them on Ray Data, finish.

Ray Data carries only units and small result rows. What is done is decided by the ledger alone: this
file can die at any line and a second run goes on from what was committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import ray
from ray.data import ActorPoolStrategy, Dataset
from ray.data.exceptions import ExecutionTimeoutError

from pipelines.corpus.files import SourceFile, list_files
from pipelines.corpus.units import LONG, SHORT, Unit, costliest_first
from pipelines.errors import (
    ClusterError,
    EngineError,
    Incomplete,
    OutputError,
    PhifleetError,
    StorageError,
)
from pipelines.job.fingerprint import differing_keys
from pipelines.ledger.lease import Lease, take_lease
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Plan, differing_units, plan_digests
from pipelines.run.cluster import Cluster, EngineResources, engine_resources
from pipelines.run.manifest import build_manifest
from pipelines.run.planner import Planner, new_files
from pipelines.run.prepared import PreparedJob
from pipelines.run.progress import RunState, Timing, start_progress_actor
from pipelines.run.worker import Worker, WorkerConfig
from pipelines.storage import Storage

UNIT_SECONDS = 30.0
# Units that one worker has in hand, so that its engine never drains at a unit's edge.
_UNITS_IN_FLIGHT = 3
# Units that a message names.
_NAMED = 10


@dataclass(frozen=True, slots=True)
class Claim:
    """What a run found as it took its OUTPUT: its plans so far, and files that none of them has.
    While it holds the lease, its workers may commit, on their seats in the cluster."""

    lease: Lease
    resources: EngineResources
    plans: Sequence[Plan]
    new_files: Sequence[SourceFile]


@dataclass
class BatchRun:
    """One run of a job. `check` needs no cluster and fails early, `claim` takes OUTPUT, `execute`
    does the work."""

    prepared: PreparedJob
    unit_seconds: float = UNIT_SECONDS
    skip_bad_files: bool = False
    state: RunState = field(default_factory=RunState)

    def __post_init__(self) -> None:
        self.storage = Storage(self.prepared.spec.output.path)
        self.ledger = Ledger(self.storage)
        self.timing = Timing()

    def execute(self, cluster: Cluster, claim: Claim) -> dict[str, Any]:
        """Do the claimed job, or go on where it stopped. Returns the manifest.

        Raises InputError, OutputError, StorageError, ClusterError, EngineError, Fenced, Incomplete.
        """
        self._lease = claim.lease
        try:
            return self._execute(cluster, claim)
        except StorageError:
            # whoever took over may have swept away what this run was at
            self._lease.check()
            raise

    def _execute(self, cluster: Cluster, claim: Claim) -> dict[str, Any]:
        planner = Planner(
            self.prepared,
            self.ledger,
            cluster,
            self.unit_seconds,
            self.state,
            self.skip_bad_files,
        )
        try:
            plans = planner.extend(claim.plans, claim.new_files)
        except ray.exceptions.RayError as error:
            raise ClusterError(f"the corpus was not indexed: {_last_line(error)}") from error
        self._plans = plan_digests(plans)
        committed = self.ledger.committed()
        units = [unit for plan in plans for unit in plan.units]
        left = [unit for unit in units if unit.number not in committed]
        self._note_plan(units, left)
        if left:
            self._run(left, claim.resources)
        return self._finish(plans)

    def check(self) -> None:
        """See that the job may run into its OUTPUT; leaves nothing there.

        Raises OutputError where the run there would have answered otherwise, InputError where a
        file it has indexed changed or is gone.
        """
        self._check_job(self.ledger.job() or self._job())
        self._look()

    def claim(self, cluster: Cluster) -> Claim:
        """Record the job in OUTPUT, and take the run over from whoever is at it: the last step
        before the work, for a run that is refused must not end another. Raises as `check`, and
        ClusterError where the cluster has no room for an engine.
        """
        seat = engine_resources(cluster, self.prepared.spec.compute)
        self._check_job(self.ledger.open_job(self._job()))
        lease = take_lease(self.storage)
        # whoever was at it may have planned more until now
        return Claim(lease, seat, *self._look())

    def _job(self) -> dict[str, Any]:
        prepared = self.prepared
        return {
            "source": prepared.job.source,
            "digests": prepared.digests,
            "fingerprint": prepared.fingerprint,
            "model": prepared.model.name,
            "revision": prepared.model.revision,
            "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }

    def _check_job(self, recorded: Mapping[str, Any]) -> None:
        """Raises OutputError where a recorded job would have answered otherwise."""
        differing = differing_keys(recorded["digests"], self.prepared.digests)
        if differing:
            raise OutputError(
                f"output.path: {self.storage.url} holds a run whose answers were made otherwise; "
                f"keys that differ: {', '.join(differing)}. "
                "Take them back, or choose another OUTPUT"
            )

    def _look(self) -> tuple[list[Plan], list[SourceFile]]:
        """The plans so far, and files that none of them has. Plans come first: whoever made one
        had seen its files."""
        plans = self.ledger.plans()
        files = list_files(self.prepared.spec.input.path, exclude=self.storage.root)
        return plans, new_files(files, plans)

    def _note_plan(self, units: Sequence[Unit], left: Sequence[Unit]) -> None:
        state = self.state
        state.documents = sum(unit.rows for unit in units)
        state.units = len(units)
        state.units_done = len(units) - len(left)
        state.tokens_to_run = sum(unit.prompt_tokens for unit in left)
        state.documents_before = state.documents - sum(unit.rows for unit in left)

    def _run(self, left: Sequence[Unit], seat: EngineResources) -> None:
        self.state.phase = "starting engines"
        self.state.progress_actor = start_progress_actor()
        pools = [[unit for unit in left if unit.pool == name] for name in (SHORT, LONG)]
        waiting = [costliest_first(pool) for pool in pools if pool]
        room = min(seat.max_engines, self.prepared.spec.compute.replicas.max)
        batches = [waiting] if room >= len(waiting) else [[pool] for pool in waiting]
        try:
            for batch in batches:
                for row in self._map(batch, seat, room):
                    self.state.units_done += 1
                    self.timing.add(row)
        # the second where nothing went on for hours, as for lack of GPUs
        except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
            raise self._reason(error) from error

    def _map(
        self, pools: Sequence[Sequence[Unit]], seat: EngineResources, room: int
    ) -> Iterator[Mapping[str, Any]]:
        shares = _shares(pools, room)
        first, *others = [
            self._pool_dataset(pool, seat, share) for pool, share in zip(pools, shares, strict=True)
        ]
        yield from first.union(*others).iter_rows() if others else first.iter_rows()

    def _pool_dataset(self, units: Sequence[Unit], seat: EngineResources, room: int) -> Dataset:
        most = min(room, len(units))
        least = min(self.prepared.spec.compute.replicas.min, most)
        rows = [
            {
                "number": unit.number,
                "file": unit.file,
                "row_group": unit.row_group,
                "plan": self._plans[unit.number],
            }
            for unit in units
        ]
        # a block for each unit: it is dispatched, and tried again, alone
        return ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            Worker,
            batch_size=None,
            fn_constructor_args=(self._worker_config(units, seat), self.state.progress_actor),
            compute=ActorPoolStrategy(
                min_size=least,
                max_size=most,
                initial_size=most,
                max_tasks_in_flight_per_actor=_UNITS_IN_FLIGHT + 1,
                max_concurrent_calls_per_actor=_UNITS_IN_FLIGHT,
            ),
            num_cpus=seat.cpus,
            num_gpus=seat.gpus,
        )

    def _worker_config(self, units: Sequence[Unit], seat: EngineResources) -> WorkerConfig:
        prepared = self.prepared
        pool = units[0].pool
        longest = max(unit.longest for unit in units)
        return WorkerConfig(
            run=prepared.spec.name,
            pool=pool,
            storage=self.storage,
            lease=self._lease,
            engine=prepared.engine_config(pool, longest, gpu=seat.gpus > 0),
            tasks=prepared.tasks,
            id_column=prepared.spec.input.id_column,
            metadata=prepared.part_metadata,
        )

    def _reason(self, error: Exception) -> PhifleetError:
        """What a worker said before it failed, or else what Ray says. Raises Fenced."""
        self._lease.check()
        failures = self.state.failures()
        reason = failures[0] if failures else _last_line(error)
        return EngineError(f"{reason}\nWhat was committed stays; run the same command to go on")

    def _finish(self, plans: Sequence[Plan]) -> dict[str, Any]:
        self.state.phase = "finishing"
        self._lease.check()
        commits = self.ledger.commits(unit.number for plan in plans for unit in plan.units)
        if differing := differing_units(plans, commits):
            raise Incomplete(self._told(differing))
        self.ledger.repair(commits)
        manifest = build_manifest(self.prepared, plans, commits, self._times())
        manifest["skipped_files"] = self.state.skipped_files
        # a newer run has more to tell, if it has other files
        self._lease.check()
        self.ledger.write_manifest(manifest)
        self.ledger.sweep(plans)
        self.state.phase = "done"
        return manifest

    def _told(self, differing: Sequence[str]) -> str:
        more = f"\n  and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        lines = "".join(f"\n  {each}" for each in differing[:_NAMED])
        return (
            f"{self.storage.url}: what is committed does not fit what was planned:{lines}{more}\n"
            "Either two runs planned at once in a store that let both create the same name, or "
            "_run/ was changed by hand. Run into a new OUTPUT"
        )

    def _times(self) -> Mapping[str, float]:
        """This session's times, or those of the one that did the work where nothing was left."""
        earlier = self.ledger.manifest()
        if earlier and not self.timing.spans:
            return earlier
        progress = self.state.progress()
        return self.timing.seconds(progress.prompt_tokens + progress.output_tokens)


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]


def _shares(pools: Sequence[Sequence[Unit]], room: int) -> list[int]:
    """How many engines each pool may have: one, and all others where most seconds are left for
    each."""
    seconds = [sum(unit.seconds for unit in pool) for pool in pools]
    shares = [1] * len(pools)
    while sum(shares) < room and any(seconds):
        shares[max(range(len(pools)), key=lambda at: seconds[at] / shares[at])] += 1
    return shares
