"""Runs a job in this process, which goes on afterwards."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from typing import NoReturn

from phifleet.job import JobLike, load
from phifleet.results import RunResult
from pipelines.errors import ClusterError

_ONE_AT_A_TIME = threading.Lock()
_UNIT_SECONDS = 30.0


def run(
    job: JobLike,
    *,
    overrides: Sequence[str] = (),
    unit_seconds: float = _UNIT_SECONDS,
    skip_bad_files: bool = False,
    progress: bool = True,
) -> RunResult:
    """Run a job, or resume it from what is committed, and return its totals.

    Joins the Ray cluster of this process if it has joined one, or else the one that RAY_ADDRESS
    names, or starts Ray on this machine and ends it afterwards. While the job runs, what Ray, vLLM
    and other threads write to the standard streams goes to the log, OUTPUT/_run/log.

    In the main thread, Ctrl-C, a notebook's interrupt and SIGTERM stop the run: its workers end,
    and KeyboardInterrupt is raised (after SIGTERM, once the process's own handler has run).
    Committed work is kept: the same call resumes. In another thread, signals do not stop a run.

    Args:
        job: the path of a job file, a dict with its keys, or the result of `load`.
        overrides: `KEY=VALUE` to replace single keys, as with the option `--set`.
        unit_seconds: engine time for which units are cut, in seconds.
        skip_bad_files: skip damaged input files instead of failing.
        progress: show notices, the progress and a summary, in a notebook or on standard error.

    Raises:
        PhifleetError: as the command `phifleet run` fails; SpecError, InputError, OutputError and
            ModelError before an engine starts.
    """
    from jobs.run import run_job
    from phifleet.host import library_host

    loaded = load(job, overrides)
    if not _ONE_AT_A_TIME.acquire(blocking=False):
        raise ClusterError(
            "another thread of this process runs a job, and a process can run one at a time: wait "
            "for it, or use another process"
        )
    try:
        finished = run_job(
            loaded,
            library_host(progress=progress),
            unit_seconds=unit_seconds,
            skip_bad_files=skip_bad_files,
        )
    finally:
        _ONE_AT_A_TIME.release()
    if finished.manifest is None:
        raise_stop(finished.stopped_by or "")
    return RunResult.of(loaded.spec.output.path, finished.manifest)


def raise_stop(signal_name: str) -> NoReturn:
    """Raise KeyboardInterrupt for the signal that stopped a run; after SIGTERM, first run the
    handler that this process has for it, which by default ends the process."""
    if signal_name == signal.SIGTERM.name:
        signal.raise_signal(signal.SIGTERM)
    raise KeyboardInterrupt(f"the run was stopped by {signal_name}; the same call resumes it")
