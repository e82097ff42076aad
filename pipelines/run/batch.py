"""A batch run: index the corpus, plan its units, run them on Ray Data, finish.

The ledger alone decides what is done: if this process dies at any point, the next run continues
from the committed units.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.data.exceptions import ExecutionTimeoutError

from pipelines.corpus.undivided import undivided_files
from pipelines.corpus.units import Unit
from pipelines.errors import (
    ClusterError,
    EngineError,
    PhifleetError,
    StorageError,
)
from pipelines.ledger.comparing import check_commits
from pipelines.ledger.lease import take_lease
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.records import Commit, Plan, plan_digests
from pipelines.ledger.redo import Redoing, unfinished_redos
from pipelines.ledger.withdrawals import withdraw
from pipelines.run.books import close_books, wall_seconds
from pipelines.run.cluster import Cluster, EngineResources, engine_resources
from pipelines.run.following import InputChanges
from pipelines.run.job_record import added_tasks, new_record, newest_record
from pipelines.run.keeping_limits import LimitKeeper
from pipelines.run.limits import run_limits
from pipelines.run.manifest import build_manifest
from pipelines.run.output_state import Claim, OutputState, read_output
from pipelines.run.output_table import check_table, commit_table
from pipelines.run.planner import Planner
from pipelines.run.pools import (
    UNITS_IN_FLIGHT,
    PoolWorkers,
    run_concurrently,
    share_engines,
    split_by_pool,
    units_in_flight,
)
from pipelines.run.prepared import PreparedJob
from pipelines.run.redo_planner import RedoPlanner
from pipelines.run.state import RunState, start_progress_actor
from pipelines.run.worker import Worker
from pipelines.run.worker_config import WorkerConfig
from pipelines.storage import Storage

UNIT_SECONDS = 30.0
"""The default of `BatchRun.unit_seconds`."""


@dataclass
class BatchRun:
    """One run of a job. Call `check`, then `claim`, then `execute`.

    Attributes:
        prepared: the job with its model and tasks.
        unit_seconds: engine time, by the cost estimate, for which the planner cuts units, in
            seconds.
        skip_bad_files: True to skip input files that are damaged; False to fail at the first one.
        state: the run's state for display; other threads may read it.
        retry: the reasons of the dead letters to ask again; None asks none again. With it, new and
            changed input is not looked for.
        storage: OUTPUT.
        ledger: the ledger in OUTPUT.
        started: when the run was made, in seconds of the monotonic clock.
    """

    prepared: PreparedJob
    unit_seconds: float = UNIT_SECONDS
    skip_bad_files: bool = False
    state: RunState = field(default_factory=RunState)
    retry: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self.storage = Storage(self.prepared.spec.output.path)
        self.ledger = Ledger(self.storage)
        self.started = time.monotonic()
        self._redoing: Redoing | None = None

    def check(self) -> None:
        """Check that the job may run into its OUTPUT. Needs no cluster and writes nothing.

        Raises OutputError if OUTPUT contains a run that would give other answers, InputError if no
        input file is found or a file that the run has indexed has changed or is missing, and
        StorageError.
        """
        self._read_output(self.ledger.job() or new_record(self.prepared))

    def claim(self, cluster: Cluster) -> Claim:
        """Record the job in OUTPUT and acquire the lease; an older driver is fenced from then on.

        Call it when nothing else can be rejected any more: a run that fails its checks must not end
        another one. Raises as `check` does, ClusterError if no engine fits the cluster, and
        SpecError if the job limits a cost that is not known.
        """
        resources = engine_resources(cluster, self.prepared.spec.compute)
        limits = run_limits(self.prepared.spec.limits, cluster.device.name, resources.gpus)
        self.state.limits = self._limits = limits
        recorded = self.ledger.open_job(new_record(self.prepared))
        added_tasks(newest_record(recorded, self.ledger.plans()), self.prepared, self.storage.url)
        lease = take_lease(self.storage)
        self.state.generation = lease.generation
        # read after the lease was taken: until then an older driver may have added plans
        return Claim(lease, resources, self._read_output(recorded))

    def execute(self, cluster: Cluster, claim: Claim) -> dict[str, Any]:
        """Index new files, run what is not committed or answered again, and return the manifest.

        `claim` is the result of `claim` with the same cluster. Raises InputError, OutputError,
        StorageError, ClusterError, EngineError, LimitReached, Fenced, Incomplete.
        """
        self._lease, output = claim.lease, claim.output
        self.state.books.open(self.ledger, claim.lease.generation)
        redos = RedoPlanner(self.prepared, self.ledger, cluster, self.unit_seconds, claim.lease)
        try:
            while output.added:
                self.state.phase = "reading the input for added tasks"
                redos.add_tasks(output)
                output = self._read_output(output.record)
            plans = self._index(cluster, output.plans, output.changes)
            self._answer_units(plans, claim.resources)
            if output.changes.postponed:
                output = self._read_output(output.record)
                plans = self._index(cluster, output.plans, output.changes)
                self._answer_units(plans, claim.resources)
            # a retry that was interrupted has been continued: no second one follows
            if self.retry is not None and not claim.output.is_retrying(self.retry):
                self.state.phase = "reading the input for dead letters"
                plans, self.state.retried = redos.retry(plans, self.retry)
                self._answer_units(plans, claim.resources)
            return self._finish(plans, output.record)
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
        for redoing in unfinished_redos(plans, self.ledger.revisions()):
            self._redoing = redoing.without_units()
            self._run(self.state.plan(redoing.units, ()), resources)
            self._redoing = None
            # the commits of revised units have changed
            self.state.books.read_again(self.ledger)

    def _index(
        self, cluster: Cluster, plans: Sequence[Plan], changes: InputChanges
    ) -> Sequence[Plan]:
        """Index the new files and record their units as a further plan; return all plans."""
        started = time.monotonic()
        try:
            return self._planner(cluster).extend(plans, changes)
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"indexing {self.prepared.spec.input.path} failed on the cluster: "
                f"{_last_line(error)}. Check the run's log, then run the same command again"
            ) from error
        finally:
            self.state.index_seconds += time.monotonic() - started

    def _planner(self, cluster: Cluster) -> Planner:
        return Planner(
            self.prepared,
            self.ledger,
            cluster,
            self.unit_seconds,
            self.state,
            self.skip_bad_files,
        )

    def _plan(self, plans: Sequence[Plan]) -> list[Unit]:
        """Return the units that are not committed yet, and show the totals in the run's state."""
        self._plans = plan_digests(plans)
        units = [unit for plan in plans for unit in plan.units]
        return self.state.plan(units, self.ledger.committed())

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
        """Run the units of pools concurrently, with `engines` engines in all. Raises LimitReached
        if a limit of the job leaves no time for some of them."""
        shares = share_engines(pools, engines)
        workers = [
            self._workers(units, resources, share)
            for units, share in zip(pools, shares, strict=True)
        ]
        keeper = LimitKeeper(self._limits, self.state, sum(pool.max_workers for pool in workers))
        plans, actor = self._plans, self.state.progress_actor
        with keeper.kept():
            for row in run_concurrently([pool.map_units(Worker, plans, actor) for pool in workers]):
                if row["begun"]:
                    self.state.note_commit(self._commit_of(row))
                else:
                    keeper.not_begun()

    def _commit_of(self, row: Mapping[str, Any]) -> Commit:
        """Return the commit of the unit of a row that `Worker` returned."""
        if row["commit"]:
            return Commit.from_json(row["commit"].encode())
        # another worker was first
        (commit,) = self.ledger.commits([int(row["unit"])])
        return commit

    def _workers(
        self, units: Sequence[Unit], resources: EngineResources, engines: int
    ) -> PoolWorkers:
        max_workers = min(engines, len(units))
        min_workers = min(self.prepared.spec.compute.replicas.min, max_workers)
        config = self._worker_config(units, resources)
        in_flight = units_in_flight(units, self.unit_seconds) if self._redoing else UNITS_IN_FLIGHT
        return PoolWorkers(units, config, resources, min_workers, max_workers, in_flight)

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
            checks=prepared.checks,
            cpus=resources.cpus,
            gpus=resources.gpus,
            redoing=self._redoing,
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

    def _finish(self, plans: Sequence[Plan], record: Mapping[str, Any]) -> dict[str, Any]:
        """Check that every unit is committed and published, and write the manifest. `record` is
        that of the job."""
        self.state.phase = "finishing"
        self._lease.check()
        commits = self.ledger.commits(unit.number for plan in plans for unit in plan.units)
        check_commits(self.storage.url, plans, commits)
        self.ledger.repair(commits)
        account = close_books(self.ledger, self._lease.generation, commits)
        manifest = build_manifest(self.prepared, plans, commits, account)
        session = time.monotonic() - self.started
        manifest["wall_seconds"] = wall_seconds(self.ledger, self.state.books, manifest, session)
        manifest["columns"] = record["columns"]
        manifest["files_not_read"] = self.state.files_not_read.to_json()
        manifest["skipped_files"] = self.state.skipped_files
        manifest |= commit_table(self.prepared, self.storage, plans, commits)
        # a newer driver may have more input files, and its manifest must not be overwritten
        self._lease.check()
        self.ledger.write_manifest(manifest)
        self.ledger.write_job(record)
        self.ledger.sweep(plans)
        self.state.phase = "done"
        return manifest

    def _read_output(self, recorded: Mapping[str, Any]) -> OutputState:
        output = read_output(self.prepared, self.ledger, recorded, retry=self.retry is not None)
        if self.retry is not None and (manifest := self.ledger.manifest()):
            self.state.skipped_files = list(manifest.get("skipped_files", ()))
        self.state.files_not_read = output.changes.not_read
        self.state.undivided_files = undivided_files(output.changes.new)
        return output


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1]
