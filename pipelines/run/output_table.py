"""The table of a run's answers, if its job has `output.table`.

Knows the job, plans and commits; `pipelines/ledger/delta.py` knows the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from pipelines.ledger.delta import check_ours, commit_parts
from pipelines.ledger.delta_types import delta_schema
from pipelines.ledger.records import Commit, Plan
from pipelines.run.planner import layout_of
from pipelines.run.prepared import PreparedJob
from pipelines.storage import Storage
from pipelines.tasks.columns import part_schema


def table_schema(prepared: PreparedJob, plans: Sequence[Plan]) -> pa.Schema | None:
    """Return the schema of the table that the job asks for, or None if it asks for none or if the
    plans have no document. Raises SpecError if the table cannot have a column."""
    layout = layout_of(plans)
    if prepared.spec.output.table is None or layout is None:
        return None
    columns = [task.column for task in prepared.tasks.all]
    return delta_schema(part_schema(layout.schema, columns, prepared.spec.input.id_column))


def check_table(prepared: PreparedJob, storage: Storage, plans: Sequence[Plan]) -> None:
    """Check, before engines start, that the parts of these plans can be added to the table that the
    job asks for. Raises SpecError, OutputError, StorageError."""
    if table_schema(prepared, plans) is not None:
        check_ours(storage, plans)


def commit_table(
    prepared: PreparedJob, storage: Storage, plans: Sequence[Plan], commits: Sequence[Commit]
) -> dict[str, Any]:
    """Add the parts of all plans to the table that the job asks for, and return what the manifest
    states of it: its `format` and `version` under the key `table`, or nothing without a table.

    `commits` are those of all units, published already. May be repeated. Raises SpecError,
    OutputError, StorageError.
    """
    schema = table_schema(prepared, plans)
    if schema is None:
        return {}
    return {"table": {"format": "delta", "version": commit_parts(storage, schema, plans, commits)}}
