"""The Delta table over OUTPUT/answers that a job with `output.table: delta` asks for.

A version of the table is one file in `answers/_delta_log`. It is made by the package `deltalake` in
a local copy of the log, and put in its place by `Storage.create`: of several drivers that finish
the same run one succeeds, in every store that can hold OUTPUT, and the others look again.

Each version states, in the same file as the parts that it adds, how many plans the table has (a
transaction identifier of Delta's protocol). So a run that was killed before or after the creation
knows what is left, also if someone has compacted the table or deleted rows of it since.

Knows plans, commits and the table's log; reads no part.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipelines.errors import OutputError, SpecError, StorageError
from pipelines.ledger.delta_types import delta_schema
from pipelines.ledger.names import ANSWERS, DELTA_LOG, part_name
from pipelines.ledger.records import Commit, Plan
from pipelines.storage import Storage

_APPLICATION = "phifleet"
# Commits of other writers that may come first before this one is given up.
_TRIES = 20


def check_package() -> None:
    """Raise SpecError if this installation lacks the package that writes Delta tables."""
    try:
        import deltalake  # noqa: F401
    except ImportError as error:
        raise SpecError(
            "output.table: delta needs the package deltalake, which is missing here; run "
            "pip install 'phifleet[delta]', or remove the key"
        ) from error


def commit_parts(
    storage: Storage, schema: pa.Schema, plans: Sequence[Plan], commits: Sequence[Commit]
) -> int:
    """Add the parts that the Delta table lacks in one version, or create the table; return the
    number of its version.

    `plans` are all plans of the run, `commits` those of all their units, published already, and
    `schema` is that of every part. Does nothing if the table has the parts of all plans. Raises
    OutputError if OUTPUT/answers has a table of other files, and StorageError.
    """
    by_unit = {commit.unit: commit for commit in commits}
    for _ in range(_TRIES):
        with _copy_of_log(storage) as directory:
            table = _table(directory)
            first = _plans_in(table, storage, by_unit)
            if table is not None and first >= len(plans):
                return int(table.version())
            units = [unit.number for plan in plans[first:] for unit in plan.units]
            present = _files_of(table) if first == 0 else set()
            parts = [by_unit[number] for number in units if _file_of(number) not in present]
            _commit(directory, table, schema, parts, len(plans))
            version = int(_table(directory).version())
            if _publish(storage, directory, version):
                return version
    raise StorageError(
        f"{storage.path(DELTA_LOG)}: another writer added a version each of {_TRIES} times; run "
        "the same command again"
    )


def check_ours(storage: Storage, plans: Sequence[Plan]) -> None:
    """Raise OutputError if OUTPUT/answers has a Delta table of other files than the parts of these
    plans, to which no part can be added. Raises StorageError."""
    if storage.exists(DELTA_LOG):
        units = {unit.number for plan in plans for unit in plan.units}
        with _copy_of_log(storage) as directory:
            _plans_in(_table(directory), storage, units)


def is_current(storage: Storage, plans: Sequence[Plan]) -> bool:
    """Return whether the Delta table exists and has the parts of all plans. Raises StorageError,
    and SpecError if the package deltalake is missing."""
    check_package()
    with _copy_of_log(storage) as directory:
        table = _table(directory)
        return table is not None and (table.transaction_version(_APPLICATION) or 0) >= len(plans)


@contextmanager
def _copy_of_log(storage: Storage) -> Iterator[str]:
    """Yield a temporary directory with a copy of the table's log, if there is one, and no data."""
    with tempfile.TemporaryDirectory(prefix="phifleet-delta-") as directory:
        log = Path(directory, "_delta_log")
        log.mkdir()
        for name in storage.names(DELTA_LOG):
            (log / name).write_bytes(storage.read(f"{DELTA_LOG}/{name}"))
        yield directory


def _table(directory: str) -> Any:
    from deltalake import DeltaTable

    return DeltaTable(directory) if DeltaTable.is_deltatable(directory) else None


def _file_of(unit: int) -> str:
    """Return the name of a part below the table."""
    return part_name(unit).removeprefix(f"{ANSWERS}/")


def _files_of(table: Any) -> set[str]:
    if table is None:
        return set()
    return set(pa.table(table.get_add_actions()).column("path").to_pylist())


def _plans_in(table: Any, storage: Storage, units: Collection[int]) -> int:
    """Return the number of plans whose parts the table has. Raises OutputError if it is a table
    that phifleet did not write, unless it has only parts of this run."""
    version = None if table is None else table.transaction_version(_APPLICATION)
    others = _files_of(table) - {_file_of(unit) for unit in units} if version is None else ()
    if others:
        raise OutputError(
            f"output.table: {storage.path(DELTA_LOG)} is the log of a Delta table that phifleet "
            f"did not write; it has the file {min(others)}. Move {DELTA_LOG} out of OUTPUT, or "
            "remove output.table, and run again"
        )
    return int(version or 0)


def _commit(
    directory: str, table: Any, schema: pa.Schema, parts: Sequence[Commit], plans: int
) -> None:
    """Write the next version of the table to the copy of its log."""
    from deltalake import CommitProperties, PostCommitHookProperties, Schema, Transaction
    from deltalake.transaction import create_table_with_add_actions

    actions = [_add(commit) for commit in parts if commit.part is not None]
    properties: dict[str, Any] = {
        "commit_properties": CommitProperties(app_transactions=[Transaction(_APPLICATION, plans)]),
        "post_commithook_properties": PostCommitHookProperties(
            create_checkpoint=False, cleanup_expired_logs=False
        ),
    }
    if table is None:
        create_table_with_add_actions(
            directory, Schema.from_arrow(delta_schema(schema)), actions, mode="error", **properties
        )
    else:
        table.create_write_transaction(actions, "append", table.schema(), **properties)


def _add(commit: Commit) -> Any:
    from deltalake.transaction import AddAction

    assert commit.part is not None
    changed = datetime.fromisoformat(commit.committed_at)
    return AddAction(
        path=_file_of(commit.unit),
        size=commit.part.size_bytes,
        partition_values={},
        modification_time=int(changed.timestamp() * 1000),
        data_change=True,
        stats=json.dumps({"numRecords": commit.part.rows}),
    )


def _publish(storage: Storage, directory: str, version: int) -> bool:
    """Create the file of a version in OUTPUT and return True, or return False if another writer
    has created that version."""
    name = f"_delta_log/{version:020d}.json"
    data = Path(directory, name).read_bytes()
    target = f"{ANSWERS}/{name}"
    # a client repeats a request whose answer was lost, and then finds our own file
    return storage.create(target, data) or storage.read_if_exists(target) == data
