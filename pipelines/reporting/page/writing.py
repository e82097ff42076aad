"""Writes the report of a run: gathers its facts, makes the page, stores it in OUTPUT or a file."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import OutputError
from pipelines.reporting.page.facts import Report
from pipelines.reporting.page.gathering import Choice, gather
from pipelines.reporting.page.render import render
from pipelines.storage import Storage

REPORT = "report.html"
"""The name of the page, below OUTPUT."""
AFTER_A_RUN = Choice(documents=0)
"""What the report at the end of a run shows: no documents, whose texts OUTPUT does not keep."""


def write_report(output: str, choice: Choice, to: str | None = None) -> tuple[Report, str]:
    """Write the report of the run in `output`, a directory or URL, and return its facts and where
    the page is: at OUTPUT/report.html, or in the local file `to`.

    Raises as `gather` does, and OutputError if `to` cannot be written.
    """
    report = gather(output, choice)
    page = render(report)
    if to is None:
        Storage(output).write(REPORT, page)
        return report, f"{output.rstrip('/')}/{REPORT}"
    try:
        Path(to).write_bytes(page)
    except OSError as error:
        raise OutputError(f"--to {to}: cannot be written: {error.strerror}") from error
    return report, to
