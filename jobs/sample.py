"""`phifleet run --sample N`: answers a few documents of a job, and prints the answers.

Nothing is written to the job's OUTPUT. The sample has a temporary directory of its own, which is
deleted at the end, or a new directory below `--sample-output`.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.control import Stopped
from jobs.hosts import Host
from jobs.json_log import LogFormat
from jobs.run import execute
from jobs.summary import RunPrinter
from pipelines.errors import InputError
from pipelines.job.resources import Limits
from pipelines.job.spec import Job, Metrics, OutputSpec
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import ANSWERS, DEAD_LETTERS
from pipelines.run.batch import UNIT_SECONDS
from pipelines.run.prepared import prepare_job
from pipelines.run.sampling import SampleRun
from pipelines.storage import Storage
from pipelines.stores.protocols import open_store


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of a sample: the manifest of its run, and the rows of its answers and of its dead
    letters, as in the files of an OUTPUT."""

    manifest: dict[str, Any]
    rows: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SamplePrinter(RunPrinter):
    """Prints what the run of a sample reports."""

    def print_stopped(self, stopped: Stopped) -> None:
        """Print which signal stops the sample; called before the clean-up."""
        text = f"stopped by {stopped}. No answer of the sample is kept"
        self._notice("stopped", text, signal=str(stopped))


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a sample's files: `output`, a directory or URL, and the local file `log`. With
    `temporary`, the output exists only on this machine."""

    output: str
    log: Path
    temporary: bool


def run_sample(
    job: Job,
    host: Host,
    *,
    documents: int,
    directory: str | None = None,
    skip_bad_files: bool = False,
    as_json: bool = False,
    log_format: LogFormat = "text",
    kind: type[SampleRun] = SampleRun,
) -> Sample | None:
    """Answer `documents` documents of a job, chosen as `pipelines.corpus.sampling` describes, and
    return their answers; None if a signal stopped it.

    Raises PhifleetError.

    Args:
        job: the job, to whose OUTPUT nothing is written.
        host: how the run uses the process that it runs in.
        documents: the number of documents.
        directory: a directory or URL, in which a new directory with the sample's files is kept;
            None for a temporary directory of this machine.
        skip_bad_files: skip damaged input files instead of failing.
        as_json: print what ends the sample early as one JSON object, too.
        log_format: how the progress and notices are written to standard error.
        kind: the class of the run.
    """
    open_store(job.spec.input.path, InputError)
    output = Storage(job.spec.output.path)
    with sample_place(directory) as place:

        def prepare() -> SampleRun:
            # a run that has begun decides on the model's revision
            prepared = prepare_job(sample_job(job, place.output), Ledger(output).job())
            run = kind(
                prepared,
                UNIT_SECONDS,
                skip_bad_files,
                documents=documents,
                exclude=output.root,
                on_this_machine=place.temporary,
            )
            run.check()
            return run

        with host.open_screen(place.log) as screen:
            printer = SamplePrinter(screen, job.spec, as_json, log_format)
            printer.print_start(place.log)
            try:
                with host.stop_on_signals():
                    manifest = execute(prepare, host.cluster, printer, place.log, host.watch_ray)
            except Stopped:
                printer.print_stopped_result()
                return None
        storage = Storage(place.output)
        return Sample(manifest, read_rows(storage, ANSWERS), read_rows(storage, DEAD_LETTERS))


def sample_job(job: Job, output: str) -> Job:
    """Return the job of a sample, which writes to `output` and has no limits and no metrics."""
    own = {
        "output": OutputSpec(path=output),
        "limits": Limits(max_dead_letter_fraction=1.0),
        "metrics": Metrics(),
    }
    return Job(job.spec.model_copy(update=own), job.source)


@contextmanager
def sample_place(directory: str | None) -> Iterator[Place]:
    """Yield the place of a new sample, and delete what is temporary when the block ends; but keep
    the log if the block raises."""
    home = Path(tempfile.mkdtemp(prefix="phifleet-sample-"))
    output = home / "output"
    try:
        if directory is None:
            yield Place(str(output), home / "log", temporary=True)
        else:
            own = f"{directory.rstrip('/')}/sample-{uuid.uuid4().hex[:8]}"
            yield Place(own, home / "log", temporary=False)
    except Exception:
        shutil.rmtree(output, ignore_errors=True)
        raise
    except BaseException:
        shutil.rmtree(home, ignore_errors=True)
        raise
    else:
        shutil.rmtree(home, ignore_errors=True)


def read_rows(storage: Storage, directory: str) -> list[dict[str, Any]]:
    """Return the rows of all Parquet files in a directory of an OUTPUT."""
    tables = [
        pq.read_table(pa.BufferReader(storage.read(f"{directory}/{name}")))
        for name in storage.names(directory)
    ]
    rows: list[dict[str, Any]] = []
    for table in tables:
        rows += table.to_pylist(maps_as_pydicts="strict")
    return rows
