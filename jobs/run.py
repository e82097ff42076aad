"""`phifleet run`: run a job, or resume it from what its ledger has committed.

`run_job` is the order of a run. `control.py` ends it, `summary.py` and `live.py` print.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jobs.control import CleanUp, Stopped, in_background, stop_on_fencing
from jobs.hosts import ClusterAccess, Host, WatchRay
from jobs.json_log import LogFormat
from jobs.live import View, show_view
from jobs.report import report_finished_run
from jobs.summary import RunPrinter
from pipelines.errors import ClusterError, InputError, SpecError
from pipelines.job.spec import Job, JobSpec
from pipelines.ledger.delta import check_package
from pipelines.ledger.exclusive import check_exclusive_creation
from pipelines.ledger.heartbeat import FAILED
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.reasons import retried_reasons
from pipelines.run.batch import UNIT_SECONDS, BatchRun
from pipelines.run.metrics import RunTotals, serve_totals
from pipelines.run.prepared import prepare_job
from pipelines.storage import Storage
from pipelines.stores.protocols import open_store

_NOT_ENFORCED = {"metrics": ("pushgateway",)}
EXIT_DONE, EXIT_TOO_MANY_DEAD_LETTERS, EXIT_STOPPED = 0, 1, 3
"""The exit codes of a run that raised no error: done, done with more dead letters than the job
allows, and stopped by a signal. A PhifleetError has its own in `exit_code`."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a run that raised no error: its exit code, and its manifest, or None if a signal
    stopped the run; then `stopped_by` is the signal's name."""

    exit_code: int
    manifest: dict[str, Any] | None
    stopped_by: str | None = None


def run_job(
    job: Job,
    host: Host,
    *,
    as_json: bool = False,
    log_format: LogFormat = "text",
    unit_seconds: float = UNIT_SECONDS,
    skip_bad_files: bool = False,
    retry: str | None = None,
) -> Finished:
    """Run a job, or resume it, with a live view on standard error, and return how it ended.

    Raises PhifleetError.

    Args:
        job: the job file's content.
        host: how the run uses the process that it runs in, such as `hosts.command_line`.
        as_json: print the result to standard output as one JSON object instead of a summary.
        log_format: how the progress, notices and the end of the run are written to standard error;
            "json" replaces the live view by one JSON object a line.
        unit_seconds: engine time, by the cost estimate, for which the planner cuts units, in
            seconds.
        skip_bad_files: skip damaged input files and list them, instead of failing.
        retry: which dead letters to ask again, as `retried_reasons` expects it; None for none.
    """
    reasons = None if retry is None else retried_reasons(retry)
    _check_supported(job.spec)
    # fail before Ray starts if the URL is wrong or its client is not installed
    open_store(job.spec.input.path, InputError)
    storage = Storage(job.spec.output.path)
    ledger = Ledger(storage)
    ledger.check_output_is_ours()
    check_exclusive_creation(storage)

    def prepare() -> BatchRun:
        run = BatchRun(prepare_job(job, ledger.job()), unit_seconds, skip_bad_files, retry=reasons)
        run.check()
        return run

    log = _log_path(storage)
    with host.open_screen(log) as screen:
        printer = RunPrinter(screen, job.spec, as_json, log_format)
        printer.print_start(log)
        try:
            with host.stop_on_signals():
                manifest = execute(prepare, host.cluster, printer, log, host.watch_ray)
        except Stopped as stopped:
            printer.print_stopped_result()
            return Finished(EXIT_STOPPED, None, str(stopped))
        printer.print_finished(manifest)
        report_finished_run(job.spec.output.path, host, printer)
    done = manifest["status"] == "done"
    return Finished(EXIT_DONE if done else EXIT_TOO_MANY_DEAD_LETTERS, manifest)


def execute(
    prepare: Callable[[], BatchRun],
    cluster_access: ClusterAccess,
    printer: RunPrinter,
    log: Path,
    watch_ray: WatchRay,
) -> dict[str, Any]:
    """Join the cluster, execute the prepared run there, clean up, and return the manifest.

    Raises PhifleetError. Call it inside `stop_on_signals`: it then raises Stopped after a signal.

    Args:
        prepare: returns a checked run; called in another thread while the cluster starts.
        cluster_access: joins and leaves the cluster.
        printer: prints notices, the live view and failures.
        log: the local file to which the output of libraries goes.
        watch_ray: ends or interrupts the run if Ray's processes on this machine die.
    """
    clean_up = CleanUp(cluster_access.leave_cluster, log, printer)

    def report(message: str) -> None:
        printer.print_failure(message)
        clean_up.say_last(FAILED, message)

    # finding the model and listing OUTPUT takes about as long as starting Ray
    with clean_up.at_end(), watch_ray(report), in_background(prepare) as prepared:
        cluster = cluster_access.join_cluster()
        run = prepared.result()
        printer.print_model(run.prepared.model)
        printer.print_undivided(run.state.undivided_files)
        printer.print_not_read(run.state.files_not_read)
        for address in cluster_access.metrics_addresses():
            printer.print_node_metrics(address)
        spec = run.prepared.spec
        actions = {check.name: check.action for check in spec.checks}
        view = View(spec.name, run.state, checks=actions)
        screen, log_progress = printer.screen, printer.log_progress
        with _metrics_served(spec.metrics.port, view.totals, printer):
            claim = run.claim(cluster)
            clean_up.hold(claim.lease, partial(view.heartbeat, claim.lease.generation))
            with stop_on_fencing(claim.lease), show_view(view, screen, log_progress):
                manifest = run.execute(cluster, claim)
                clean_up.say_last(manifest["status"])
    if run.state.retried is not None:
        printer.print_retried(run.state.retried, manifest["dead_letter_reasons"])
    return manifest


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


@contextmanager
def _metrics_served(
    port: int | None, totals: Callable[[], RunTotals], printer: RunPrinter
) -> Iterator[None]:
    """Serve the run's metrics on `port`, unless it is None, until the block ends: the process may
    run another job afterwards."""
    if port is None:
        yield
        return
    try:
        server, thread = serve_totals(port, totals)
    except OSError as error:
        raise ClusterError(
            f"metrics.port: cannot listen on port {port}: {error}. Set metrics.port to a free port "
            "above 1023, or stop the process that uses this one"
        ) from error
    printer.print_run_metrics(port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
