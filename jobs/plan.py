"""`phifleet plan`: index a job's input, and say what the job will read, generate, take and cost."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from jobs.control import Stopped, in_background, stop_on_signals
from jobs.hosts import ClusterAccess
from jobs.plan_screen import plan_view
from jobs.run import EXIT_DONE, EXIT_STOPPED
from pipelines.errors import InputError, SpecError
from pipelines.job.spec import Job
from pipelines.ledger.ledger import Ledger
from pipelines.models.devices import timed_device
from pipelines.models.prices import prices_with
from pipelines.reporting.planning.calibration import Calibration, calibrate
from pipelines.reporting.planning.forecast import Forecast, engine_kind, usual_uses
from pipelines.reporting.planning.forecast_json import to_json
from pipelines.reporting.planning.planned import Planning, plan_job, plan_sample
from pipelines.run import cluster as ray_cluster
from pipelines.run.batch import UNIT_SECONDS, BatchRun
from pipelines.run.prepared import PreparedJob, prepare_job
from pipelines.run.screen import Screen, Terminal, redirect_output
from pipelines.storage import Storage
from pipelines.stores.protocols import open_store


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """The options of `phifleet plan`.

    Attributes:
        sample: the share of the documents to measure; None to index all.
        prices: prices as `NAME=USD`.
        calibrate: the OUTPUT of a run to calibrate by; None for none.
        unit_seconds: engine time for which units are cut, as for `run`.
        skip_bad_files: skip damaged input files and list them, as `run` does.
    """

    sample: float | None = None
    prices: Sequence[str] = ()
    calibrate: str | None = None
    unit_seconds: float = UNIT_SECONDS
    skip_bad_files: bool = False


@dataclass(frozen=True, slots=True)
class Planned:
    """A forecast, and what it was calibrated by."""

    forecast: Forecast
    calibration: Calibration | None


def plan(job: Job, options: PlanOptions, *, as_json: bool) -> int:
    """Print the plan of a job to standard output, and return the exit code: 0, or 3 if a signal
    stopped it. Progress goes to standard error. Raises PhifleetError.

    Use it in the main thread: it handles SIGINT and SIGTERM.
    """
    with (
        tempfile.TemporaryDirectory(prefix="phifleet-plan-") as directory,
        redirect_output(Path(directory, "log")) as screen,
    ):
        try:
            with stop_on_signals():
                planned = planned_job(job, options, ray_cluster, screen)
        except Stopped:
            return EXIT_STOPPED
        if as_json:
            values = to_json(planned.forecast, planned.calibration)
            print(json.dumps(values), file=screen.results)
        else:
            console = Terminal(screen.results)
            console.print(plan_view(planned.forecast, planned.calibration, console))
    return EXIT_DONE


def planned_job(
    job: Job, options: PlanOptions, cluster_access: ClusterAccess, screen: Screen | None = None
) -> Planned:
    """Return the forecast of a job. Its index is kept in OUTPUT for a run; see `drafts.py`.

    `cluster_access` joins and leaves the cluster. Progress is shown on `screen`, if given. Raises
    PhifleetError.
    """
    prices = prices_with(options.prices)
    sample = checked_sample(options.sample)
    open_store(job.spec.input.path, InputError)
    storage = Storage(job.spec.output.path)
    ledger = Ledger(storage)
    ledger.check_output_is_ours()

    def prepare() -> PreparedJob:
        run = BatchRun(prepare_job(job, ledger.job()), options.unit_seconds, options.skip_bad_files)
        run.check()
        return run.prepared

    with in_background(prepare) as prepared:
        try:
            cluster = cluster_access.join_cluster()
            planning = Planning(
                prepared=prepared.result(),
                cluster=cluster,
                prices=prices,
                unit_seconds=options.unit_seconds,
                skip_bad_files=options.skip_bad_files,
                calibration=_calibration(options, prepared.result(), cluster),
            )
            forecast = _watched(planning, screen, lambda: _forecast(planning, ledger, sample))
        finally:
            cluster_access.leave_cluster()
    return Planned(forecast, planning.calibration)


def checked_sample(fraction: float | None) -> float | None:
    """Return the share of `--sample`. Raises SpecError if it is no share."""
    if fraction is not None and not 0 < fraction <= 1:
        raise SpecError(
            f"--sample {fraction:g}: must be a share of the documents, above 0 and at most 1, such "
            "as 0.01"
        )
    return fraction


def _forecast(planning: Planning, ledger: Ledger, sample: float | None) -> Forecast:
    if sample is None:
        return plan_job(planning, ledger)
    return plan_sample(planning, ledger, sample)


def _calibration(
    options: PlanOptions, prepared: PreparedJob, cluster: ray_cluster.Cluster
) -> Calibration | None:
    if options.calibrate is None:
        return None
    uses, engine = usual_uses(prepared), engine_kind(prepared)
    return calibrate(options.calibrate, prepared, uses, engine, timed_device(cluster.device))


def _watched(
    planning: Planning, screen: Screen | None, compute: Callable[[], Forecast]
) -> Forecast:
    if screen is None or not screen.console.is_interactive:
        return compute()
    state = planning.state

    def progress() -> Text:
        done = f", {state.spans_done} of {state.spans} parts" if state.spans else ""
        return Text(f"{state.phase}{done}, {state.documents:,} documents")

    with screen.live_view(progress):
        return compute()
