"""`phifleet run`: run a job, or resume it from what its ledger has committed.

`run_job` is the order of a run. `control.py` ends it, `summary.py` and `live.py` print.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jobs.control import CleanUp, Stopped, in_background, stop_on_fencing, stop_on_signals
from jobs.head import end_when_ray_dies
from jobs.live import View, show_view
from jobs.summary import RunPrinter
from pipelines.errors import ClusterError, InputError, SpecError
from pipelines.job.spec import Job, JobSpec
from pipelines.ledger.delta import check_package
from pipelines.ledger.exclusive import check_exclusive_creation
from pipelines.ledger.ledger import Ledger
from pipelines.run import cluster as ray_cluster
from pipelines.run.batch import BatchRun
from pipelines.run.cluster import Cluster
from pipelines.run.metrics import RunTotals, serve_totals
from pipelines.run.prepared import prepare_job
from pipelines.run.screen import redirect_output
from pipelines.storage import Storage
from pipelines.stores.protocols import open_store

_NOT_ENFORCED = {
    "limits": ("max_gpu_hours", "max_cost_usd", "deadline"),
    "metrics": ("pushgateway",),
}
EXIT_DONE, EXIT_TOO_MANY_DEAD_LETTERS, EXIT_STOPPED = 0, 1, 3
"""The exit codes of a run that raised no error: done, done with more dead letters than the job
allows, and stopped by a signal. A PhifleetError has its own in `exit_code`."""
ExitProcess = Callable[[int], object]
"""A function that ends this process with an exit code: `os._exit`, or a recorder in tests."""


class ClusterAccess(Protocol):
    """The functions of `pipelines.run.cluster` that a run calls."""

    def join_cluster(self) -> Cluster:
        """Join or start the cluster. Raises ClusterError."""

    def leave_cluster(self) -> None:
        """Leave the cluster, and end it if `join_cluster` started it."""

    def metrics_addresses(self) -> list[str]:
        """Return the URL of each node's Prometheus endpoint."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a run that raised no error: its exit code, and its manifest, or None if a signal
    stopped the run."""

    exit_code: int
    manifest: dict[str, Any] | None


def run_job(
    job: Job,
    *,
    as_json: bool,
    unit_seconds: float,
    exit_process: ExitProcess,
    skip_bad_files: bool = False,
) -> Finished:
    """Run a job, or resume it, with a live view on standard error, and return how it ended.

    Raises PhifleetError. Use it in the main thread: it handles SIGINT and SIGTERM.

    Args:
        job: the job file's content.
        as_json: print the result to standard output as one JSON object instead of a summary.
        unit_seconds: engine time, by the cost estimate, for which the planner cuts units, in
            seconds.
        exit_process: called with an exit code, from any thread, to end this process if Ray dies:
            the main thread may then wait for Ray for ever.
        skip_bad_files: skip damaged input files and list them, instead of failing.
    """
    _check_supported(job.spec)
    # fail before Ray starts if the URL is wrong or its client is not installed
    open_store(job.spec.input.path, InputError)
    storage = Storage(job.spec.output.path)
    ledger = Ledger(storage)
    ledger.check_output_is_ours()
    check_exclusive_creation(storage)

    def prepare() -> BatchRun:
        run = BatchRun(prepare_job(job, ledger.job()), unit_seconds, skip_bad_files)
        run.check()
        return run

    log = _log_path(storage)
    with redirect_output(log) as screen:
        printer = RunPrinter(screen, job.spec, as_json)
        printer.print_start(log)
        try:
            with stop_on_signals():
                manifest = execute(prepare, ray_cluster, printer, log, exit_process)
        except Stopped:
            printer.print_stopped_result()
            return Finished(EXIT_STOPPED, None)
        printer.print_finished(manifest)
    done = manifest["status"] == "done"
    return Finished(EXIT_DONE if done else EXIT_TOO_MANY_DEAD_LETTERS, manifest)


def execute(
    prepare: Callable[[], BatchRun],
    cluster_access: ClusterAccess,
    printer: RunPrinter,
    log: Path,
    exit_process: ExitProcess,
) -> dict[str, Any]:
    """Join the cluster, execute the prepared run there, clean up, and return the manifest.

    Raises PhifleetError. Call it inside `stop_on_signals`: it then raises Stopped after a signal.

    Args:
        prepare: returns a checked run; called in another thread while the cluster starts.
        cluster_access: joins and leaves the cluster.
        printer: prints notices, the live view and failures.
        log: the local file to which the output of libraries goes.
        exit_process: called with an exit code, from any thread, to end this process if Ray dies.
    """

    def end(message: str) -> None:
        printer.print_failure(message)
        exit_process(ClusterError.exit_code)

    clean_up = CleanUp(cluster_access.leave_cluster, log, printer)
    # finding the model and listing OUTPUT takes about as long as starting Ray
    with clean_up.at_end(), end_when_ray_dies(end), in_background(prepare) as prepared:
        cluster = cluster_access.join_cluster()
        run = prepared.result()
        printer.print_model(run.prepared.model)
        printer.print_undivided(run.state.undivided_files)
        printer.print_not_read(run.state.files_not_read)
        for address in cluster_access.metrics_addresses():
            printer.print_node_metrics(address)
        view = View(run.prepared.spec.name, run.state)
        _serve_metrics(run.prepared.spec.metrics.port, view.totals, printer)
        claim = run.claim(cluster)
        clean_up.lease = claim.lease
        with stop_on_fencing(claim.lease), show_view(view, printer.screen):
            return run.execute(cluster, claim)


def _check_supported(spec: JobSpec) -> None:
    """Raises SpecError if the job sets a key that no run acts on yet, or one that needs a package
    which is missing."""
    if spec.output.table is not None:
        check_package()
    for section, keys in _NOT_ENFORCED.items():
        for key in keys:
            value = getattr(getattr(spec, section), key)
            if value is not None:
                raise SpecError(
                    f"{section}.{key}: got {value}, but this version of phifleet does not enforce "
                    "this setting. Remove the key, or set it to null"
                )


def _log_path(storage: Storage) -> Path:
    """Return the log's local path: in OUTPUT, or in a temporary directory if OUTPUT is remote."""
    if storage.local:
        return Path(storage.path("_run/log"))
    return Path(tempfile.mkdtemp(prefix="phifleet-"), "log")


def _serve_metrics(port: int | None, totals: Callable[[], RunTotals], printer: RunPrinter) -> None:
    if port is None:
        return
    try:
        serve_totals(port, totals)
    except OSError as error:
        raise ClusterError(
            f"metrics.port: cannot listen on port {port}: {error}. Set metrics.port to a free port "
            "above 1023, or stop the process that uses this one"
        ) from error
    printer.print_run_metrics(port)
