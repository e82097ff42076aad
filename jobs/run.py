"""`phifleet run`: do the job of a job file, or go on where it stopped."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.head import end_when_ray_dies
from jobs.live import View, format_duration, watching
from pipelines.errors import ClusterError, Fenced, InputError, SpecError, StorageError
from pipelines.job.spec import Job, JobSpec
from pipelines.ledger.attempts import Attempts
from pipelines.ledger.exclusive import check_exclusive_creation
from pipelines.ledger.lease import Lease
from pipelines.ledger.ledger import Ledger
from pipelines.run.batch import BatchRun
from pipelines.run.cluster import join_cluster, leave_cluster, metrics_addresses
from pipelines.run.metrics import serve_totals
from pipelines.run.prepared import PreparedJob, prepare_job
from pipelines.run.screen import Screen, redirect_output
from pipelines.run.signals import STOPPING, StopRequests, end_at_once
from pipelines.storage import Storage
from pipelines.stores.protocols import open_store

_LEASE_SECONDS = 2.0
_UNKEPT = {"limits": ("max_gpu_hours", "max_cost_usd", "deadline"), "metrics": ("pushgateway",)}
EXIT_DONE, EXIT_TOO_MANY_DEAD_LETTERS, EXIT_STOPPED = 0, 1, 3


class Stopped(BaseException):
    """A signal asked the run to stop; no Exception, so that no handler takes it for an error."""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a run ended: its exit code and, where it came to its end, its manifest."""

    exit_code: int
    manifest: dict[str, Any] | None


def run_job(
    job: Job, *, as_json: bool, unit_seconds: float, skip_bad_files: bool = False
) -> Finished:
    """Run a job with a live view; return how it ended. Raises PhifleetError."""

    def prepare() -> BatchRun:
        run = BatchRun(prepare_job(job, ledger.job()), unit_seconds, skip_bad_files)
        run.check()
        return run

    _refuse_unkept(job.spec)
    # before Ray starts: a package may be missing, or a word misspelt
    open_store(job.spec.input.path, InputError)
    storage = Storage(job.spec.output.path)
    ledger = Ledger(storage)
    ledger.check_output_is_ours()
    check_exclusive_creation(storage)
    log = _log_path(storage)
    with redirect_output(log) as screen:
        log_shown = log.relative_to(Path.cwd()) if log.is_relative_to(Path.cwd()) else log
        screen.console.print(
            f"phifleet run {job.spec.name}; the log is {log_shown}", soft_wrap=True
        )
        try:
            with _signals_stop():
                end = partial(_end_at_once, screen, as_json=as_json)
                manifest = _run(job, prepare, screen, log, end)
        except Stopped:
            manifest = None
        return _conclude(manifest, screen, job, as_json=as_json)


def _refuse_unkept(spec: JobSpec) -> None:
    """Raises SpecError where the job asks for a limit that no run keeps yet."""
    for section, keys in _UNKEPT.items():
        for key in keys:
            value = getattr(getattr(spec, section), key)
            if value is not None:
                raise SpecError(
                    f"{section}.{key}: got {value}, must be null: this version of phifleet does "
                    "not keep it, and a run must not seem to"
                )


def _end_at_once(screen: Screen, reason: str, *, as_json: bool) -> None:
    """End this process, which can wait for nothing of Ray's any more."""
    message = f"{reason}; run the same command again to go on"
    screen.end_views()
    if as_json:
        print(json.dumps({"status": "failed", "error": message}), file=screen.results)
    screen.console.print(f"phifleet: {message}", soft_wrap=True)
    os._exit(ClusterError.exit_code)


def _log_path(storage: Storage) -> Path:
    if storage.local:
        return Path(storage.path("_run/log"))
    return Path(tempfile.mkdtemp(prefix="phifleet-"), "log")


def _run(
    job: Job, prepare: Callable[[], BatchRun], screen: Screen, log: Path, end: Callable[[str], None]
) -> dict[str, Any]:
    ahead = ThreadPoolExecutor(1, "prepare")
    lease: Lease | None = None
    try:
        with end_when_ray_dies(end):
            # finding the model and looking at OUTPUT takes about as long as Ray takes to start
            prepared = ahead.submit(prepare)
            cluster = join_cluster()
            run = prepared.result()
            _warn_of_noise(run.prepared, screen.console)
            view = View(job.spec.name, run.state)
            _serve_metrics(run.prepared, view, screen.console)
            claim = run.claim(cluster)
            lease = claim.lease
            with _fencing_stops(claim.lease), watching(view, screen):
                return run.execute(cluster, claim)
    except BaseException as error:
        if isinstance(error, Stopped):
            # before Ray is left, which takes seconds
            screen.console.print(
                f"stopped by {error}: what was committed stays. "
                "Run the same command again to go on",
                style="yellow",
            )
        leave_cluster()
        if lease:
            # the workers were ended by us, and not by what they read
            with suppress(StorageError):
                Attempts(lease.storage, lease.generation).end_all()
        raise
    finally:
        ahead.shutdown(wait=False, cancel_futures=True)
        leave_cluster()
        if lease and not lease.storage.local:
            _leave_log(lease, log, screen.console)


def _leave_log(lease: Lease, log: Path, console: Console) -> None:
    """Leave the log beside the answers, if they are not another run's by now."""
    try:
        lease.check()
        lease.storage.write("_run/log", log.read_bytes())
    except (StorageError, Fenced) as error:
        console.print(f"the log stays at {log}: {error}", style="yellow", soft_wrap=True)


def _warn_of_noise(prepared: PreparedJob, console: Console) -> None:
    if prepared.model.random_weights:
        console.print(
            f"model {prepared.model.name!r} has random weights: its words are noise, "
            "only the path they take is real",
            style="yellow",
        )


def _serve_metrics(prepared: PreparedJob, view: View, console: Console) -> None:
    for address in metrics_addresses():
        console.print(f"metrics of a node's workers and engines: {address}", soft_wrap=True)
    port = prepared.spec.metrics.port
    if port is None:
        return
    try:
        serve_totals(port, view.totals)
    except OSError as error:
        raise ClusterError(
            f"metrics.port: cannot listen on {port}: {error}; end the other run, or choose another "
            "port"
        ) from error
    console.print(f"metrics of the run: http://127.0.0.1:{port}/metrics")


@contextmanager
def _signals_stop() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `Stopped`; a second one ends the process at once."""

    requests = StopRequests()

    def stop(number: signal.Signals) -> None:
        requests.handle(end_at_once)
        raise Stopped(number.name)

    before = [(each, signal.getsignal(each)) for each in STOPPING]
    requests.handle(stop)
    try:
        yield
    finally:
        for each, handler in before:
            signal.signal(each, handler)


@contextmanager
def _fencing_stops(lease: Lease) -> Iterator[None]:
    """Stop as a signal would once another run has taken over; the block then raises Fenced."""
    told: list[Fenced] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_LEASE_SECONDS):
            try:
                lease.check()
            except Fenced as fenced:
                told.append(fenced)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                return
            except StorageError:
                continue  # where it lasts, the next commit says so

    watcher = threading.Thread(target=watch, name="lease", daemon=True)
    watcher.start()
    try:
        yield
    except Stopped:
        if told:
            raise told[0] from None
        raise
    finally:
        ended.set()
        watcher.join()


def _conclude(
    manifest: dict[str, Any] | None, screen: Screen, job: Job, *, as_json: bool
) -> Finished:
    if manifest is None:
        if as_json:
            print(json.dumps({"run": job.spec.name, "status": "stopped"}), file=screen.results)
        return Finished(EXIT_STOPPED, None)
    if as_json:
        shown = {key: value for key, value in manifest.items() if key != "files"}
        print(json.dumps(shown), file=screen.results)
    else:
        screen.console.print(_summary(manifest, job))
    done = manifest["status"] == "done"
    return Finished(EXIT_DONE if done else EXIT_TOO_MANY_DEAD_LETTERS, manifest)


def _summary(manifest: dict[str, Any], job: Job) -> Table:
    reuse = manifest["cached_prompt_tokens"] / max(1, manifest["prompt_tokens"])
    letters = ", ".join(f"{n} {why}" for why, n in manifest["dead_letter_reasons"].items())
    dead = manifest["dead_letters"]
    table = Table.grid(padding=(0, 2))
    table.add_row("answered", f"{manifest['answered']:,} of {manifest['documents']:,} documents")
    table.add_row("dead letters", f"{dead:,}" + (f" (problems: {letters})" if letters else ""))
    table.add_row(
        "tokens",
        f"{manifest['prompt_tokens']:,} read, {reuse:.0%} of them reused, "
        f"{manifest['output_tokens']:,} written",
    )
    table.add_row(
        "time",
        f"{format_duration(manifest['wall_seconds'])} in all; engines started in "
        f"{manifest['engine_start_seconds']:.0f} s and worked for "
        f"{manifest['steady_seconds']:.1f} s at "
        f"{manifest['tokens_per_second']:,.0f} tokens/s",
    )
    table.add_row("answers", job.spec.output.path)
    for why in manifest["skipped_files"]:
        table.add_row(Text("skipped", style="yellow"), why)
    if manifest["status"] != "done":
        most = job.spec.limits.max_dead_letter_fraction
        table.add_row(
            Text("too many", style="red"), f"dead letters: more than {most:.0%}; see _errors/"
        )
    return table
