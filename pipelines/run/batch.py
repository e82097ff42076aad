"""A batch run: index the corpus, plan its units, run them on Ray Data, finish.

The ledger alone decides what is done: if this process dies at any point, the next run continues
from the committed units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import ray
from ray.data.exceptions import ExecutionTimeoutError

from pipelines.corpus.undivided import undivided_files
from pipelines.corpus.units import Unit
from pipelines.errors import (
    ClusterError,
    EngineError,
    OutputError,
    PhifleetError,
    StorageError,
)
from pipelines.job.fingerprint import differing_keys
from pipelines.ledger.lease import Lease, take_lease
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import MANIFEST
from pipelines.ledger.records import Plan, check_commits, plan_digests, readable
from pipelines.ledger.withdrawals import withdraw
from pipelines.run.cluster import Cluster, EngineResources, engine_resources
from pipelines.run.following import InputChanges, find_changes, refuse_stale_table
from pipelines.run.manifest import TIMES, build_manifest
from pipelines.run.output_table import check_table, commit_table
from pipelines.run.planner import Planner
from pipelines.run.pools import PoolWorkers, run_concurrently, share_engines, split_by_pool
from pipelines.run.prepared import PreparedJob
from pipelines.run.progress import Timing
from pipelines.run.state import RunState, start_progress_actor
from pipelines.run.worker import Worker
from pipelines.run.worker_config import WorkerConfig
from pipelines.storage import Storage

UNIT_SECONDS = 30.0
"""The default of `BatchRun.unit_seconds`."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A run's exclusive hold on its OUTPUT, and the state of OUTPUT when it was taken.

    Attributes:
        lease: the lease under which this run's workers may commit.
        resources: the CPUs and GPUs of each engine, and the most engines to start at a time.
        plans: the plans recorded so far.
        changes: how the input differs from the plans.
    """

    lease: Lease
    resources: EngineResources
    plans: Sequence[Plan]
    changes: InputChanges


@dataclass
class BatchRun:
    """One run of a job. Call `check`, then `claim`, then `execute`.

    Attributes:
        prepared: the job with its model and tasks.
        unit_seconds: engine time, by the cost estimate, for which the planner cuts units, in
            seconds.
        skip_bad_files: True to skip input files that are damaged; False to fail at the first one.
        state: the run's state for display; other threads may read it.
        storage: OUTPUT.
        ledger: the ledger in OUTPUT.
        timing: the times of this session.
    """

    prepared: PreparedJob
    unit_seconds: float = UNIT_SECONDS
    skip_bad_files: bool = False
    state: RunState = field(default_factory=RunState)

    def __post_init__(self) -> None:
        self.storage = Storage(self.prepared.spec.output.path)
        self.ledger = Ledger(self.storage)
        self.timing = Timing()

    def check(self) -> None:
        """Check that the job may run into its OUTPUT. Needs no cluster and writes nothing.

        Raises OutputError if OUTPUT contains a run that would give other answers, InputError if no
        input file is found or a file that the run has indexed has changed or is missing, and
        StorageError.
        """
        self._check_job(self.ledger.job() or self._job_record())
        self._read_plans()

    def claim(self, cluster: Cluster) -> Claim:
        """Record the job in OUTPUT and acquire the lease; an older driver is fenced from then on.

        Call it when nothing else can be rejected any more: a run that fails its checks must not end
        another one. Raises as `check` does, and ClusterError if no engine fits the cluster.
        """
        resources = engine_resources(cluster, self.prepared.spec.compute)
        self._check_job(self.ledger.open_job(self._job_record()))
        lease = take_lease(self.storage)
        # read after the lease was taken: until then an older driver may have added plans
        return Claim(lease, resources, *self._read_plans())

    def execute(self, cluster: Cluster, claim: Claim) -> dict[str, Any]:
        """Index new files, run the units that are not committed, and return the manifest.

        `claim` is the result of `claim` with the same cluster. Raises InputError, OutputError,
        StorageError, ClusterError, EngineError, Fenced, Incomplete.
        """
        self._lease = claim.lease
        try:
            plans = self._index(cluster, claim.plans, claim.changes)
            self._answer_units(plans, claim.resources)
            if claim.changes.postponed:
                plans = self._index(cluster, *self._read_plans())
                self._answer_units(plans, claim.resources)
            return self._finish(plans)
        except StorageError:
            # a newer driver may have deleted this run's temporary files: then Fenced is the reason
            self._lease.check()
            raise

    def _answer_units(self, plans: Sequence[Plan], resources: EngineResources) -> None:
        """Remove withdrawn documents from OUTPUT, and run the units that are not committed."""
        check_table(self.prepared, self.storage, plans)
        self.state.phase = "removing withdrawn documents"
        withdraw(self.ledger, plans)
        units = self._plan(plans)
        if units:
            self._run(units, resources)

    def _index(
        self, cluster: Cluster, plans: Sequence[Plan], changes: InputChanges
    ) -> Sequence[Plan]:
        """Index the new files and record their units as a further plan; return all plans."""
        planner = Planner(
            self.prepared,
            self.ledger,
            cluster,
            self.unit_seconds,
            self.state,
            self.skip_bad_files,
        )
        try:
            return planner.extend(plans, changes)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"indexing {self.prepared.spec.input.path} failed on the cluster: "
                f"{_last_line(error)}. Check the run's log, then run the same command again"
            ) from error

    def _plan(self, plans: Sequence[Plan]) -> list[Unit]:
        """Return the units that are not committed yet, and show the totals in the run's state."""
        self._plans = plan_digests(plans)
        committed = self.ledger.committed()
        units = [unit for plan in plans for unit in plan.units]
        remaining = [unit for unit in units if unit.number not in committed]
        state = self.state
        state.documents = sum(unit.rows for unit in units)
        state.units = len(units)
        state.units_done = len(units) - len(remaining)
        state.tokens_to_run = sum(unit.prompt_tokens for unit in remaining)
        state.documents_before = state.documents - sum(unit.rows for unit in remaining)
        return remaining

    def _run(self, units: Sequence[Unit], resources: EngineResources) -> None:
        """Run units on workers until all are committed."""
        self.state.phase = "starting engines"
        self.state.progress_actor = start_progress_actor()
        pools = split_by_pool(units)
        engines = min(resources.max_engines, self.prepared.spec.compute.replicas.max)
        # pools run concurrently if each can have an engine, else one after the other
        groups = [pools] if engines >= len(pools) else [[pool] for pool in pools]
        try:
            for group in groups:
                self._run_pools(group, resources, engines)
        # ExecutionTimeoutError: no progress for hours, for example for lack of GPUs
        except (ray.exceptions.RayError, ExecutionTimeoutError) as error:
            raise self._failure(error) from error

    def _run_pools(
        self, pools: Sequence[Sequence[Unit]], resources: EngineResources, engines: int
    ) -> None:
        """Run the units of pools concurrently, with `engines` engines in all."""
        shares = share_engines(pools, engines)
        datasets = [
            self._workers(units, resources, share).map_units(
                Worker, self._plans, self.state.progress_actor
            )
            for units, share in zip(pools, shares, strict=True)
        ]
        for row in run_concurrently(datasets):
            self.state.units_done += 1
            self.timing.add(row)

    def _workers(
        self, units: Sequence[Unit], resources: EngineResources, engines: int
    ) -> PoolWorkers:
        max_workers = min(engines, len(units))
        min_workers = min(self.prepared.spec.compute.replicas.min, max_workers)
        config = self._worker_config(units, resources)
        return PoolWorkers(units, config, resources, min_workers, max_workers)

    def _worker_config(self, units: Sequence[Unit], resources: EngineResources) -> WorkerConfig:
        prepared = self.prepared
        pool = units[0].pool
        longest = max(unit.longest for unit in units)
        return WorkerConfig(
            run=prepared.spec.name,
            pool=pool,
            storage=self.storage,
            lease=self._lease,
            engine=prepared.engine_config(pool, longest, gpu=resources.gpus > 0),
            tasks=prepared.tasks,
            id_column=prepared.spec.input.id_column,
            metadata=prepared.part_metadata,
        )

    def _failure(self, error: Exception) -> PhifleetError:
        """Return an EngineError with the first failure that a worker reported, or with the last
        line of Ray's error if no worker reported one. Raises Fenced if another driver holds the
        lease."""
        self._lease.check()
        failures = self.state.failures()
        reason = failures[0] if failures else _last_line(error)
        return EngineError(
            f"{reason}\nCommitted units are kept; run the same command again to resume"
        )

    def _finish(self, plans: Sequence[Plan]) -> dict[str, Any]:
        """Check that every unit is committed and published, and write the manifest."""
        self.state.phase = "finishing"
        self._lease.check()
        commits = self.ledger.commits(unit.number for plan in plans for unit in plan.units)
        check_commits(self.storage.url, plans, commits)
        self.ledger.repair(commits)
        manifest = build_manifest(self.prepared, plans, commits, self._times())
        manifest["files_not_read"] = self.state.files_not_read.to_json()
        manifest["skipped_files"] = self.state.skipped_files
        manifest |= commit_table(self.prepared, self.storage, plans, commits)
        # a newer driver may have more input files, and its manifest must not be overwritten
        self._lease.check()
        self.ledger.write_manifest(manifest)
        self.ledger.sweep(plans)
        self.state.phase = "done"
        return manifest

    def _times(self) -> Mapping[str, float]:
        """Return this session's times, or those in the manifest if this session ran no unit."""
        if not self.timing.spans and (earlier := self.ledger.manifest()):
            with readable(self.storage.path(MANIFEST)):
                return {name: earlier[name] for name in TIMES}
        progress = self.state.progress()
        return self.timing.seconds(progress.prompt_tokens + progress.output_tokens)

    def _job_record(self) -> dict[str, Any]:
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
        """Raise OutputError if a recorded job would give other answers than this one."""
        changed = differing_keys(recorded["digests"], self.prepared.digests)
        if changed:
            raise OutputError(
                f"output.path: {self.storage.url} contains a run of a different job; changed keys: "
                f"{', '.join(changed)}. Restore these values, or set output.path to a new directory"
            )

    def _read_plans(self) -> tuple[list[Plan], InputChanges]:
        """Return the recorded plans, and how the input differs from them."""
        # plans first: every file of a plan was listed before the plan was recorded
        plans = self.ledger.plans()
        spec = self.prepared.spec.input
        refuse_stale_table(spec, self.storage)
        changes = find_changes(spec, plans, self.ledger.committed(), self.storage.root)
        self.state.files_not_read = changes.not_read
        self.state.undivided_files = undivided_files(changes.new)
        return plans, changes


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
