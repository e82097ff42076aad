"""Functions about a run that start nothing: its progress, and whether it is complete."""

from __future__ import annotations

from jobs.status import status_to_json
from phifleet.job import JobLike, output_of
from phifleet.results import StatusResult
from pipelines.ledger import verify as ledger_verify
from pipelines.ledger.verify import VerifyReport
from pipelines.reporting.status import read_status
from pipelines.storage import Storage


def status(target: JobLike) -> StatusResult:
    """Return the progress of a run, alive or dead. `target` is its job, or its OUTPUT.

    Raises OutputError if there is no run, and StorageError.
    """
    return StatusResult.of(status_to_json(read_status(output_of(target))))


def verify(target: JobLike) -> VerifyReport:
    """Compare the answers and dead letters of a run with its index and checksums, and return what
    is wrong. `target` is its job, or its OUTPUT. Reads all of OUTPUT.

    Raises OutputError if the ledger is damaged, and StorageError.
    """
    return ledger_verify.verify(Storage(output_of(target)))
