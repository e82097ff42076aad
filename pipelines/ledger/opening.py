"""Opens the OUTPUT of a run for a command that reads it, and names the right path if there is none.

Knows names and storage; knows nothing of plans or commits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.errors import OutputError
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import JOB, check_layout
from pipelines.storage import Storage

# Directories of one OUTPUT that are looked at for a run: a wrong path may have any number.
_MAX_LOOKED_AT = 50


def open_run(output: str) -> tuple[Ledger, Mapping[str, Any]]:
    """Return the ledger of the run in `output`, a directory or URL, and the record of its job.

    Raises OutputError if there is no run, with the path of one that lies directly above or below,
    if it has an older layout, or if the record is damaged; StorageError.
    """
    storage = Storage(output)
    check_layout(storage)
    ledger = Ledger(storage)
    job = ledger.job()
    if job is None:
        raise OutputError(
            f"{output} does not contain a phifleet run: {JOB} is missing. {_remedy(output)}"
        )
    return ledger, job


def _remedy(output: str) -> str:
    nearby = list(_runs_near(output))
    if not nearby:
        return "Pass the output.path of a job that has been started"
    return f"Pass {' or '.join(nearby)}, which contains one"


def _runs_near(output: str) -> Iterator[str]:
    """Yield the paths of runs in the directories of `output`, and that of a run in whose OUTPUT
    `output` is a directory."""
    path = output.rstrip("/")
    for name in Storage(output).entries("")[:_MAX_LOOKED_AT]:
        if Storage(f"{path}/{name}").exists(JOB):
            yield f"{path}/{name}"
    above = path.rpartition("/")[0]
    if above and not above.endswith((":/", ":")) and Storage(above).exists(JOB):
        yield above
