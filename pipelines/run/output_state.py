"""The state of OUTPUT when a run begins: plans, job, what is unfinished, and how the input differs.

Reads OUTPUT and lists the input; writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pipelines.errors import OutputError
from pipelines.ledger.lease import Lease
from pipelines.ledger.ledger import Ledger
from pipelines.ledger.names import DELTA_LOG
from pipelines.ledger.records import Plan
from pipelines.ledger.redo import Redoing, unfinished_redos
from pipelines.ledger.withdrawals import outstanding
from pipelines.run.cluster import EngineResources
from pipelines.run.following import (
    InputChanges,
    find_changes,
    has_uncommitted,
    refuse_stale_table,
)
from pipelines.run.job_record import added_tasks, newest_record
from pipelines.run.prepared import PreparedJob


@dataclass(frozen=True, slots=True)
class OutputState:
    """The state of an OUTPUT.

    Attributes:
        plans: the plans recorded so far.
        record: the record of the job, with the tasks that plans have added.
        added: the names of the job's tasks that are not in the record.
        redos: what is being answered again and not finished.
        changes: how the input differs from the plans.
    """

    plans: Sequence[Plan]
    record: Mapping[str, Any]
    added: tuple[str, ...]
    redos: Sequence[Redoing]
    changes: InputChanges

    def is_retrying(self, reasons: tuple[str, ...]) -> bool:
        """Return whether a retry of these reasons is not finished."""
        return any(
            redoing.redo.job is None and redoing.redo.reasons == reasons for redoing in self.redos
        )


@dataclass(frozen=True, slots=True)
class Claim:
    """A run's exclusive hold on its OUTPUT, and the state of OUTPUT when it was taken.

    Attributes:
        lease: the lease under which this run's workers may commit.
        resources: the CPUs and GPUs of each engine, and the most engines to start at a time.
        output: the state of OUTPUT.
    """

    lease: Lease
    resources: EngineResources
    output: OutputState


def read_output(
    prepared: PreparedJob, ledger: Ledger, recorded: Mapping[str, Any], *, retry: bool
) -> OutputState:
    """Return the state of OUTPUT for a job; `recorded` is the job's record there.

    With `retry`, new and changed input is not looked for. Raises OutputError if the job may not
    continue the run in OUTPUT, InputError as `find_changes`, StorageError.
    """
    # plans first: every file of a plan was listed before the plan was recorded
    plans = ledger.plans()
    spec = prepared.spec.input
    record = newest_record(recorded, plans)
    added = added_tasks(record, prepared, ledger.storage.url)
    committed = ledger.committed()
    redos: Sequence[Redoing] = ()
    if any(plan.redo is not None for plan in plans):
        redos = unfinished_redos(plans, ledger.revisions())
    if added:
        _refuse_growth_of_unfinished(ledger, plans, committed, redos, added)
    if added or retry:
        _refuse_table(prepared, ledger, "a task was added" if added else "--retry")
    refuse_stale_table(spec, ledger.storage)
    if retry and not plans:
        raise OutputError(
            f"--retry: {ledger.storage.url} has no dead letters: nothing was indexed yet. Run "
            "the job without --retry first"
        )
    root = ledger.storage.root
    changes = find_changes(spec, plans, committed, root, redoing=bool(redos))
    if retry:
        changes = replace(changes, new=(), gone=(), postponed=False)
    return OutputState(plans, record, added, redos, changes)


def _refuse_growth_of_unfinished(
    ledger: Ledger,
    plans: Sequence[Plan],
    committed: Collection[int],
    redos: Sequence[Redoing],
    added: Sequence[str],
) -> None:
    """Raise OutputError unless every unit is committed and every revision made: a plan that revises
    units must be the last that does."""
    if not plans or has_uncommitted(plans, committed) or redos or outstanding(ledger, plans):
        names = ", ".join(added)
        raise OutputError(
            f"tasks: {names}: added to a job whose run in {ledger.storage.url} is not finished. "
            f"Remove it from the job file and run the job to its end; then add it and run again"
        )


def _refuse_table(prepared: PreparedJob, ledger: Ledger, what: str) -> None:
    """Raise OutputError if OUTPUT's answers are a Delta table: parts are replaced, which earlier
    versions of the table would not survive."""
    if prepared.spec.output.table is not None or ledger.storage.names(DELTA_LOG):
        raise OutputError(
            f"output.table: {ledger.storage.path(DELTA_LOG)}: {what}, which replaces parts of the "
            "answers in place; a Delta table over them cannot follow that. Set output.path to a "
            "new directory"
        )
