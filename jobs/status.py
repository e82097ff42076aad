"""`phifleet status`: the progress of a run, from its ledger alone. Needs no cluster."""

from __future__ import annotations

from typing import Any

from pipelines.ledger.opening import open_run


def run_status(output: str) -> dict[str, Any]:
    """Return what `phifleet status` prints about the run in `output`, a directory or URL.

    `status` is `done` or `unfinished`. `documents` and `units` count what is planned so far,
    `documents_done` and `units_done` what is committed. `model`, `revision` and `fingerprint` are
    those of the recorded job, and `run` is its name. Raises OutputError if there is no run, if it
    has an older layout, or if one of its records is damaged; StorageError.
    """
    ledger, job = open_run(output)
    committed = ledger.committed()
    units = [unit for plan in ledger.plans() for unit in plan.units]
    done = [unit for unit in units if unit.number in committed]
    return {
        "run": job["source"].get("name", "phifleet"),
        "status": "done" if ledger.manifest() and len(done) == len(units) else "unfinished",
        "documents": sum(unit.rows for unit in units),
        "documents_done": sum(unit.rows for unit in done),
        "units": len(units),
        "units_done": len(done),
        "model": job["model"],
        "revision": job["revision"],
        "fingerprint": job["fingerprint"],
    }
