"""Functions about a run that start nothing: its progress, whether it is complete, its report."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath

from phifleet.job import JobLike, output_of
from phifleet.results import ReportResult, StatusResult
from pipelines.ledger import verify as ledger_verify
from pipelines.ledger.verify import VerifyReport
from pipelines.storage import Storage


def status(target: JobLike) -> StatusResult:
    """Return the progress of a run, alive or dead. `target` is its job, or its OUTPUT.

    Raises OutputError if there is no run, and StorageError.
    """
    # these import Ray
    from jobs.status import status_to_json
    from pipelines.reporting.status import read_status

    return StatusResult.of(status_to_json(read_status(output_of(target))))


def verify(target: JobLike) -> VerifyReport:
    """Compare the answers and dead letters of a run with its index and checksums, and return what
    is wrong. `target` is its job, or its OUTPUT. Reads all of OUTPUT.

    Raises OutputError if the ledger is damaged, and StorageError.
    """
    return ledger_verify.verify(Storage(output_of(target)))


def report(
    target: JobLike,
    *,
    documents: int = 10,
    ids: Sequence[str] = (),
    to: str | PathLike[str] | None = None,
) -> ReportResult:
    """Write the report of a run, an HTML page that needs no network, and return where it is and its
    numbers. `target` is its job, or its OUTPUT.

    Args:
        target: the run.
        documents: how many documents the page shows, spread over the answers.
        ids: the documents that it shows instead, by their ids.
        to: a local file for the page, in place of OUTPUT/report.html.

    Raises SpecError for an id that the run does not have, OutputError if there is no run, and
    StorageError.
    """
    # matplotlib takes a second to import, and no other function needs it
    from pipelines.reporting.page.gathering import Choice
    from pipelines.reporting.page.writing import write_report

    path = None if to is None else fspath(to)
    facts, where = write_report(output_of(target), Choice(documents, tuple(ids)), path)
    return ReportResult(where, facts.to_json())
